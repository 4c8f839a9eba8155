r"""Proximal SGD and l1-SAGA on sparse rows: a step touches the groups of its rows alone, the structure stays exact.

Proximal SGD without momentum. A group that no row touches has no gradient, so that it keeps its direction and

    w_t = w_r max(1 - lam_g (S_t - S_r) / |w_r|, 0),    S the running sum of the steps lr_t,

entries as well as groups. It deactivates when S reaches S_r + |w_r| / lam_g, and a zero group stays zero.

SAGA, l1. An untouched entry has a gradient that stands still, mu_j, the table's mean, so that it moves on a line,
lr (lam_j + sign(w_j) mu_j) a step towards zero; there one step is a true prox, which ends at zero or beyond it, and
from then on it rests (|mu_j| <= lam_j) or moves away at lr (|mu_j| - lam_j) a step: see `_drift`. The step of its next
change is known when it is left.

No such form is known for groups in SAGA (a shifted vector turns at every prox) nor with momentum (the estimate of an
untouched entry decays, and may turn the sign of the entry more than once): these run in the ordinary loop.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from convex_bench.engine.compiled import compiled, inlined
from convex_bench.engine.lazy.calendar import NEVER, SLACK, aligned, clear, enter, enter_by_clock, log_change
from convex_bench.engine.lazy.prefetch import draw_ahead, prefetch_rows
from convex_bench.engine.rows import slope

_MATH = {"reassoc", "nsz", "contract"}


# Records lie together, for a touched group should cost few cache lines. Columns of the coordinates: w, the minibatch
# gradient (in SAGA less mu; zero between steps), and SAGA's mu
W, G, MU = range(3)
# and of the groups: the step that w is brought up to, the last step that touched it, S and |w_g| at the former, lam,
# whether w_g is active (ALWAYS: free), and for SAGA the step at which the entry changes if nothing touches it before
SINCE, STAMP, S, NORM, LAM, ON, EVENT = range(7)
ALWAYS = 2.0


class Steps(NamedTuple):
    """The coefficients of a block of steps."""

    lrs: np.ndarray  # (steps,) of step base + 1 + i
    clock: np.ndarray  # (steps,) S
    saga: bool
    base: int


class Descent(NamedTuple):
    """The state of one seed."""

    x: np.ndarray  # (size, 4)
    r: np.ndarray  # (groups, 8)
    table: np.ndarray  # (n,) SAGA: the loss's derivative where each row was last seen
    total: np.ndarray  # (1,) S at the last step
    d: np.ndarray  # (size,) the estimate of the gradient at the last step of a call


def descent(w: np.ndarray, codes: np.ndarray, lam: np.ndarray, free: np.ndarray, gptr: np.ndarray, n: int) -> Descent:
    """Return the state at w, whose structure is `codes`."""
    x, r = aligned(len(w), 4), aligned(len(lam), 8)
    x[:, W] = w
    r[:, NORM], r[:, LAM], r[:, EVENT] = np.sqrt(np.add.reduceat(w * w, gptr[:-1])), lam, np.inf
    r[:, ON] = np.where(free, ALWAYS, codes)
    return Descent(x, r, np.zeros(n), np.zeros(1), np.zeros(len(w)))


@inlined
def _decline(x, speed):
    """Return the most steps k with x - k speed > 0, for x, speed > 0."""
    k = math.ceil(x / speed * (1.0 - SLACK)) - 1.0
    return max(k, 0.0)


@compiled
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


@inlined
def _next_change(x, shift, threshold, t):
    """Return the step at which x, at step t, may become or cease to be zero by itself."""
    if x == 0.0:
        return t + 1.0 if abs(shift) > threshold else math.inf
    speed = threshold + math.copysign(1.0, x) * shift
    return t + 1.0 + _decline(abs(x), speed) if speed > 0.0 else math.inf


@inlined
def _shrinkage(s, group):
    """Return |w_g| after the steps since the group was last brought up to date, proximal SGD's."""
    return group[NORM] - group[LAM] * (s.total[0] - group[S])


@inlined
def _catch_up(s, g, t, start, stop, lr, saga):
    """Bring w_g to step t."""
    group = s.r[g]
    n = t - group[SINCE]
    if n == 0.0:
        return
    group[SINCE] = t
    if saga:
        s.x[g, W] = _drift(s.x[g, W], lr * s.x[g, MU], lr * group[LAM], n)
        return
    if group[ON] == 1.0 and group[LAM] > 0.0:
        length = _shrinkage(s, group)
        factor = length / group[NORM]
        for j in range(start, stop):
            s.x[j, W] *= factor
        group[NORM] = length
    group[S] = s.total[0]


@partial(inlined, fastmath=_MATH)
def _prox(x, group, start, stop, lr, entries):
    """Take the step w_g <- prox(w_g - lr (g + mu)), empty g, and return whether w_g is active."""
    threshold = lr * group[LAM]
    if entries:
        a = x[start, W] - lr * (x[start, MU] + x[start, G])
        length = max(abs(a) - threshold, 0.0)
        x[start, W], x[start, G], group[NORM] = math.copysign(length, a), 0.0, length
        return length > 0.0
    square = 0.0
    for j in range(start, stop):
        a = x[j, W] - lr * x[j, G]
        x[j, W], x[j, G] = a, 0.0
        square += a * a
    if not square > threshold * threshold:
        x[start:stop, W] = 0.0
        return False
    norm = math.sqrt(square)
    group[NORM] = norm - threshold
    factor = group[NORM] / norm
    for j in range(start, stop):
        x[j, W] *= factor
    return True


