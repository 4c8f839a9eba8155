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

from convex_bench.engine.lazy_calendar import NEVER, SLACK, clear, enter, enter_by_clock, log_change
from convex_bench.engine.sampling import draw

_MATH = {"reassoc", "nsz", "contract"}
_SPLIT = 10  # powers of 1 - c are products from two tables: of up to 2^10, and of multiples of 2^10


class Averages(NamedTuple):
    """The state of one seed. Per group: `since`, the step that w is brought up to, with A and B there."""

    v: np.ndarray  # (size,)
    w: np.ndarray  # (size,)
    since: np.ndarray  # (groups,) int64
    a: np.ndarray  # (groups,) A at `since`
    b: np.ndarray  # (groups,) B at `since`
    norm: np.ndarray  # (groups,) |V_g|, where z_g is active
    fade: np.ndarray  # (groups,) int64: the step at which w_g underflows to zero
    on: np.ndarray  # (groups,) int8: whether z_g is active
    on_w: np.ndarray  # (groups,) int8: whether w_g is
    sums: np.ndarray  # (2,) A and B at the last step


def averages(size: int, codes: np.ndarray, free: np.ndarray) -> Averages:
    """Return the state at w = 0; `codes` are the structure there, and free groups count as active."""
    groups = len(codes)
    on = np.where(free, 1, codes).astype(np.int8)
    numbers = np.zeros(groups), np.zeros(groups), np.zeros(groups), np.full(groups, NEVER)
    return Averages(np.zeros(size), np.zeros(size), np.full(groups, -1), *numbers, on, on.copy(), np.zeros(2))


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
def _factors(s, g, n, lam, fine, coarse):
    """Return (p, f) such that w_g becomes p w_g - f V_g over n steps in which nothing touches it."""
    p = fine[n & ((1 << _SPLIT) - 1)] * coarse[n >> _SPLIT]
    if not s.on[g]:
        return p, 0.0
    f = s.sums[0] - p * s.a[g]
    if lam > 0.0:
        f -= lam / s.norm[g] * (s.sums[1] - p * s.b[g])
    return p, f


@njit(cache=True, nogil=True)
def _catch_up(s, g, t, gptr, lam, fine, coarse):
    """Bring w_g to step t."""
    if s.on[g] or s.on_w[g]:
        p, f = _factors(s, g, t - s.since[g], lam, fine, coarse)
        for j in range(gptr[g], gptr[g + 1]):
            s.w[j] = p * s.w[j] - f * s.v[j]
    s.since[g], s.a[g], s.b[g] = t, s.sums[0], s.sums[1]


@njit(cache=True, nogil=True)
def _fading(s, g, t, gptr, c):
    """Return the step at which w_g, brought to step t - 1 and from now on multiplied by 1 - c, underflows to zero."""
    if c < 0.5:
        return NEVER
    x = 0.0
    for j in range(gptr[g], gptr[g + 1]):
        x = max(x, abs(s.w[j]))
    step = t - 1
    if x > 1e-290:
        jump = int(math.log(1e-290 / x) / math.log(1.0 - c))
        x *= (1.0 - c) ** jump
        step += jump
    while x > 0.0:  # rounding as the ordinary loop does
        x = (1.0 - c) * x
        step += 1
    return step


@njit(cache=True, nogil=True, fastmath=_MATH)
def _is_on(v, start, stop, scale, threshold, entries, sided):
    """Return (whether z_g is nonzero, |V_g|) for the point scale V_g: the ordinary loop's comparison."""
    if entries:
        x = scale * v[start]
        return (x if sided else abs(x)) - threshold > 0.0, abs(v[start])
    square = 0.0
    for j in range(start, stop):
        x = scale * v[j]
        square += x * x
    return square > threshold * threshold, math.sqrt(square) / abs(scale)


@njit(cache=True, nogil=True)
def materialize(s, t, gptr, lam, fine, coarse, out):
    """Write w at step t, the last one done, into `out`; the state is not changed."""
    for g in range(lam.shape[0]):
        p, f = _factors(s, g, t - s.since[g], lam[g], fine, coarse)
        for j in range(gptr[g], gptr[g + 1]):
            out[j] = p * s.w[j] - f * s.v[j]


