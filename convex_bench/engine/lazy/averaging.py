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
from functools import partial
from typing import NamedTuple

import numpy as np

from convex_bench.engine.compiled import compiled, inlined
from convex_bench.engine.lazy.calendar import NEVER, SLACK, aligned, clear, enter, enter_by_clock, log_change
from convex_bench.engine.lazy.prefetch import draw_ahead, prefetch_entries
from convex_bench.engine.rows import slope

_MATH = {"reassoc", "nsz", "contract"}
_SPLIT = 10  # powers of 1 - c are products from two tables: of up to 2^10, and of multiples of 2^10


# Columns of a live group's record: the step that w_g is brought up to, A and B there, |V_g| where z_g is active,
# whether z_g is active (ALWAYS: free) and w_g is, the step at which w_g underflows to zero
SINCE, A, B, NORM, ON, ON_W, FADE = range(7)
ALWAYS = 2.0
_PERHAPS = 2  # in `live`: may have become active in this step
_NEAR = 1e-8  # relative: a running |V_g|^2 is trusted below the threshold by this much; its rounding errors are smaller


class Averages(NamedTuple):
    """The state of one seed.

    Most groups that a row touches are zero and stay zero. Such a group needs V, and a byte that says so: a group is
    `live` if it is free or z_g or w_g is nonzero, and only then has a record in `r`.
    """

    v: np.ndarray  # (size,)
    w: np.ndarray  # (size,), 0 where not live
    live: np.ndarray  # (groups,) uint8
    square: np.ndarray  # (groups,) |V_g|^2 of groups that are not live, from running sums; unused for entries
    lam: np.ndarray  # (groups,), or (1,) where all are equal
    r: np.ndarray  # (groups, 8)
    sums: np.ndarray  # (2,) A and B at the last step


class Steps(NamedTuple):
    """The coefficients of a block of steps."""

    sided: bool  # w >= 0 is part of psi
    ridge: float
    coef: np.ndarray  # (steps, 3): (vg, p, s) of step base + 1 + i
    clock: np.ndarray  # (steps,) alpha
    c: float
    fine: np.ndarray  # powers of 1 - c, see `powers`
    coarse: np.ndarray
    base: int


def averages(size: int, lam: np.ndarray, free: np.ndarray) -> Averages:
    """Return the state at w = 0."""
    r = aligned(len(lam), 8)
    r[:, FADE] = np.inf
    r[:, ON] = r[:, ON_W] = np.where(free, ALWAYS, 0)
    own = lam[:1].copy() if len(lam) and np.ptp(lam) == 0 else lam
    return Averages(np.zeros(size), np.zeros(size), free.astype(np.uint8), np.zeros(len(lam)), own, r, np.zeros(2))


