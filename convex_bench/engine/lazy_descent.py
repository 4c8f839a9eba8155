r"""Proximal SGD and l1-SAGA on sparse rows: a step touches the groups of its rows alone, the structure stays exact.

Proximal SGD without momentum. A group that no row touches has no gradient, so that it keeps its direction and

    w_t = w_r max(1 - lam_g (S_t - S_r) / |w_r|, 0),    S the running sum of the steps lr_t,

entries as well as groups. It deactivates when S reaches S_r + |w_r| / lam_g, and a zero group stays zero.

SAGA, l1. An untouched entry has a gradient that stands still, mu_j, the table's mean, so that it moves on a line,
lr (lam_j + sign(w_j) mu_j) a step towards zero; there one step is a true prox, which ends at zero or beyond it, and
from then on it rests (|mu_j| <= lam_j) or moves away at lr (|mu_j| - lam_j) a step: see `_drift`. The step of its next
change is known when it is left.

No such form is known for groups in SAGA (a shifted vector changes its direction at every prox) nor with momentum (the
estimate of an untouched entry decays, and may turn the entry's sign any number of times): these run in the ordinary loop.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from convex_bench.engine.lazy_averaging import slope
from convex_bench.engine.lazy_calendar import NEVER, SLACK, clear, enter, enter_by_clock, log_change
from convex_bench.engine.sampling import draw

_MATH = {"reassoc", "nsz", "contract"}


class Descent(NamedTuple):
    """The state of one seed. Per group: `since`, the step that w is brought up to, and S there."""

    w: np.ndarray  # (size,)
    g: np.ndarray  # (size,) the minibatch gradient, in SAGA less mu; zero between steps
    mu: np.ndarray  # (size,) SAGA: the table's mean
    table: np.ndarray  # (n,) SAGA: the loss's derivative where each row was last seen
    since: np.ndarray  # (groups,) int64
    stamp: np.ndarray  # (groups,) int64: the last step that touched the group
    s: np.ndarray  # (groups,) S at `since`
    norm: np.ndarray  # (groups,) |w_g| at `since`
    event: np.ndarray  # (groups,) int64, SAGA: the step at which the entry changes if it is not touched before
    on: np.ndarray  # (groups,) int8: whether w_g is active
    total: np.ndarray  # (1,) S at the last step
    d: np.ndarray  # (size,) the estimate of the gradient at the last step of a call


def descent(w: np.ndarray, codes: np.ndarray, free: np.ndarray, gptr: np.ndarray, rows: int) -> Descent:
    """Return the state at w, whose structure is `codes`; free groups count as active."""
    groups = len(codes)
    return Descent(
        w=w,
        g=np.zeros_like(w),
        mu=np.zeros_like(w),
        table=np.zeros(rows),
        since=np.zeros(groups, np.int64),
        stamp=np.zeros(groups, np.int64),
        s=np.zeros(groups),
        norm=np.sqrt(np.add.reduceat(w * w, gptr[:-1])),
        event=np.full(groups, NEVER),
        on=np.where(free, 1, codes).astype(np.int8),
        total=np.zeros(1),
        d=np.zeros_like(w),
    )


@njit(cache=True, nogil=True)
def _decline(x, speed):
    """Return the most steps k with x - k speed > 0, for x, speed > 0."""
    k = math.ceil(x / speed * (1.0 - SLACK)) - 1.0
    return max(k, 0.0)


@njit(cache=True, nogil=True)
def _drift(x, shift, threshold, n):
    """Return x after n steps x <- sign(x - shift) max(|x - shift| - threshold, 0)."""
    sign = math.copysign(1.0, x)
    speed = threshold + sign * shift
    if x != 0.0:
        if speed <= 0.0:
            return x - sign * n * speed
        k = _decline(abs(x), speed)
        if n <= k:
            return x - sign * n * speed
        x -= sign * k * speed
        n -= k
        while n > 0.0 and x * sign > 0.0:  # once; twice where rounding hides the step
            x -= shift
            x = math.copysign(max(abs(x) - threshold, 0.0), x)
            n -= 1.0
    if abs(shift) > threshold:
        x -= n * math.copysign(abs(shift) - threshold, shift)
    return x


@njit(cache=True, nogil=True)
def _next_change(x, shift, threshold, t):
    """Return the step at which x, at step t, may become or cease to be zero by itself."""
    if x == 0.0:
        return t + 1 if abs(shift) > threshold else NEVER
    speed = threshold + math.copysign(1.0, x) * shift
    if speed <= 0.0:
        return NEVER
    k = _decline(abs(x), speed)
    return t + int(k) + 1 if k < 1e18 else NEVER


@njit(cache=True, nogil=True)
def _catch_up(s, g, t, gptr, lam, lr, saga):
    """Bring w_g to step t."""
    n = t - s.since[g]
    if n == 0:
        return
    s.since[g] = t
    if saga:
        s.w[g] = _drift(s.w[g], lr * s.mu[g], lr * lam, float(n))
    elif s.on[g] and lam > 0.0:
        length = s.norm[g] - lam * (s.total[0] - s.s[g])
        factor = length / s.norm[g]
        for j in range(gptr[g], gptr[g + 1]):
            s.w[j] *= factor
        s.norm[g] = length
    s.s[g] = s.total[0]


@njit(cache=True, nogil=True, fastmath=_MATH)
def _prox(s, g, start, stop, lr, threshold, entries):
    """Take the step w_g <- prox(w_g - lr (g + mu)), empty g and return whether w_g is active."""
    if entries:
        x = s.w[start] - lr * (s.mu[start] + s.g[start])
        s.g[start] = 0.0
        length = max(abs(x) - threshold, 0.0)
        s.w[start], s.norm[g] = math.copysign(length, x), length
        return length > 0.0
    square = 0.0
    for j in range(start, stop):
        x = s.w[j] - lr * s.g[j]
        s.w[j], s.g[j] = x, 0.0
        square += x * x
    if square > threshold * threshold:
        norm = math.sqrt(square)
        length = norm - threshold
        factor = length / norm
        for j in range(start, stop):
            s.w[j] *= factor
        s.norm[g] = length
        return length > 0.0
    s.w[start:stop] = 0.0
    s.norm[g] = 0.0
    return False


@njit(cache=True, nogil=True)
def rebase(s, t, gptr, lam):
    """Bring proximal SGD's w to step t, the last one done, and S to zero, so that S keeps its digits."""
    for g in range(lam.shape[0]):
        _catch_up(s, g, t, gptr, lam[g], 0.0, False)
    s.s[:] = 0.0
    s.total[0] = 0.0