@njit(cache=True, nogil=True)
def advance(
    data, indices, indptr, n, y, loss,
    gof, gptr, lam, free, entries, sided, ridge,
    coef, clock, c, fine, coarse, base, t, stop,
    rng, order, rows, s, calendar, touched,
    two_points, step_w, atom_w, new_w, step_z, atom_z, new_z, counts,
):  # fmt: skip
    """Run steps t+1 .. stop of one seed in place; row i of `coef` = (vg, p, s) and of `clock` is step base + 1 + i.

    Returns the number of steps done in all: less than `stop` when a log or the calendar is full; call again then.
    """
    size, groups = rows.shape[0], lam.shape[0]
    slopes = np.empty(size)
    clear(calendar)
    for g in range(groups):
        if s.on[g] and lam[g] > 0.0:
            enter_by_clock(calendar, clock, base, t, g, s.norm[g] / lam[g])
        elif s.on_w[g] and t < s.fade[g] <= base + clock.shape[0]:
            enter(calendar, base, g, s.fade[g])
    while t < stop:
        full = calendar.count[0] + 2 * groups > calendar.links.shape[0]
        full = full or (two_points and counts[0] + groups > step_w.shape[0])
        if full or counts[1] + groups > step_z.shape[0]:
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
            if s.on[g]:
                key = s.norm[g] / lam[g]
                if alpha < key * (1.0 - SLACK):  # V_g has grown since the entry was made
                    enter_by_clock(calendar, clock, base, t, g, key)
                    continue
            _catch_up(s, g, t - 1, gptr, lam[g], fine, coarse)
            touched[many] = g
            many += 1
        draw(rng, order, n, rows)
        for q in range(size):
            m = 0.0
            for k in range(indptr[rows[q]], indptr[rows[q] + 1]):
                j = indices[k]
                g = gof[j]
                if s.since[g] != t - 1:
                    _catch_up(s, g, t - 1, gptr, lam[g], fine, coarse)
                    touched[many] = g
                    many += 1
                m += data[k] * s.w[j]
            slopes[q] = vg * slope(loss, m, y[rows[q]]) / size
        for q in range(size):
            for k in range(indptr[rows[q]], indptr[rows[q] + 1]):
                s.v[indices[k]] += data[k] * slopes[q]
        shrink = c / (1.0 + ridge * step)
        s.sums[0] = (1.0 - c) * s.sums[0] - shrink * scale
        s.sums[1] = (1.0 - c) * s.sums[1] + shrink * step
        for i in range(many):
            g = touched[i]
            on, norm = _is_on(s.v, gptr[g], gptr[g + 1], scale, step * lam[g], entries, sided)
            s.norm[g] = norm
            if free[g]:
                continue
            if on != s.on[g]:
                s.on[g] = on
                counts[1] = log_change(t, g, on, step_z, atom_z, new_z, counts[1])
                s.fade[g], calendar.due[g] = NEVER, NEVER
                if two_points and on and not s.on_w[g]:
                    s.on_w[g] = 1
                    counts[0] = log_change(t, g, 1, step_w, atom_w, new_w, counts[0])
                elif not on and c == 1.0:
                    s.w[gptr[g] : gptr[g + 1]] = 0.0
                elif not on:
                    s.fade[g] = _fading(s, g, t, gptr, c)
                    if t < s.fade[g] <= base + clock.shape[0]:
                        enter(calendar, base, g, s.fade[g])
            if on and lam[g] > 0.0:
                enter_by_clock(calendar, clock, base, t, g, norm / lam[g])
            elif s.on_w[g] and t >= s.fade[g]:
                s.on_w[g] = 0
                s.w[gptr[g] : gptr[g + 1]] = 0.0
                counts[0] = log_change(t, g, 0, step_w, atom_w, new_w, counts[0])
    return t
