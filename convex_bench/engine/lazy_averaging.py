r"""Dual averaging on sparse rows: a step touches the groups of its rows alone, and the structure stays exact.

A step, with the anchor at 0, g the minibatch gradient at w, and p_t < 0, s_t > 0, c the coefficients of `recursions`:

    V <- V + vg_t g,    z = prox_{s_t psi}(p_t V),    w <- (1 - c) w + c z.

While no row touches group g its V_g stands still, so that z_g = -V_g (a_t - b_t lam_g / |V_g|) up to the step at which
it deactivates, with a_t = -p_t and b_t = s_t (both over 1 + ridge s_t for the elastic net), and from step r to step t

    w_t = (1 - c)^(t - r) w_r - V_g [ A(r, t) - B(r, t) lam_g / |V_g| ],
    A(r, t) = A_t - (1 - c)^(t - r) A_r,    A_t = (1 - c) A_{t-1} + c a_t,    B likewise with b_t.

z_g != 0 iff |V_g| / lam_g > alpha_t = -s_t / p_t (the sum of the weights in RMDA, t in RDA). alpha only grows: an
untouched zero group stays zero, and an active one deactivates at a step known in advance, which a calendar keeps.
w_g follows it only by underflow. (1 - c) x rounded to nearest is x itself for the last subnormal numbers if c < 1/2,
so that w_g then stays active for ever; else the step at which it vanishes is known once z_g is zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from convex_bench.engine.lazy_calendar import NEVER, SLACK, aligned, clear, enter, enter_by_clock, log_change
from convex_bench.engine.prefetch import prefetch_rows
from convex_bench.engine.sampling import draw

_MATH = {"reassoc", "nsz", "contract"}
_SPLIT = 10  # powers of 1 - c are products from two tables: of up to 2^10, and of multiples of 2^10


# Records lie together, for a touched group should cost few cache lines. Columns of the coordinates:
V, W = range(2)
# and of the groups: the step that w is brought up to, A and B there, |V_g| where z_g is active, lam, whether z_g is
# active (ALWAYS: free) and w_g is, the step at which w_g underflows to zero
SINCE, A, B, NORM, LAM, ON, ON_W, FADE = range(8)
ALWAYS = 2.0


class Averages(NamedTuple):
    """The state of one seed."""

    x: np.ndarray  # (size, 2)
    r: np.ndarray  # (groups, 8)
    sums: np.ndarray  # (2,) A and B at the last step


def averages(size: int, lam: np.ndarray, free: np.ndarray) -> Averages:
    """Return the state at w = 0."""
    r = aligned(len(lam), 8)
    r[:, SINCE], r[:, LAM], r[:, FADE] = -1, lam, np.inf
    r[:, ON] = r[:, ON_W] = np.where(free, ALWAYS, 0)
    return Averages(aligned(size, 2), r, np.zeros(2))


def powers(base: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the two tables of powers of `base` for exponents up to `steps`."""
    with np.errstate(under="ignore"):
        fine = base ** np.arange(1 << _SPLIT, dtype=float)
        coarse = base ** (np.arange((steps >> _SPLIT) + 1, dtype=float) * (1 << _SPLIT))
    return fine, coarse


@njit(cache=True, nogil=True)
def slope(loss, m, y):
    """Derivative of the loss in its margin: 0 logistic, 1 squared."""
    return -y / (1.0 + math.exp(y * m)) if loss == 0 else m - y


@njit(cache=True, nogil=True)
def _factors(r, sums, g, n, fine, coarse):
    """Return (p, f) such that w_g becomes p w_g - f V_g over n steps in which nothing touches it."""
    p = fine[n & ((1 << _SPLIT) - 1)] * coarse[n >> _SPLIT]
    if r[g, ON] == 0.0:
        return p, 0.0
    f = sums[0] - p * r[g, A]
    if r[g, LAM] > 0.0:
        f -= r[g, LAM] / r[g, NORM] * (sums[1] - p * r[g, B])
    return p, f


@njit(cache=True, nogil=True)
def _catch_up(x, r, sums, g, t, start, stop, fine, coarse):
    """Bring w_g to step t."""
    if r[g, ON] + r[g, ON_W] != 0.0:
        p, f = _factors(r, sums, g, t - int(r[g, SINCE]), fine, coarse)
        for j in range(start, stop):
            x[j, W] = p * x[j, W] - f * x[j, V]
    r[g, SINCE], r[g, A], r[g, B] = t, sums[0], sums[1]


@njit(cache=True, nogil=True)
def _fading(x, t, c):
    """Return the step at which w_g underflows to zero: multiplied by 1 - c from step t on, x = max |w_g| before."""
    if c < 0.5:
        return math.inf
    step = t - 1
    if x > 1e-290:
        jump = int(math.log(1e-290 / x) / math.log(1.0 - c))
        x *= (1.0 - c) ** jump
        step += jump
    while x > 0.0:  # rounding as the ordinary loop does
        x = (1.0 - c) * x
        step += 1
    return float(step)


@njit(cache=True, nogil=True, fastmath=_MATH)
def _is_on(x, start, stop, scale, threshold, entries, sided):
    """Return (whether z_g is nonzero, |V_g|) for the point scale V_g: the ordinary loop's comparison."""
    if entries:
        a = scale * x[start, V]
        return (a if sided else abs(a)) - threshold > 0.0, abs(x[start, V])
    square = 0.0
    for j in range(start, stop):
        a = scale * x[j, V]
        square += a * a
    return square > threshold * threshold, math.sqrt(square) / abs(scale)


