"""The one compiled loop. A method is a row of coefficients a step; see `recursions`.

A step of the loop, per coordinate, with g the minibatch gradient at w and h that at a second point:

    v <- c_vv v + c_vw w + c_vg g + c_vh h + c_vm mu
    p  = c_pa anchor + c_pw w + c_pv v                    (v / D in a metric)
    z <- prox_{step psi}(p)                               (in the metric D)
    w <- (1 - c) w + c z + e (z - z_old)

and the structure of z and w is compared with the last one, atom by atom, each change written to a log.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from convex_bench.engine.penalties import prox
from convex_bench.engine.sampling import draw

# columns of the coefficient table
VV, VW, VG, VH, VM, PA, PW, PV, STEP, C, E, RESTART, SNAPSHOT, UU, UG, USCALE, EST = range(17)
COLUMNS = 17
# what h is
NONE, SNAPSHOT_POINT, TABLE, PREVIOUS = range(4)
# how the groups lie: one entry each, contiguous, or anywhere (also the sparse group lasso)
ENTRIES, BLOCKS, GATHERED = range(3)
_MATH = {"reassoc", "nsz", "contract"}


@njit(cache=True, nogil=True, fastmath=_MATH)
def _margins(data, indices, indptr, dense, p, k, i, w, out):
    """out = x_i W for a flat W (p, k)."""
    if dense:
        start = i * p
        if k == 1:
            total = 0.0
            for j in range(p):
                total += data[start + j] * w[j]
            out[0] = total
            return
        out[:] = 0.0
        for j in range(p):
            x = data[start + j]
            for c in range(k):
                out[c] += x * w[j * k + c]
        return
    out[:] = 0.0
    for s in range(indptr[i], indptr[i + 1]):
        x, j = data[s], indices[s] * k
        for c in range(k):
            out[c] += x * w[j + c]


@njit(cache=True, nogil=True, fastmath=_MATH)
def _add_row(data, indices, indptr, dense, p, k, i, weight, v):
    """V += x_i^T weight for a flat V (p, k)."""
    if dense:
        start = i * p
        if k == 1:
            a = weight[0]
            for j in range(p):
                v[j] += a * data[start + j]
            return
        for j in range(p):
            x = data[start + j]
            for c in range(k):
                v[j * k + c] += x * weight[c]
        return
    for s in range(indptr[i], indptr[i + 1]):
        x, j = data[s], indices[s] * k
        for c in range(k):
            v[j + c] += x * weight[c]


@njit(cache=True, nogil=True)
def _derivative(loss, m, y, out):
    """Derivative of the loss with respect to the margins m; loss = 0 logistic, 1 squared, 2 multinomial."""
    if loss == 0:
        out[0] = -y / (1.0 + math.exp(y * m[0]))
    elif loss == 1:
        out[0] = m[0] - y
    else:
        top = m[0]
        for c in range(1, m.shape[0]):
            top = max(top, m[c])
        total = 0.0
        for c in range(m.shape[0]):
            out[c] = math.exp(m[c] - top)
            total += out[c]
        for c in range(m.shape[0]):
            out[c] /= total
        out[int(y)] -= 1.0


@njit(cache=True, nogil=True)
def _full_gradient(data, indices, indptr, dense, n, p, k, y, loss, w, out, m, r):
    out[:] = 0.0
    for i in range(n):
        _margins(data, indices, indptr, dense, p, k, i, w, m)
        _derivative(loss, m, y[i], r)
        for c in range(k):
            r[c] /= n
        _add_row(data, indices, indptr, dense, p, k, i, r, out)


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True, fastmath=_MATH)
def _combine(v, w, mu, cvv, cvw, cvm):
    """v <- cvv v + cvw w + cvm mu."""
    size = v.shape[0]
    if cvw == 0.0 and cvm == 0.0:
        if cvv == 0.0:
            v[:] = 0.0
        elif cvv != 1.0:
            for j in range(size):
                v[j] *= cvv
    elif cvv == 0.0 and cvw == 0.0:
        for j in range(size):
            v[j] = cvm * mu[j]
    else:
        for j in range(size):
            v[j] = cvv * v[j] + cvw * w[j]
        if cvm != 0.0:
            for j in range(size):
                v[j] += cvm * mu[j]


@njit(cache=True, nogil=True, fastmath=_MATH)
def _dual_point(point, anchor, w, v, cpa, cpw, cpv):
    """point <- cpa anchor + cpw w + cpv v."""
    size = v.shape[0]
    if cpa != 0.0:
        for j in range(size):
            point[j] = cpa * anchor[j] + cpv * v[j]
    elif cpw != 0.0:
        for j in range(size):
            point[j] = cpw * w[j] + cpv * v[j]
    else:
        for j in range(size):
            point[j] = cpv * v[j]


@njit(cache=True, nogil=True, fastmath=_MATH)
def _prox_entries(point, z, lam, penalty, p0, step):
    """z <- prox of the point where every entry is a group of its own, in order, without a metric."""
    if penalty == 0:
        for j in range(point.shape[0]):
            z[j] = math.copysign(max(abs(point[j]) - step * lam[j], 0.0), point[j])
    elif penalty == 6:
        for j in range(point.shape[0]):
            z[j] = max(point[j] - step * lam[j], 0.0) if lam[j] > 0.0 else point[j]
    else:
        for j in range(point.shape[0]):
            z[j] = math.copysign(prox(penalty, abs(point[j]), step, lam[j], p0), point[j])


@njit(cache=True, nogil=True, fastmath=_MATH)
def _prox_blocks(point, z, gptr, lam, penalty, p0, step, codes, free, t, steps, atoms, news, count):
    """z <- prox of the point where the groups are contiguous, without a metric; changes are logged on the way.

    A block that was zero and stays zero is not written, and for the plain norm no square root is taken for it.
    """
    for g in range(lam.shape[0]):
        start, stop = gptr[g], gptr[g + 1]
        square = 0.0
        for j in range(start, stop):
            square += point[j] * point[j]
        threshold = step * lam[g]
        length = 0.0
        if penalty != 0:
            norm = math.sqrt(square)
            length = prox(penalty, norm, step, lam[g], p0)
        elif square > threshold * threshold:
            norm = math.sqrt(square)
            length = norm - threshold
        if length > 0.0:
            factor = length / norm
            for j in range(start, stop):
                z[j] = factor * point[j]
            if codes[g] == 0:
                codes[g] = 1
                steps[count], atoms[count], news[count] = t, g, 1
                count += 1
        elif codes[g] != 0:
            for j in range(start, stop):
                z[j] = 0.0
            if not free[g]:
                codes[g] = 0
                steps[count], atoms[count], news[count] = t, g, 0
                count += 1
    return count


@njit(cache=True, nogil=True)
def _prox_groups(point, z, metric, adaptive, gptr, gidx, lam, penalty, p0, l1, step):
    """z <- prox of the point, group by group, in the metric if `adaptive`: the general case."""
    if l1 > 0.0:  # sparse group lasso: the entrywise part comes first
        for j in range(point.shape[0]):
            t = step * l1 / metric[j] if adaptive else step * l1
            point[j] = math.copysign(max(abs(point[j]) - t, 0.0), point[j])
    for g in range(lam.shape[0]):
        start, stop = gptr[g], gptr[g + 1]
        weight = lam[g]
        if stop - start == 1:
            j = gidx[start]
            t = step / metric[j] if adaptive else step
            if penalty == 6 and weight > 0.0:
                z[j] = max(point[j] - t * weight, 0.0)
            else:
                z[j] = math.copysign(prox(penalty, abs(point[j]), t, weight, p0), point[j])
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
            length = prox(penalty, norm, step, weight, p0)
            factor = length / norm if length > 0.0 else 0.0
            for s in range(start, stop):
                j = gidx[s]
                z[j] = factor * point[j]


@njit(cache=True, nogil=True)
def _log_changes(x, codes, gptr, gidx, free, t, steps, atoms, news, count):
    """Append (t, atom, new code) for every atom whose activity differs from `codes`; return the new count."""
    for g in range(codes.shape[0]):
        active = 0
        for s in range(gptr[g], gptr[g + 1]):
            if x[gidx[s]] != 0.0:
                active = 1
                break
        if active != codes[g] and not free[g]:
            codes[g] = active
            steps[count] = t
            atoms[count] = g
            news[count] = active
            count += 1
    return count


@njit(cache=True, nogil=True)
def advance(
    data, indices, indptr, dense, n, p, k, y, loss,
    shape, gptr, gidx, lam, penalty, p0, l1, aptr, aidx, free,
    coef, base, t, stop, second, full, root, eps,
    b, rng, order,
    w, z, v, u, anchor, mu, other, table, d, scratch,
    codes_w, codes_z, two_points,
    step_w, atom_w, new_w, step_z, atom_z, new_z, counts,
):  # fmt: skip
    """Run steps t+1 .. stop of one seed in place; row i of `coef` belongs to step base + 1 + i.

    Returns the number of steps done in all: less than `stop` when a log is full, to be emptied and called again.
    """
    rows = np.empty(b, np.int64)
    m, r = np.empty(k), np.empty(k)
    fresh, weight = np.empty((b, k)), np.empty(k)
    point, metric = scratch[0], scratch[1]
    atoms = codes_w.shape[0]
    capacity = step_w.shape[0]
    while t < stop:
        if counts[0] + atoms > capacity or counts[1] + atoms > step_z.shape[0]:
            return t
        row = coef[t - base]
        t += 1
        if row[RESTART] != 0.0:
            anchor[:] = w
            v[:] = 0.0
            u[:] = 0.0
        if row[SNAPSHOT] != 0.0:
            _full_gradient(data, indices, indptr, dense, n, p, k, y, loss, w, mu, m, r)
            other[:] = w
            if second == TABLE:
                for i in range(n):
                    _margins(data, indices, indptr, dense, p, k, i, w, m)
                    _derivative(loss, m, y[i], table[i])
        _combine(v, w, mu, row[VV], row[VW], row[VM])
        if full:
            _full_gradient(data, indices, indptr, dense, n, p, k, y, loss, w, mu, m, r)
            for j in range(v.shape[0]):
                v[j] += row[VG] * mu[j]
        else:
            draw(rng, order, n, rows)
            if root > 0:
                point[:] = 0.0
            for q in range(b):
                i = rows[q]
                _margins(data, indices, indptr, dense, p, k, i, w, m)
                _derivative(loss, m, y[i], fresh[q])
                for c in range(k):
                    weight[c] = row[VG] * fresh[q, c] / b
                if second == TABLE:
                    for c in range(k):
                        weight[c] += row[VH] * table[i, c] / b
                elif second != NONE and row[VH] != 0.0:
                    _margins(data, indices, indptr, dense, p, k, i, other, m)
                    _derivative(loss, m, y[i], r)
                    for c in range(k):
                        weight[c] += row[VH] * r[c] / b
                _add_row(data, indices, indptr, dense, p, k, i, weight, v)
                if root > 0:
                    for c in range(k):
                        weight[c] = fresh[q, c] / b
                    _add_row(data, indices, indptr, dense, p, k, i, weight, point)
            if second == TABLE:
                for q in range(b):  # one by one: a minibatch may hold a row twice
                    i = rows[q]
                    for c in range(k):
                        weight[c] = (fresh[q, c] - table[i, c]) / n
                        table[i, c] = fresh[q, c]
                    _add_row(data, indices, indptr, dense, p, k, i, weight, mu)
            elif second == PREVIOUS:
                other[:] = w
            if row[EST] == 0.0 and (t == stop):  # the estimate is the minibatch gradient itself
                d[:] = 0.0
                for q in range(b):
                    for c in range(k):
                        weight[c] = fresh[q, c] / b
                    _add_row(data, indices, indptr, dense, p, k, rows[q], weight, d)
        if root > 0:
            for j in range(v.shape[0]):
                u[j] = row[UU] * u[j] + row[UG] * point[j] * point[j]
                a = row[USCALE] * u[j]
                metric[j] = (math.sqrt(a) if root == 2 else a ** (1.0 / 3.0)) + eps
            for j in range(v.shape[0]):
                point[j] = row[PA] * anchor[j] + row[PW] * w[j] + row[PV] * v[j] / metric[j]
        else:
            _dual_point(point, anchor, w, v, row[PA], row[PW], row[PV])
        c, e = row[C], row[E]
        if e != 0.0:
            mu[:] = z
        if root > 0 or shape == GATHERED:
            _prox_groups(point, z, metric, root > 0, gptr, gidx, lam, penalty, p0, l1, row[STEP])
        elif shape == ENTRIES:
            _prox_entries(point, z, lam, penalty, p0, row[STEP])
        else:
            counts[1] = _prox_blocks(
                point, z, gptr, lam, penalty, p0, row[STEP], codes_z, free, t, step_z, atom_z, new_z, counts[1]
            )
        if c == 1.0:
            w[:] = z
        else:
            for j in range(w.shape[0]):
                w[j] = (1.0 - c) * w[j] + c * z[j]
        if e != 0.0:
            for j in range(w.shape[0]):
                w[j] += e * (z[j] - mu[j])
        if root > 0 or shape != BLOCKS:
            counts[1] = _log_changes(z, codes_z, aptr, aidx, free, t, step_z, atom_z, new_z, counts[1])
        if two_points:
            counts[0] = _log_changes(w, codes_w, aptr, aidx, free, t, step_w, atom_w, new_w, counts[0])
        if row[EST] != 0.0 and t == stop:
            for j in range(v.shape[0]):
                d[j] = row[EST] * v[j]
    return t
