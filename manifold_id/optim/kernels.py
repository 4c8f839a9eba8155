# mypy: allow-untyped-defs, allow-untyped-calls
"""Compiled CPU kernels of the fused path: one pass over memory for the centre, one for the new point.

All arrays are one-dimensional views of dense memory, cut into rows of `width` entries; `y` (and the metric `d`) are
scratch. A kernel runs without the interpreter lock, so that a few threads share a step; how the work is cut does not
depend on their number, and neither does any result.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_compiled = njit(nogil=True, cache=True, error_model="numpy")
BLOCK = 1024  # rows that are summed in the dtype of the entries; sums of more are float64


@_compiled
def rmda_center(v, g, anchor, y, squares, start, row, width, s, inverse):
    """V += s g;  y = W^0 - V / beta, with inverse = 1 / beta;  squares += y^2, summed over the rows, unless empty."""
    for o in range(y.size // width):
        a, b = start + o * row, o * width
        vr, gr, ar, yr = v[a : a + width], g[a : a + width], anchor[a : a + width], y[b : b + width]
        if squares.size:
            for j in range(width):
                total = vr[j] + s * gr[j]
                new = ar[j] - inverse * total
                vr[j] = total
                yr[j] = new
                squares[j] += new * new
        else:
            for j in range(width):
                total = vr[j] + s * gr[j]
                vr[j] = total
                yr[j] = ar[j] - inverse * total


@_compiled
def prox_sgd_center(v, g, w, y, squares, start, row, width, c, lr):
    """v = (1 - c) v + c g;  y = w - lr v;  squares += y^2, summed over the rows, unless empty."""
    keep = 1 - c
    for o in range(y.size // width):
        a, b = start + o * row, o * width
        vr, gr, wr, yr = v[a : a + width], g[a : a + width], w[a : a + width], y[b : b + width]
        if squares.size:
            for j in range(width):
                mean = keep * vr[j] + c * gr[j]
                new = wr[j] - lr * mean
                vr[j] = mean
                yr[j] = new
                squares[j] += new * new
        else:
            for j in range(width):
                mean = keep * vr[j] + c * gr[j]
                vr[j] = mean
                yr[j] = wr[j] - lr * mean


@_compiled
def rda_center(total, g, y, squares, start, row, width, scale):
    """total += g;  y = -scale total;  squares += y^2, summed over the rows, unless empty."""
    for o in range(y.size // width):
        a, b = start + o * row, o * width
        tr, gr, yr = total[a : a + width], g[a : a + width], y[b : b + width]
        if squares.size:
            for j in range(width):
                tr[j] += gr[j]
                yr[j] = -scale * tr[j]
                squares[j] += yr[j] * yr[j]
        else:
            for j in range(width):
                tr[j] += gr[j]
                yr[j] = -scale * tr[j]


@_compiled
def adam_center(m, u, g, w, y, d, start, row, width, beta1, keep1, beta2, keep2, scale, eps, pull, before, after):
    """Adam's moments (keep = 1 - beta); d = scale sqrt(u) + eps;  y = (w before - pull m / d) after."""
    for o in range(y.size // width):
        a, b = start + o * row, o * width
        mr, ur, gr, wr = m[a : a + width], u[a : a + width], g[a : a + width], w[a : a + width]
        yr, dr = y[b : b + width], d[b : b + width]
        for j in range(width):
            first = beta1 * mr[j] + keep1 * gr[j]
            second = beta2 * ur[j] + keep2 * gr[j] * gr[j]
            mr[j] = first
            ur[j] = second
            metric = scale * math.sqrt(second) + eps
            dr[j] = metric
            yr[j] = (wr[j] * before - pull * first / metric) * after


@_compiled
def amsgrad_center(
    m, u, g, w, largest, y, d, start, row, width, beta1, keep1, beta2, keep2, scale, eps, pull, before, after
):
    """adam_center with d = scale sqrt(largest u so far) + eps."""
    for o in range(y.size // width):
        a, b = start + o * row, o * width
        for j in range(width):
            first = beta1 * m[a + j] + keep1 * g[a + j]
            second = beta2 * u[a + j] + keep2 * g[a + j] * g[a + j]
            m[a + j] = first
            u[a + j] = second
            largest[a + j] = max(largest[a + j], second)
            metric = scale * math.sqrt(largest[a + j]) + eps
            d[b + j] = metric
            y[b + j] = (w[a + j] * before - pull * first / metric) * after


@_compiled
def ramda_center_float64(v, u, g, anchor, y, d, start, row, width, s, eps):
    """V += s g;  U += s g^2;  d = cbrt(U) + eps;  y = W^0 - V / d."""
    for o in range(y.size // width):
        a, b = start + o * row, o * width
        vr, ur, gr, ar = v[a : a + width], u[a : a + width], g[a : a + width], anchor[a : a + width]
        yr, dr = y[b : b + width], d[b : b + width]
        for j in range(width):
            vr[j] += s * gr[j]
            ur[j] += s * gr[j] * gr[j]
            dr[j] = np.cbrt(ur[j]) + eps
            yr[j] = ar[j] - vr[j] / dr[j]


@_compiled
def ramda_center_float32(v, u, g, anchor, y, d, start, row, width, s, eps):
    """The same in float32: the cube root starts from the exponent's third and takes two Halley steps."""
    one, two, zero = np.float32(1), np.float32(2), np.float32(0)
    tiny = np.float32(1e-36)
    for o in range(y.size // width):
        a, b = start + o * row, o * width
        vr, ur, gr, ar = v[a : a + width], u[a : a + width], g[a : a + width], anchor[a : a + width]
        yr, dr = y[b : b + width], d[b : b + width]
        bits = dr.view(np.int32)
        for j in range(width):
            total = vr[j] + s * gr[j]
            second = ur[j] + s * gr[j] * gr[j]
            vr[j] = total
            ur[j] = second
            dr[j] = second
        for j in range(width):
            bits[j] = bits[j] // np.int32(3) + np.int32(709921077)
        for j in range(width):
            second, root = ur[j], dr[j]
            for _ in range(2):
                cube = root * root * root
                root = root * ((cube + two * second) / (two * cube + second))
            metric = (root if second > tiny else zero) + eps
            dr[j] = metric
            yr[j] = ar[j] - vr[j] * (one / metric)


@_compiled
def shrink_entries(y, threshold):
    """Soft threshold in place: the prox of L1."""
    for j in range(y.size):
        size = abs(y[j]) - threshold
        y[j] = math.copysign(size, y[j]) if size > 0 else y[j] * 0


@_compiled
def shrink_entries_metric(y, d, threshold):
    """Soft threshold in place with threshold / d_j: the prox of L1 in the metric d."""
    for j in range(y.size):
        size = abs(y[j]) - threshold / d[j]
        y[j] = math.copysign(size, y[j]) if size > 0 else y[j] * 0


@_compiled
def group_factors(squares, thresholds, inner):
    """Turn the sums of squares into max(1 - t_g / |y_g|, 0), 1 for t_g = 0; t_g = -1 then says y_g = 0."""
    for i in range(thresholds.size):
        total = 0.0
        for j in range(i * inner, (i + 1) * inner):
            total += squares[j]
        norm, t = math.sqrt(total), thresholds[i]
        squares[i * inner : (i + 1) * inner] = 1.0 if t == 0 else 0.0 if norm <= t else 1 - t / norm
        if norm <= t and t > 0:
            thresholds[i] = -1


@_compiled
def shrink_groups(y, thresholds, inner):
    """Block soft threshold in place: y_g max(1 - t_g / |y_g|, 0); t_g becomes -1 where t_g > 0 switches y_g off."""
    width = thresholds.size * inner
    factor = np.zeros(width)
    for o in range(y.size // width):
        yr = y[o * width : (o + 1) * width]
        for j in range(width):
            factor[j] += yr[j] * yr[j]
    group_factors(factor, thresholds, inner)
    for o in range(y.size // width):
        yr = y[o * width : (o + 1) * width]
        for j in range(width):
            yr[j] *= factor[j]


@_compiled
def _add_groups(totals, sums, inner):
    """totals[k, i] += sum of sums[k, j] over the entries j of group i."""
    for k in range(len(sums)):
        for i in range(totals.shape[1]):
            for j in range(i * inner, (i + 1) * inner):
                totals[k, i] += sums[k, j]


@_compiled
def shrink_groups_metric(y, d, thresholds, inner, tolerance):
    """Solve, for each group, min_x sum_j d_j (x_j - y_j)^2 / 2 + t |x| exactly, in place.

    x = 0 iff |d y| <= t. Otherwise x_j = theta p_j with p_j = d_j y_j / (d_j theta + t) and theta = |x| the root of
    |p| = 1. 1 / |p| is concave and increasing in theta: Newton's method on 1 / |p| = 1 climbs monotonically to the
    root from any point below it. Its steps from theta = 0 and from theta = infinity are two such points; the larger
    one starts. t becomes -1 where t > 0 switches the group off.
    """
    groups = thresholds.size
    width = groups * inner
    rows = y.size // width
    sums = np.zeros((4, width), y.dtype)
    totals = np.zeros((4, groups))
    for first in range(0, rows, BLOCK):
        sums[:] = 0
        for o in range(first, min(first + BLOCK, rows)):
            yr, dr = y[o * width : (o + 1) * width], d[o * width : (o + 1) * width]
            s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
            for j in range(width):
                square = yr[j] * yr[j]
                pulled = square * dr[j] * dr[j]
                s0[j] += pulled
                s1[j] += pulled * dr[j]
                s2[j] += square
                s3[j] += square / dr[j]
        _add_groups(totals, sums, inner)
    theta = np.zeros(groups)
    limit = np.zeros(width, y.dtype)  # t of the active groups; 0 elsewhere
    radius = np.ones(width, y.dtype)  # theta of the active groups; 1 elsewhere, to keep the dead ones finite
    done = np.ones(groups, np.bool_)
    pending = 0
    for i in range(groups):
        total = totals[:, i]
        t, pulled = thresholds[i], math.sqrt(total[0])
        span = slice(i * inner, (i + 1) * inner)
        if t == 0:
            theta[i] = 1  # any: y_g stays as it is
        elif pulled <= t:
            thresholds[i] = -1
        else:  # NaN too, which theta then is
            near = (pulled - t) * total[0] / total[1]
            far = math.sqrt(total[2]) - t * total[3] / total[2]
            theta[i] = max(near, far)
            limit[span], radius[span] = t, theta[i]
            done[i] = False
            pending += 1
    for _ in range(100):
        if pending == 0:
            break
        totals[:] = 0
        for first in range(0, rows, BLOCK):
            sums[:2] = 0
            for o in range(first, min(first + BLOCK, rows)):
                yr, dr = y[o * width : (o + 1) * width], d[o * width : (o + 1) * width]
                s0, s1 = sums[0], sums[1]
                for j in range(width):
                    ratio = dr[j] / (dr[j] * radius[j] + limit[j])
                    square = yr[j] * ratio * yr[j] * ratio
                    s0[j] += square
                    s1[j] += square * ratio
            _add_groups(totals, sums[:2], inner)
        for i in range(groups):
            if done[i]:
                continue
            square, slope = totals[0, i], totals[1, i]
            step = square * (math.sqrt(square) - 1) / slope
            theta[i] += step
            radius[i * inner : (i + 1) * inner] = theta[i]
            if not step > tolerance * theta[i]:
                done[i] = True
                pending -= 1
    for i in range(groups):
        radius[i * inner : (i + 1) * inner] = theta[i]
    for o in range(rows):
        yr, dr = y[o * width : (o + 1) * width], d[o * width : (o + 1) * width]
        for j in range(width):
            pull = dr[j] * radius[j]
            yr[j] *= 0 if radius[j] == 0 else pull / (pull + limit[j])


@_compiled
def blend(w, y, start, row, width, c, tiny):
    """w = y if c = 1 else (1 - c) w + c y;  entries below `tiny` in absolute value become 0."""
    keep = 1 - c
    for o in range(y.size // width):
        a, b = start + o * row, o * width
        wr, yr = w[a : a + width], y[b : b + width]
        if keep == 0:
            for j in range(width):
                wr[j] = yr[j]
        elif tiny == 0:
            for j in range(width):
                wr[j] = keep * wr[j] + c * yr[j]
        else:
            for j in range(width):
                new = keep * wr[j] + c * yr[j]
                wr[j] = new if abs(new) >= tiny else new * 0


@_compiled
def blend_groups(w, y, factor, start, row, width, c, tiny):
    """blend with y times its groups' factors."""
    keep = 1 - c
    for o in range(y.size // width):
        a, b = start + o * row, o * width
        wr, yr = w[a : a + width], y[b : b + width]
        if keep == 0:
            for j in range(width):
                wr[j] = factor[j] * yr[j]
        elif tiny == 0:
            for j in range(width):
                wr[j] = keep * wr[j] + c * (factor[j] * yr[j])
        else:
            for j in range(width):
                new = keep * wr[j] + c * (factor[j] * yr[j])
                wr[j] = new if abs(new) >= tiny else new * 0
