"""Compiled loops of the total variation; imported by total_variation.py on first use, since numba loads slowly."""

from __future__ import annotations

import numpy as np
from numba import njit

from manifold_id.regularizers.base import Array


@njit(cache=True, nogil=True)
def fused_prox(v: Array, d: Array, lam: Array, l1: Array, x: Array) -> None:
    """Fill x (rows, n) with argmin sum_i d_i (x_i - v_i)^2 / 2 + lam_r sum |x_{i+1} - x_i| + l1_r sum |x_i|."""
    n = v.shape[1]
    lo, hi = np.empty(n), np.empty(n)
    knots = np.empty((3, 4 * n + 4))
    for r in range(v.shape[0]):
        if lam[r] == 0.0 or n == 1:
            for i in range(n):
                x[r, i] = np.sign(v[r, i]) * max(abs(v[r, i]) - l1[r] / d[r, i], 0.0)
            continue
        mean = np.sum(d[r] * v[r]) / np.sum(d[r])
        # Beyond this bound of the dual solution lam changes nothing, and a huge lam would only cost digits.
        cap = np.sum(d[r] * np.abs(v[r] - mean)) + n * l1[r]
        strength = min(lam[r], cap)
        _dynamic_program(v[r], d[r], strength, l1[r], x[r], lo, hi, knots)
        _refine(v[r], d[r], strength, l1[r], x[r])


@njit(cache=True, nogil=True)
def _dynamic_program(v: Array, d: Array, lam: float, l1: float, x: Array, lo: Array, hi: Array, knots: Array) -> None:
    """Johnson's forward-backward recursion, with weights and the entrywise absolute value.

    Forward: the derivative of the cost of x_1 .. x_k as a function of x_k = b, others optimal, is increasing and
    piecewise linear: M_k(b) = d_k (b - v_k) + l1 sign(b) + clip(M_{k-1}(b), -lam, lam). It is kept as its line left of
    all knots, its line right of all knots, and the change of slope and intercept at each knot; the jump of l1 sign(b)
    is a knot at 0 with a change of intercept alone. Every knot is removed at most once: O(n). Backward:
    x_n is the root of M_n and x_k = clip(x_{k+1}, lo_k, hi_k), where M_k(lo_k) = -lam and M_k(hi_k) = lam.
    """
    n = v.shape[0]
    at, slope, shift = knots[0], knots[1], knots[2]
    left, right = 2 * n + 1, 2 * n  # the knots in use are left .. right
    zero = -1  # the index of the knot that carries the jump at 0
    a_left, c_left = d[0], -d[0] * v[0] - l1
    a_right, c_right = d[0], -d[0] * v[0] + l1
    if l1 > 0.0:
        right += 1
        at[right], slope[right], shift[right] = 0.0, 0.0, 2.0 * l1
        zero = right
    for k in range(1, n):
        # Cut M_{k-1} at -lam from the left ...
        a, c, b, found, side = a_left, c_left, -np.inf, False, 0
        held = False  # the last knot removed was the one at 0
        while left <= right and not found and a * at[left] + c < -lam:
            held = left == zero
            if held:
                side = -1
            b = at[left]
            a += slope[left]
            c += shift[left]
            left += 1
            found = a * b + c >= -lam  # the level is crossed in the jump at b
        if not found:
            b = max(b, (-lam - c) / a)
            if left <= right:
                b = min(b, at[left])
        left -= 1
        at[left], slope[left], shift[left] = b, a, c + lam
        if found and held:
            zero, side = left, 0
        lo[k - 1] = b
        # ... and at lam from the right.
        a, c, b, found, held = a_right, c_right, np.inf, False, False
        while left <= right and not found and a * at[right] + c > lam:
            held = right == zero
            if held:
                side = 1
            b = at[right]
            a -= slope[right]
            c -= shift[right]
            right -= 1
            found = a * b + c <= lam
            if left > right and not found:  # by rounding: left of all knots M is -lam
                a, c, found = 0.0, -lam, True
        if not found:
            b = min(b, (lam - c) / a)
            if left <= right:
                b = max(b, at[right])
        right += 1
        at[right], slope[right], shift[right] = b, -a, lam - c
        if found and held:
            zero, side = right, 0
        hi[k - 1] = b
        a_left, c_left = d[k], -lam - d[k] * v[k] - l1
        a_right, c_right = d[k], lam - d[k] * v[k] + l1
        if l1 > 0.0:
            if side == -1:
                left -= 1
                zero = left
            elif side == 1:
                right += 1
                zero = right
            if side != 0:
                at[zero], slope[zero], shift[zero] = 0.0, 0.0, 0.0
            shift[zero] += 2.0 * l1
    a, c, b, found = a_left, c_left, -np.inf, False
    while left <= right and not found and a * at[left] + c < 0.0:
        b = at[left]
        a += slope[left]
        c += shift[left]
        left += 1
        found = a * b + c >= 0.0
    if not found:
        b = max(b, -c / a)
        if left <= right:
            b = min(b, at[left])
    x[n - 1] = b
    for k in range(n - 2, -1, -1):
        x[k] = min(max(x[k + 1], lo[k]), hi[k])