@njit(cache=True, nogil=True)
def materialize(s, t, gptr, lam, lr, saga, out):
    """Write w at step t, the last one done, into `out`; the state is not changed."""
    for g in range(lam.shape[0]):
        n = t - s.since[g]
        factor = 1.0
        if saga:
            out[g] = _drift(s.w[g], lr * s.mu[g], lr * lam[g], float(n))
            continue
        if n > 0 and s.on[g] and lam[g] > 0.0:
            factor = (s.norm[g] - lam[g] * (s.total[0] - s.s[g])) / s.norm[g]
        for j in range(gptr[g], gptr[g + 1]):
            out[j] = factor * s.w[j]


@njit(cache=True, nogil=True)
def advance(
    data, indices, indptr, n, y, loss, gof, gptr, lam, free, entries,
    lrs, clock, saga, base, t, stop,
    rng, order, rows, s, calendar, touched, steps, atoms, news, counts,
):  # fmt: skip
    """Run steps t+1 .. stop of one seed in place; entry i of `lrs` and of `clock`, S, belongs to step base + 1 + i.

    Returns the number of steps done in all: less than `stop` when the log or the calendar is full; call again then.
    """
    size, groups = rows.shape[0], lam.shape[0]
    fresh, weights = np.empty(size), np.empty(size)
    clear(calendar)
    for g in range(groups):
        if saga:
            if t < s.event[g] <= base + clock.shape[0]:
                enter(calendar, base, g, s.event[g])
        elif s.on[g] and lam[g] > 0.0:
            enter_by_clock(calendar, clock, base, t, g, s.s[g] + s.norm[g] / lam[g])
    while t < stop:
        if calendar.count[0] + 2 * groups > calendar.links.shape[0] or counts[0] + groups > steps.shape[0]:
            return t
        lr, now = lrs[t - base], clock[t - base]
        entry = calendar.heads[t - base]
        t += 1
        many = 0
        while entry >= 0:
            g = calendar.groups[entry]
            entry = calendar.links[entry]
            if calendar.due[g] != t:
                continue
            calendar.due[g] = NEVER
            if not saga:
                key = s.s[g] + s.norm[g] / lam[g]
                if now < key * (1.0 - SLACK):  # w_g has grown since the entry was made
                    enter_by_clock(calendar, clock, base, t, g, key)
                    continue
            _catch_up(s, g, t - 1, gptr, lam[g], lr, saga)
            s.stamp[g] = t
            touched[many] = g
            many += 1
        draw(rng, order, n, rows)
        for q in range(size):
            m = 0.0
            for k in range(indptr[rows[q]], indptr[rows[q] + 1]):
                j = indices[k]
                g = gof[j]
                if s.stamp[g] != t:
                    _catch_up(s, g, t - 1, gptr, lam[g], lr, saga)
                    s.stamp[g] = t
                    touched[many] = g
                    many += 1
                m += data[k] * s.w[j]
            fresh[q] = slope(loss, m, y[rows[q]])
        for q in range(size):
            weights[q] = (fresh[q] - s.table[rows[q]] if saga else fresh[q]) / size
        for q in range(size):
            i = rows[q]
            learnt = 0.0
            if saga:  # one by one: a minibatch may hold a row twice
                learnt = (fresh[q] - s.table[i]) / n
                s.table[i] = fresh[q]
            for k in range(indptr[i], indptr[i + 1]):
                if saga:
                    s.mu[indices[k]] += data[k] * learnt
                s.g[indices[k]] += data[k] * (weights[q] - learnt)
        if t == stop:
            s.d[:] = s.mu + s.g
        for i in range(many):
            g = touched[i]
            on = _prox(s, g, gptr[g], gptr[g + 1], lr, lr * lam[g], entries)
            s.since[g], s.s[g] = t, now
            if free[g]:
                continue
            if on != s.on[g]:
                s.on[g], calendar.due[g] = on, NEVER
                counts[0] = log_change(t, g, on, steps, atoms, news, counts[0])
            if saga:
                s.event[g] = _next_change(s.w[g], lr * s.mu[g], lr * lam[g], t)
                calendar.due[g] = NEVER
                if s.event[g] <= base + clock.shape[0]:
                    enter(calendar, base, g, s.event[g])
            elif on and lam[g] > 0.0:
                enter_by_clock(calendar, clock, base, t, g, now + s.norm[g] / lam[g])
        s.total[0] = now
    return t


@njit(cache=True, nogil=True)
def foresee(s, lam, free, lr):
    """Fill in the steps at which SAGA's untouched entries first change, at step 0."""
    for g in range(lam.shape[0]):
        if not free[g]:
            s.event[g] = _next_change(s.w[g], lr * s.mu[g], lr * lam[g], 0)