@njit(cache=True, nogil=True)
def materialize(s, t, gptr, fine, coarse, out):
    """Write w at step t, the last one done, into `out`; the state is not changed."""
    x, r, sums = s
    for g in range(r.shape[0]):
        p, f = _factors(r, sums, g, t - int(r[g, SINCE]), fine, coarse)
        for j in range(gptr[g], gptr[g + 1]):
            out[j] = p * x[j, W] - f * x[j, V]


@njit(cache=True, nogil=True)
def _plan(r, calendar, clock, base, t):
    """Fill the calendar of the steps after t."""
    clear(calendar)
    for g in range(r.shape[0]):
        if r[g, ON] == 1.0 and r[g, LAM] > 0.0:
            enter_by_clock(calendar, clock, base, t, g, r[g, NORM] / r[g, LAM])
        elif t < r[g, FADE] <= base + clock.shape[0]:
            enter(calendar, base, g, int(r[g, FADE]))


@njit(cache=True, nogil=True)
def _settle(x, r, g, t, start, stop, on, c, calendar, log_w, log_z, counts):
    """Note that z_g has become active or zero at step t, and what w_g makes of it."""
    r[g, ON] = on
    counts[1] = log_change(log_z, counts[1], t, g, on)
    r[g, FADE], calendar.due[g] = math.inf, NEVER
    if c == 1.0:
        r[g, ON_W] = on
        if not on:
            x[start:stop, W] = 0.0
    elif on and r[g, ON_W] == 0.0:
        r[g, ON_W] = 1.0
        counts[0] = log_change(log_w, counts[0], t, g, 1)
    elif not on:
        top = 0.0
        for j in range(start, stop):
            top = max(top, abs(x[j, W]))
        r[g, FADE] = _fading(top, t, c)


@njit(cache=True, nogil=True)
def advance(
    data, indices, indptr, n, y, loss, gof, gptr, entries, sided, ridge,
    coef, clock, c, fine, coarse, base, t, stop,
    rng, order, rows, s, calendar, touched, log_w, log_z, counts,
):  # fmt: skip
    """Run steps t+1 .. stop of one seed in place; row i of `coef` = (vg, p, s) and of `clock` is step base + 1 + i.

    Returns the number of steps done in all: less than `stop` when a log or the calendar is full; call again then.
    """
    x, r, sums = s
    size, groups = rows.shape[0], r.shape[0]
    slopes = np.empty(size)
    end = base + clock.shape[0]
    _plan(r, calendar, clock, base, t)
    while t < stop:
        full = calendar.used[0] + 2 * groups > calendar.links.shape[0]
        if full or counts[0] + groups > log_w.step.shape[0] or counts[1] + groups > log_z.step.shape[0]:
            return t
        vg, scale, step = coef[t - base, 0], coef[t - base, 1], coef[t - base, 2]
        alpha = clock[t - base]
        entry = calendar.heads[t - base]
        t += 1
        many = 0
        while entry >= 0:
            g = calendar.groups[entry]
            entry = calendar.links[entry]
            if calendar.due[g] != t:
                continue
            calendar.due[g] = NEVER
            if r[g, ON] == 1.0:
                key = r[g, NORM] / r[g, LAM]
                if alpha < key * (1.0 - SLACK):  # V_g has grown since the entry was made
                    enter_by_clock(calendar, clock, base, t, g, key)
                    continue
            _catch_up(x, r, sums, g, t - 1, gptr[g], gptr[g + 1], fine, coarse)
            touched[many] = g
            many += 1
        draw(rng, order, n, rows)
        prefetch_rows(indices, indptr, rows, gof, entries, x, r)
        for q in range(size):
            m = 0.0
            for k in range(indptr[rows[q]], indptr[rows[q] + 1]):
                j = indices[k]
                g = j if entries else gof[j]
                if r[g, SINCE] != t - 1:
                    if entries:
                        _catch_up(x, r, sums, j, t - 1, j, j + 1, fine, coarse)
                    else:
                        _catch_up(x, r, sums, g, t - 1, gptr[g], gptr[g + 1], fine, coarse)
                    touched[many] = g
                    many += 1
                m += data[k] * x[j, W]
            slopes[q] = vg * slope(loss, m, y[rows[q]]) / size
        for q in range(size):
            for k in range(indptr[rows[q]], indptr[rows[q] + 1]):
                x[indices[k], V] += data[k] * slopes[q]
        shrink = c / (1.0 + ridge * step)
        sums[0] = (1.0 - c) * sums[0] - shrink * scale
        sums[1] = (1.0 - c) * sums[1] + shrink * step
        for i in range(many):
            g = touched[i]
            if r[g, ON] == ALWAYS:
                continue
            start, last = (g, g + 1) if entries else (gptr[g], gptr[g + 1])
            on, norm = _is_on(x, start, last, scale, step * r[g, LAM], entries, sided)
            r[g, NORM] = norm
            if on != (r[g, ON] != 0.0):
                _settle(x, r, g, t, start, last, on, c, calendar, log_w, log_z, counts)
                if t < r[g, FADE] <= end:
                    enter(calendar, base, g, int(r[g, FADE]))
            if on and r[g, LAM] > 0.0:
                enter_by_clock(calendar, clock, base, t, g, norm / r[g, LAM])
            elif t >= r[g, FADE]:
                r[g, ON_W], r[g, FADE] = 0.0, math.inf
                x[start:last, W] = 0.0
                counts[0] = log_change(log_w, counts[0], t, g, 0)
    return t