@njit(cache=True, nogil=True)
def _refine(v: Array, d: Array, lam: float, l1: float, x: Array) -> None:
    """Solve again for the value of each constant piece of x, given the signs of its jumps and its own sign.

    The dynamic program finds the pieces; its values carry the rounding of running sums. A piece with weight D = sum d
    has the value (sum d v + lam (sign right - sign left) - l1 m sign) / D, taken here as a correction of the old value.
    Pieces that this puts in the wrong order agree to rounding and are merged, signs that flip become zeros.
    """
    n = x.shape[0]
    start, length = np.empty(n, np.int64), np.empty(n)
    weight, excess, ref, value = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    before, after, sign = np.empty(n), np.empty(n), np.empty(n)
    top, i = -1, 0
    while i < n:
        j = i
        while j + 1 < n and x[j + 1] == x[i]:
            j += 1
        top += 1
        start[top], length[top], ref[top], sign[top] = i, j + 1 - i, x[i], np.sign(x[i])
        before[top] = np.sign(x[i] - x[i - 1]) if i > 0 else 0.0
        after[top] = np.sign(x[j + 1] - x[j]) if j + 1 < n else 0.0
        weight[top] = excess[top] = 0.0
        for k in range(i, j + 1):
            weight[top] += d[k]
            excess[top] += d[k] * (v[k] - x[i])
        i = j + 1
        while True:
            value[top] = 0.0
            if l1 == 0.0 or sign[top] != 0.0:
                pull = lam * (after[top] - before[top]) - l1 * length[top] * sign[top]
                value[top] = ref[top] + (excess[top] + pull) / weight[top]
                if l1 > 0.0 and value[top] * sign[top] <= 0.0:
                    value[top] = sign[top] = 0.0
            if top == 0 or (value[top] - value[top - 1]) * before[top] > 0.0:
                break
            top -= 1
            excess[top] += excess[top + 1] + weight[top + 1] * (ref[top + 1] - ref[top])
            weight[top] += weight[top + 1]
            length[top] += length[top + 1]
            after[top] = after[top + 1]
            sign[top] = sign[top] if sign[top] == sign[top + 1] else 0.0
    stop = n
    while top >= 0:
        x[start[top] : stop] = value[top]
        stop = start[top]
        top -= 1


@njit(cache=True, nogil=True)
def slack(g: Array, y0: float, y1: float, lam: float, lam_rate: float, l1: float, l1_rate: float) -> float:
    """Return the largest theta with a path y_0, y_1 .. y_m = given ends that obeys the two bounds

        |y_i| <= lam - theta lam_rate (0 < i < m),    |y_i - y_{i-1} - g_i| <= l1 - theta l1_rate.

    The reachable interval of y_i is propagated; where it is empty, its two ends, linear in theta, give a smaller theta.
    Each step removes one violated inequality for good, so that the loop ends at the exact maximum.
    """
    m = g.shape[0]
    theta = l1 / l1_rate
    if m > 1 and lam_rate > 0.0:
        theta = min(theta, lam / lam_rate)
    for _ in range(200):
        low, low_rate, high, high_rate = y0, 0.0, y0, 0.0
        new = theta
        for i in range(m):
            low, low_rate = low + g[i] - l1, low_rate + l1_rate
            high, high_rate = high + g[i] + l1, high_rate - l1_rate
            bottom, bottom_rate, top, top_rate = -lam, lam_rate, lam, -lam_rate
            if i == m - 1:
                bottom, bottom_rate, top, top_rate = y1, 0.0, y1, 0.0
            if bottom + theta * bottom_rate > low + theta * low_rate:
                low, low_rate = bottom, bottom_rate
            if top + theta * top_rate < high + theta * high_rate:
                high, high_rate = top, top_rate
            # Only a smaller theta counts: an interval that is a point may look empty by rounding.
            if low + theta * low_rate > high + theta * high_rate and (high - low) / (low_rate - high_rate) < theta:
                new = (high - low) / (low_rate - high_rate)
                break
        if new == theta:
            break
        theta = new
    return theta


@njit(cache=True, nogil=True)
def fused_dual(w: Array, g: Array, lam: float, l1: float, margin: Array, residual: Array) -> None:
    """Fill margin and residual (rows, 2n - 1): the gaps, then the entries. Formulas: TotalVariation.residual."""
    n = w.shape[1]
    for r in range(w.shape[0]):
        x, u, i = w[r], g[r], 0
        while i < n:
            j = i
            while j + 1 < n and x[j + 1] == x[i]:
                j += 1
            y = lam * np.sign(x[i] - x[i - 1]) if i > 0 else 0.0
            end = lam * np.sign(x[j + 1] - x[j]) if j + 1 < n else 0.0
            if x[i] == 0.0:
                theta = slack(u[i : j + 1], y, end, lam, 1.0, l1, 1.0)
                margin[r, i:j] = margin[r, n - 1 + i : n + j] = theta
                residual[r, i:j] = residual[r, n - 1 + i : n + j] = max(-theta, 0.0)
            else:
                for k in range(i, j + 1):
                    y += u[k] + l1 * np.sign(x[k])
                    if k < j:
                        margin[r, k], residual[r, k] = lam - abs(y), max(abs(y) - lam, 0.0)
                margin[r, n - 1 + i : n + j], residual[r, n - 1 + i : n + j] = np.inf, abs(y - end)
            if j + 1 < n:
                margin[r, j], residual[r, j] = np.inf, 0.0
            i = j + 1
