"""The prox of groups that lie anywhere, also in a diagonal metric, one group after the other: the general case."""

from __future__ import annotations

import math

from convex_bench.engine.changes import note
from convex_bench.engine.compiled import inner
from convex_bench.engine.penalties import prox


@inner
def _secular(point, metric, gidx, start, stop, threshold):
    """Return theta = |x_g| of the group's prox in a diagonal metric: the root of sum (d v)^2 / (d theta + t)^2 = 1.

    Newton from below: the function is convex and decreasing, so the iterates increase to the root.
    """
    norm, top = 0.0, 0.0
    for s in range(start, stop):
        j = gidx[s]
        norm += (metric[j] * point[j]) ** 2
        top = max(top, metric[j])
    norm = math.sqrt(norm)
    if norm <= threshold:
        return 0.0
    theta = (norm - threshold) / top
    for _ in range(60):
        h, slope = 0.0, 0.0
        for s in range(start, stop):
            j = gidx[s]
            q = metric[j] * theta + threshold
            a = (metric[j] * point[j] / q) ** 2
            h += a
            slope += a * metric[j] / q
        # Newton on 1 / sqrt(h) = 1, which is nearly linear in theta: still monotone, and faster
        step = h * (math.sqrt(h) - 1.0) / slope
        if not step > 1e-16 * theta:
            break
        theta += step
    return theta


@inner
def prox_groups(penalty, point, z, metric, adaptive, step):
    """z <- prox of the point, group by group, in the metric if `adaptive`; the point is changed where l1 > 0."""
    gptr, gidx, code = penalty.gptr, penalty.gidx, penalty.code
    if penalty.l1 > 0.0:  # sparse group lasso: the entrywise part comes first
        for j in range(point.shape[0]):
            t = step * penalty.l1 / metric[j] if adaptive else step * penalty.l1
            point[j] = math.copysign(max(abs(point[j]) - t, 0.0), point[j])
    for g in range(gptr.shape[0] - 1):
        start, stop = gptr[g], gptr[g + 1]
        weight = penalty.lam[g]
        if stop - start == 1:
            j = gidx[start]
            t = step / metric[j] if adaptive else step
            if code == 6 and weight > 0.0:
                z[j] = max(point[j] - t * weight, 0.0)
            else:
                z[j] = math.copysign(prox(code, abs(point[j]), t, weight, penalty.p0), point[j])
        elif adaptive:
            t = step * weight
            theta = _secular(point, metric, gidx, start, stop, t)
            for s in range(start, stop):
                j = gidx[s]
                z[j] = point[j] * (metric[j] * theta / (metric[j] * theta + t)) if theta > 0.0 else 0.0
        else:
            norm = 0.0
            for s in range(start, stop):
                norm += point[gidx[s]] ** 2
            norm = math.sqrt(norm)
            length = prox(code, norm, step, weight, penalty.p0)
            factor = length / norm if length > 0.0 else 0.0
            for s in range(start, stop):
                j = gidx[s]
                z[j] = factor * point[j]


@inner
def log_changes(penalty, x, codes, stamp, log):
    """Log every atom whose activity differs from its code, and set that."""
    aptr, aidx, count = penalty.aptr, penalty.aidx, log.filled[0]
    for atom in range(aptr.shape[0] - 1):
        active = 0
        for s in range(aptr[atom], aptr[atom + 1]):
            if x[aidx[s]] != 0.0:
                active = 1
                break
        count = note(active, codes, atom, stamp, log, count)
    log.filled[0] = count
