r"""The prox of the nuclear norm in a diagonal metric, by an inner loop to a stated duality gap.

    min_X  P(X) = t |X|_* + sum_ij d_ij (X_ij - Y_ij)^2 / 2,       dual:  max_{|U|_2 <= t}  <U, Y> - sum U^2 / (2 d),

with X = Y - U / d at the optimum. Accelerated proximal gradient in the plain metric, for a strongly convex sum
(Nesterov 2004, section 2.2), so that every iterate has its rank; the gap with U = d (Y - X), scaled into the ball, says
how good it is, and |X - X*|_d^2 <= 2 gap.
"""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import array_namespace

Array = Any
STEPS = 2000
CHECK = 10  # steps between two looks at the gap
IDLE = 30  # looks without progress, after which what is left is rounding
GAP = {8: 1e-13, 4: 1e-6}  # relative to the objective at 0, by bytes of the dtype


def nuclear_prox_metric(y: Array, t: Any, d: Array) -> Array:
    """Return X for matrices Y (*batch, m, n), t >= 0 a number or (*batch,), d > 0 of Y's shape.

    The relative duality gap is at most 1e-13 in double and 1e-6 in single precision, or what 2000 steps reach;
    `metric_gap` measures it. NaN and infinity give a matrix of NaN.
    """
    xp = array_namespace(y)
    fine = xp.all(xp.isfinite(y) & xp.isfinite(d), axis=(-2, -1), keepdims=True)
    w, metric = xp.where(fine, y, xp.zeros_like(y)), xp.where(fine, d, xp.ones_like(d))
    top, bottom = (f(metric, axis=(-2, -1), keepdims=True) for f in (xp.max, xp.min))
    root = xp.sqrt(bottom / top)
    beta = (1 - root) / (1 + root)
    threshold = t[..., None] if getattr(t, "ndim", 0) else t  # against singular values (*batch, k)
    scale = xp.sum(metric * w * w, axis=(-2, -1)) / 2
    x = before = best = _shrink(w, threshold / xp.mean(metric, axis=(-2, -1))[..., None])
    least = metric_gap(best, w, t, metric)
    idle = 0
    for step in range(1, STEPS + 1):
        if idle > IDLE or bool(xp.all(least <= GAP[y.dtype.itemsize] * scale)):
            break
        ahead = x + beta * (x - before)
        before, x = x, _shrink(ahead - metric * (ahead - w) / top, threshold / top[..., 0])
        if step % CHECK == 0:
            gap = metric_gap(x, w, t, metric)
            better = gap < least
            idle = 0 if bool(xp.any(gap < 0.9 * least)) else idle + 1
            best, least = xp.where(better[..., None, None], x, best), xp.where(better, gap, least)
    return xp.where(fine, best, xp.full_like(y, math.nan))


def metric_gap(x: Array, y: Array, t: Any, d: Array) -> Array:
    """Return P(X) minus the dual objective at d (Y - X) scaled into the ball of radius t, (*batch,); NaN of NaN."""
    xp = array_namespace(x)
    fine = xp.all(xp.isfinite(x) & xp.isfinite(y) & xp.isfinite(d), axis=(-2, -1), keepdims=True)
    x, y, d = (xp.where(fine, a, xp.ones_like(a)) for a in (x, y, d))
    u = d * (y - x)
    norm = xp.max(xp.linalg.svdvals(u), axis=-1)
    inside = xp.where(norm > t, t / xp.where(norm > 0, norm, xp.ones_like(norm)), xp.ones_like(norm))
    u = inside[..., None, None] * u
    primal = t * xp.sum(xp.linalg.svdvals(x), axis=-1) + xp.sum(d * (x - y) ** 2, axis=(-2, -1)) / 2
    dual = xp.sum(u * y - u * u / (2 * d), axis=(-2, -1))
    gap = primal - dual
    return xp.where(fine[..., 0, 0], xp.where(gap < 0, xp.zeros_like(gap), gap), math.nan)


def _shrink(x: Array, threshold: Any) -> Array:
    """Return U max(S - threshold, 0) V^T."""
    xp = array_namespace(x)
    u, s, vt = xp.linalg.svd(x, full_matrices=False)
    s = s - threshold
    return (u * xp.where(s < 0, xp.zeros_like(s), s)[..., None, :]) @ vt
