"""The prox of the group lasso in a diagonal metric, by the secular equation of each group."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from manifold_id.regularizers.base import Array
from manifold_id.regularizers.groupings import Grouping

ITERATIONS = 100  # a bound never reached: see the tests


def group_prox_metric(grouping: Grouping, v: Array, d: Array, threshold: Any) -> Array:
    r"""Return argmin_x sum_g threshold_g |x_g|_2 + sum_j d_j (x_j - v_j)^2 / 2 for a metric d > 0.

    With c_j = threshold_g / d_j, group g is zero iff \|d v\| <= threshold; else x = v theta / (theta + c), where
    theta = \|x\| is the root of \|p\| = 1, p = v / (theta + c) (ProxSSI: Deleu & Bengio 2021, in other letters).

    Parameters
    ----------
    v, d : (*batch, *point) of one floating dtype
    threshold : number >= 0, or (*batch, groups)

    Notes
    -----
    Let f = theta / (theta + c) in (0, 1] and E the mean with weights p^2 / \|p\|^2. The function 1 / \|p\| of theta
    increases with slope E[f] / (theta \|p\|) and is concave, since its second derivative is proportional to
    -Var(f). Newton on 1 / \|p\| = 1 from a lower bound,

        theta <- theta + theta (\|p\| - 1) / E[f],

    hence increases monotonically to the root and needs no safeguard but for rounding. Lower bounds are
    (\|d v\| - threshold) / max d and \|v\| - max c. The relative error e becomes at most 3/2 e^2, as Var(f) <= E[f]:
    a step below sqrt(eps) / 2 is the last one. A group that has converged is frozen, so that its result does not
    depend on the others. All ratios are formed first, which keeps subnormal numbers and threshold = 0 exact.
    """
    if isinstance(threshold, float) and threshold == 0.0:
        return v
    xp = array_namespace(v, d)
    norm, dual_norm = grouping.norms(v), grouping.norms(d * v)
    off = dual_norm <= threshold
    c = grouping.spread(threshold, v) / d
    one, limits = xp.ones_like(norm), xp.finfo(v.dtype)
    eps = float(limits.eps)
    tiny = one * (eps * float(limits.smallest_normal))  # the smallest positive number
    theta = xp.maximum((dual_norm - threshold) / grouping.largest(d), norm - grouping.largest(c))
    theta = xp.where(off, one, xp.maximum(theta, tiny))
    done = off
    for _ in range(ITERATIONS):
        if bool(xp.all(done)):
            break
        spread = grouping.spread(theta, v)
        q = spread + c
        p = v / q
        length = grouping.norms(p)
        f = spread / q
        p *= p
        p *= f
        weight = grouping.sums(p)
        move = (length - 1) * length * length / xp.where(weight > 0, weight, one)
        old, theta = theta, xp.where(done, theta, xp.maximum(theta + theta * move, tiny))
        moving = (xp.abs(move) > eps**0.5 / 2) & (xp.abs(length - 1) > 4 * eps) & (theta != old)
        done = done | ~moving  # NaN counts as done
    spread = grouping.spread(theta, v)
    x = v * (spread / (spread + c))
    return xp.where(grouping.spread(off, v), xp.zeros_like(v), x)