def powers(base: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the two tables of powers of `base` for exponents up to `steps`."""
    with np.errstate(under="ignore"):
        fine = base ** np.arange(1 << _SPLIT, dtype=float)
        coarse = base ** (np.arange((steps >> _SPLIT) + 1, dtype=float) * (1 << _SPLIT))
    return fine, coarse


@inlined
def _factors(r, lam, sums, g, n, fine, coarse):
    """Return (p, f) such that w_g becomes p w_g - f V_g over n steps in which nothing touches it."""
    p = fine[n & ((1 << _SPLIT) - 1)] * coarse[n >> _SPLIT]
    if r[g, ON] == 0.0:
        return p, 0.0
    f = sums[0] - p * r[g, A]
    if lam > 0.0:
        f -= lam / r[g, NORM] * (sums[1] - p * r[g, B])
    return p, f


@inlined
def _catch_up(s, g, t, start, stop, fine, coarse):
    """Bring w_g of a live group to step t."""
    v, w, _, _, lams, r, sums = s
    lam = lams[g if lams.shape[0] > 1 else 0]
    p, f = _factors(r, lam, sums, g, t - int(r[g, SINCE]), fine, coarse)
    for j in range(start, stop):
        w[j] = p * w[j] - f * v[j]
    r[g, SINCE], r[g, A], r[g, B] = t, sums[0], sums[1]


@compiled
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


@partial(inlined, fastmath=_MATH)
def _is_on(v, start, stop, scale, threshold, entries, sided):
    """Return (whether z_g is nonzero, |V_g|) for the point scale V_g: the ordinary loop's comparison."""
    if entries:
        a = scale * v[start]
        return (a if sided else abs(a)) - threshold > 0.0, abs(v[start])
    square = 0.0
    for j in range(start, stop):
        a = scale * v[j]
        square += a * a
    return square > threshold * threshold, math.sqrt(square) / abs(scale)


@compiled
def materialize(s, t, gptr, fine, coarse, out):
    """Write w at step t, the last one done, into `out`; the state is not changed."""
    v, w, live, _, lams, r, sums = s
    out[:] = 0.0
    for g in range(live.shape[0]):
        if live[g]:
            lam = lams[g if lams.shape[0] > 1 else 0]
            p, f = _factors(r, lam, sums, g, t - int(r[g, SINCE]), fine, coarse)
            for j in range(gptr[g], gptr[g + 1]):
                out[j] = p * w[j] - f * v[j]


@compiled
def _plan(s, calendar, clock, base, t):
    """Fill the calendar of the steps after t."""
    _, _, live, _, lams, r, _ = s
    clear(calendar)
    for g in range(live.shape[0]):
        if live[g]:
            lam = lams[g if lams.shape[0] > 1 else 0]
            if r[g, ON] == 1.0 and lam > 0.0:
                enter_by_clock(calendar, clock, base, t, g, r[g, NORM] / lam)
            elif t < r[g, FADE] <= base + clock.shape[0]:
                enter(calendar, base, g, int(r[g, FADE]))


@compiled
def _settle(s, g, t, start, stop, on, norm, c, calendar, log_w, log_z, counts):
    """Note that z_g has become active or zero at step t, and what w_g makes of it."""
    _, w, live, square, _, r, _ = s
    r[g, ON] = on
    counts[1] = log_change(log_z, counts[1], t, g, on)
    r[g, FADE], calendar.due[g] = math.inf, NEVER
    if on:
        live[g] = 1
    if c == 1.0:
        r[g, ON_W] = on
        if not on:
            w[start:stop] = 0.0
            live[g], square[g] = 0, norm * norm
    elif on and r[g, ON_W] == 0.0:
        r[g, ON_W] = 1.0
        counts[0] = log_change(log_w, counts[0], t, g, 1)
    elif not on:
        top = 0.0
        for j in range(start, stop):
            top = max(top, abs(w[j]))
        r[g, FADE] = _fading(top, t, c)


@compiled
def advance(sparse, steps, t, stop, draws, s, calendar, touched, logs):
    """Run steps t+1 .. stop of one seed in place; row i of `coef` = (vg, p, s) and of `clock` is step base + 1 + i.

    Returns the number of steps done in all: less than `stop` when a log or the calendar is full; call again then.
    """
    data, indices, indptr, n, y, loss, group, gptr, entries = sparse
    sided, ridge, coef, clock, c, fine, coarse, base = steps
    rng, order, drawn, work = draws
    log_w, log_z, counts = logs
    v, w, live, square, lams, r, sums = s
    size, groups, weighted = drawn.shape[1], live.shape[0], lams.shape[0] > 1
    end = base + clock.shape[0]
    slopes = work[0]
    _plan(s, calendar, clock, base, t)
    while t < stop:
        full = calendar.used[0] + 2 * groups > calendar.links.shape[0]
        if full or counts[0] + groups > log_w.shape[0] or counts[1] + groups > log_z.shape[0]:
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
                key = r[g, NORM] / lams[g if weighted else 0]
                if alpha < key * (1.0 - SLACK):  # V_g has grown since the entry was made
                    enter_by_clock(calendar, clock, base, t, g, key)
                    continue
            _catch_up(s, g, t - 1, gptr[g], gptr[g + 1], fine, coarse)
            touched[many] = g
            many += 1
        draw_ahead(indices, indptr, data, group, rng, order, n, drawn, t)
        rows = drawn[t % 2]
        prefetch_entries(indices, indptr, rows, v)
        for q in range(size):
            m = 0.0
            for k in range(indptr[rows[q]], indptr[rows[q] + 1]):
                j = indices[k]
                g = group[k]
                if live[g]:
                    if r[g, SINCE] != t - 1:
                        start, last = (j, j + 1) if entries else (gptr[g], gptr[g + 1])
                        _catch_up(s, g, t - 1, start, last, fine, coarse)
                        touched[many] = g
                        many += 1
                    m += data[k] * w[j]
            slopes[q] = vg * slope(loss, m, y[rows[q]]) / size
        few = 0
        for q in range(size):
            for k in range(indptr[rows[q]], indptr[rows[q] + 1]):
                j, change = indices[k], data[k] * slopes[q]
                g = group[k]
                if not entries:
                    square[g] += change * (2.0 * v[j] + change)
                v[j] += change
                if live[g] != 0:
                    continue
                bound = alpha * lams[g if weighted else 0] * (1.0 - _NEAR)
                if (v[j] * v[j] if entries else square[g]) >= bound * bound:  # it may become active; looked at below
                    live[g] = _PERHAPS
                    few += 1
                    touched[groups - few] = g
        before_a, before_b = sums[0], sums[1]
        shrink = c / (1.0 + ridge * step)
        sums[0] = (1.0 - c) * sums[0] - shrink * scale
        sums[1] = (1.0 - c) * sums[1] + shrink * step
        for i in range(many):
            g = touched[i]
            if r[g, ON] == ALWAYS:
                continue
            start, last = (g, g + 1) if entries else (gptr[g], gptr[g + 1])
            lam = lams[g if weighted else 0]
            on, norm = _is_on(v, start, last, scale, step * lam, entries, sided)
            r[g, NORM] = norm
            if on != (r[g, ON] != 0.0):
                _settle(s, g, t, start, last, on, norm, c, calendar, log_w, log_z, counts)
                if t < r[g, FADE] <= end:
                    enter(calendar, base, g, int(r[g, FADE]))
            if on and lam > 0.0:
                enter_by_clock(calendar, clock, base, t, g, norm / lam)
            elif t >= r[g, FADE]:
                r[g, ON_W], r[g, FADE] = 0.0, math.inf
                w[start:last] = 0.0
                live[g], square[g] = 0, norm * norm
                counts[0] = log_change(log_w, counts[0], t, g, 0)
        for i in range(groups - few, groups):
            g = touched[i]
            live[g] = 0
            start, last = (g, g + 1) if entries else (gptr[g], gptr[g + 1])
            lam = lams[g if weighted else 0]
            on, norm = _is_on(v, start, last, scale, step * lam, entries, sided)
            if on:
                r[g, SINCE], r[g, A], r[g, B], r[g, NORM] = t - 1, before_a, before_b, norm
                _settle(s, g, t, start, last, on, norm, c, calendar, log_w, log_z, counts)
                if lam > 0.0:
                    enter_by_clock(calendar, clock, base, t, g, norm / lam)
            elif not entries:
                square[g] = norm * norm
    return t