@compiled
def rebase(s, t, gptr):
    """Bring proximal SGD's w to step t, the last one done, and S to zero, so that S keeps its digits."""
    for g in range(s.r.shape[0]):
        _catch_up(s, g, t, gptr[g], gptr[g + 1], 0.0, False)
    s.r[:, S] = 0.0
    s.total[0] = 0.0


@compiled
def materialize(s, t, gptr, lr, saga, out):
    """Write w at step t, the last one done, into `out`; the state is not changed."""
    for g in range(s.r.shape[0]):
        group = s.r[g]
        if saga:
            out[g] = _drift(s.x[g, W], lr * s.x[g, MU], lr * group[LAM], t - group[SINCE])
            continue
        factor = 1.0
        if t > group[SINCE] and group[ON] == 1.0 and group[LAM] > 0.0:
            factor = _shrinkage(s, group) / group[NORM]
        for j in range(gptr[g], gptr[g + 1]):
            out[j] = factor * s.x[j, W]


@compiled
def foresee(s, lr):
    """Fill in the steps at which SAGA's untouched entries first change, at step 0."""
    for g in range(s.r.shape[0]):
        if s.r[g, ON] != ALWAYS:
            s.r[g, EVENT] = _next_change(s.x[g, W], lr * s.x[g, MU], lr * s.r[g, LAM], 0)


@compiled
def _plan(s, calendar, clock, base, t, saga):
    """Fill the calendar of the steps after t."""
    clear(calendar)
    for g in range(s.r.shape[0]):
        group = s.r[g]
        if saga:
            if t < group[EVENT] <= base + clock.shape[0]:
                enter(calendar, base, g, int(group[EVENT]))
        elif group[ON] == 1.0 and group[LAM] > 0.0:
            enter_by_clock(calendar, clock, base, t, g, group[S] + group[NORM] / group[LAM])


@compiled
def _add_rows(data, indices, indptr, n, rows, work, saga, s):
    """Add the minibatch's gradient to G; in SAGA the rows' new derivatives to the mean, and G less what that adds."""
    size, fresh, weights = rows.shape[0], work[0], work[1]
    for q in range(size):
        weights[q] = (fresh[q] - s.table[rows[q]] if saga else fresh[q]) / size
    for q in range(size):
        i = rows[q]
        learnt = 0.0
        if saga:  # one by one: a minibatch may hold a row twice
            learnt = (fresh[q] - s.table[i]) / n
            s.table[i] = fresh[q]
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            s.x[j, G] += data[k] * (weights[q] - learnt)
            if saga:
                s.x[j, MU] += data[k] * learnt


@compiled
def advance(sparse, steps, t, stop, draws, s, calendar, touched, logs):
    """Run steps t+1 .. stop of one seed in place; entry i of `lrs` and of `clock`, S, belongs to step base + 1 + i.

    Returns the number of steps done in all: less than `stop` when the log or the calendar is full; call again then.
    """
    data, indices, indptr, n, y, loss, group, gptr, entries = sparse
    lrs, clock, saga, base = steps
    rng, order, drawn, work = draws
    _, log, counts = logs
    size, groups = drawn.shape[1], s.r.shape[0]
    fresh = work[0]
    end = base + clock.shape[0]
    _plan(s, calendar, clock, base, t, saga)
    while t < stop:
        if calendar.used[0] + 2 * groups > calendar.links.shape[0] or counts[1] + groups > log.shape[0]:
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
                key = s.r[g, S] + s.r[g, NORM] / s.r[g, LAM]
                if now < key * (1.0 - SLACK):  # w_g has grown since the entry was made
                    enter_by_clock(calendar, clock, base, t, g, key)
                    continue
            _catch_up(s, g, t - 1, gptr[g], gptr[g + 1], lr, saga)
            s.r[g, STAMP] = t
            touched[many] = g
            many += 1
        draw_ahead(indices, indptr, data, group, rng, order, n, drawn, t)
        rows = drawn[t % 2]
        prefetch_rows(indices, indptr, rows, group, s.x, s.r)
        for q in range(size):
            m = 0.0
            for k in range(indptr[rows[q]], indptr[rows[q] + 1]):
                j = indices[k]
                g = group[k]
                if s.r[g, STAMP] != t:
                    start, last = (g, g + 1) if entries else (gptr[g], gptr[g + 1])
                    _catch_up(s, g, t - 1, start, last, lr, saga)
                    s.r[g, STAMP] = t
                    touched[many] = g
                    many += 1
                m += data[k] * s.x[j, W]
            fresh[q] = slope(loss, m, y[rows[q]])
        _add_rows(data, indices, indptr, n, rows, work, saga, s)
        if t == stop:
            for j in range(s.x.shape[0]):
                s.d[j] = s.x[j, MU] + s.x[j, G]
        for i in range(many):
            g = touched[i]
            own = s.r[g]
            start, last = (g, g + 1) if entries else (gptr[g], gptr[g + 1])
            on = _prox(s.x, own, start, last, lr, entries)
            own[SINCE], own[S] = t, now
            if own[ON] == ALWAYS:
                continue
            if on != (own[ON] != 0.0):
                own[ON], calendar.due[g] = on, NEVER
                counts[1] = log_change(log, counts[1], t, g, on)
            if saga:
                own[EVENT] = _next_change(s.x[g, W], lr * s.x[g, MU], lr * own[LAM], t)
                calendar.due[g] = NEVER
                if own[EVENT] <= end:
                    enter(calendar, base, g, int(own[EVENT]))
            elif on and own[LAM] > 0.0:
                enter_by_clock(calendar, clock, base, t, g, now + own[NORM] / own[LAM])
        s.total[0] = now
    return t
