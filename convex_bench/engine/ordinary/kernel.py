"""The one compiled loop. A method is a row of coefficients a step; see `recursions`.

A step of the loop, per coordinate, with g the minibatch gradient at w and h that at a second point:

    v <- c_vv v + c_vw w + c_vg g + c_vh h + c_vm mu
    p  = c_pa anchor + c_pw w + c_pv v                    (v / D in a metric)
    z <- prox_{step psi}(p)                               (in the metric D)
    w <- (1 - c) w + c z + e (z - z_old)

and the structure of z and w is compared with the last one, atom by atom, each change written to a log.

With one dense row a step, `sweep` multiplies the next step's row while the new w is still in registers, and has the one
after that fetched into the cache: rows are drawn two steps ahead. What is ahead is part of the state, so that results
do not depend on where a block of steps ends. Several rows are read from memory once: their products with w and their
sum are taken a few rows at a time, which stay in the cache in between.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from convex_bench.engine.compiled import compiled, inner
from convex_bench.engine.lanes import WIDTH
from convex_bench.engine.ordinary.gathered import log_changes, prox_groups
from convex_bench.engine.ordinary.sweep import ENTRIES, KIND, LENGTH, PLANE, START, Row, Step, Vectors, Watch, sweep
from convex_bench.engine.rows import accumulate, clear, copy, derivative, fill, full_gradient, margins, part
from convex_bench.engine.sampling import draw

# columns of the coefficient table; of VW and PA, and of PA and PW, one is zero, and where VM is not zero VV is
VV, VW, VG, VH, VM, PA, PW, PV, STEP, C, E, RESTART, SNAPSHOT, UU, UG, USCALE, EST = range(17)
COLUMNS = 17
# what h is: the gradient at the last snapshot, the one of when each row was last drawn, or that at the previous iterate
NONE, SNAPSHOT_POINT, TABLE, PREVIOUS = range(4)
AHEAD = 3  # minibatches held: this step's, and those of the next two


class Plan(NamedTuple):
    """How a method runs, the same for all steps; see `recursions.Recursion`."""

    second: int
    full: bool
    adaptive: bool
    eps: float
    two_points: bool


class State(NamedTuple):
    """One seed, changed in place.

    Attributes
    ----------
    rng, order
        The stream of random numbers; see `sampling.stream`.
    batches, fresh
        (AHEAD, b) rows of the minibatches, that of step t in place t mod AHEAD; (1, outputs) margins of step t + 1,
        where `sweep` computes them.
    w, z, v, u, anchor, mu, previous, d
        Flat vectors as above (u: second moment; previous: w of a step before); d is the estimate of the gradient, set
        at the end of a block. v is kept where the next step needs it, z where groups are gathered.
    table
        Derivatives of all rows (n, outputs) at the snapshot, or at their last draw; empty where h needs none.
    g, point, metric
        Memory for a step: the weighted gradient, zero between steps; the dual point and D where groups are gathered.
    dots, lanes, segments
        Memory for `sweep`; ranges of positions where w may be nonzero, the last one being all.
    codes_w, codes_z
        Structure of the last step: a bit for a slot, or the first bit of a byte for an atom where gathered.
    """

    rng: np.ndarray
    order: np.ndarray
    batches: np.ndarray
    fresh: np.ndarray
    w: np.ndarray
    z: np.ndarray
    v: np.ndarray
    u: np.ndarray
    anchor: np.ndarray
    mu: np.ndarray
    previous: np.ndarray
    d: np.ndarray
    table: np.ndarray
    g: np.ndarray
    point: np.ndarray
    metric: np.ndarray
    dots: np.ndarray
    lanes: np.ndarray
    segments: np.ndarray
    codes_w: np.ndarray
    codes_z: np.ndarray
    weight: np.ndarray
    r: np.ndarray
    h: np.ndarray
    ones: np.ndarray
    block: np.ndarray
    values: np.ndarray


@inner
def _live(chunks, codes, first, segments):
    """Set the first segments to the ranges of positions whose chunk may hold a nonzero; return their number."""
    count = 0
    for i in range(chunks.shape[0]):
        entries = chunks[i, KIND] == ENTRIES
        if chunks[i, PLANE] == 0 and (entries or codes[first + i] != 0):
            start = chunks[i, START]
            stop = start + WIDTH * chunks[i, LENGTH]
            if count > 0 and segments[count - 1, 1] == start:
                segments[count - 1, 1] = stop
            else:
                segments[count, 0], segments[count, 1] = start, stop
                count += 1
    return count


@inner
def _gathered_step(penalty, plan, stamp, row, a, learnt, s, log_w, log_z):
    """Do a step with gradient a g, group by group; mu learns from g as in `sweep`."""
    v, w, z, u, mu, point, metric = s.v, s.w, s.z, s.u, s.mu, s.point, s.metric
    c, e = row[C], row[E]
    for j in range(v.shape[0]):
        v[j] = row[VV] * v[j] + row[VW] * w[j] + row[VM] * mu[j] + a * s.g[j]
        d = 1.0
        if plan.adaptive:
            u[j] = row[UU] * u[j] + row[UG] * s.g[j] * s.g[j]
            d = math.sqrt(row[USCALE] * u[j]) + plan.eps
            metric[j] = d
        point[j] = row[PA] * s.anchor[j] + row[PW] * w[j] + row[PV] * v[j] / d
        if learnt != 0.0:
            mu[j] += learnt * s.g[j]
    if e != 0.0:
        copy(z, mu)
    prox_groups(penalty, point, z, metric, plan.adaptive, row[STEP])
    for j in range(w.shape[0]):
        w[j] = (1.0 - c) * w[j] + c * z[j] if c != 1.0 else z[j]
        if e != 0.0:
            w[j] += e * (z[j] - mu[j])
    log_changes(penalty, z, s.codes_z, stamp, log_z)
    if plan.two_points:
        log_changes(penalty, w, s.codes_w, stamp, log_w)


@compiled
def advance(rows, penalty, plan, coef, base, t, stop, s, log_w, log_z):
    """Run steps t+1 .. stop of one seed in place; row i of `coef` belongs to step base + 1 + i.

    Returns the number of steps done in all: less than `stop` when a log is full, to be emptied and called again.
    """
    b, k, width = s.batches.shape[1], rows.outputs, rows.width
    whole = s.segments[s.segments.shape[0] - 1 :]
    no_table = s.table[:0]
    weight, r, h = s.weight, s.r, s.h
    room = log_w.where.shape[0] - s.codes_w.shape[0]  # what a log may hold before a step
    fused = rows.dense and b == 1 and not plan.full and not penalty.gathered
    sparse_w = rows.dense and not penalty.gathered and not penalty.by_entry
    few, learnt = part(rows), b / rows.n if plan.second == TABLE else 0.0
    if t == 0 and not plan.full:
        draw(s.rng, s.order, rows.n, s.batches[1])
        draw(s.rng, s.order, rows.n, s.batches[2])
        if fused:
            margins(rows, s.batches[1], s.w, whole, s.fresh)
    while t < stop:
        if max(log_w.filled[0], log_z.filled[0]) > room:
            return t
        row = coef[t - base]
        t += 1
        stamp = t << 32
        batch, coming, later = s.batches[t % AHEAD], s.batches[(t + 1) % AHEAD], s.batches[(t + 2) % AHEAD]
        if row[RESTART] != 0.0:
            copy(s.w, s.anchor)
            fill(s.v, 0.0)
        if row[SNAPSHOT] != 0.0:
            full_gradient(rows, s.w, whole, s.mu, s.table, s.block, s.values)
        a = row[VG] if plan.full or plan.adaptive else 1.0  # v gets a g
        if plan.full:
            full_gradient(rows, s.w, whole, s.g, no_table, s.block, s.values)
        else:
            draw(s.rng, s.order, rows.n, later)
            live = whole
            if sparse_w and not fused:
                codes = s.codes_w if plan.two_points else s.codes_z
                live = s.segments[: _live(penalty.chunks, codes, s.w.shape[0] // WIDTH, s.segments)]
            again = plan.second == PREVIOUS and row[VH] != 0.0
            for start in range(0, b, few):
                end = min(start + few, b)
                if fused:
                    copy(s.fresh[0], r[0])
                else:
                    margins(rows, batch[start:end], s.w, live, r[start:end])
                if again:
                    margins(rows, batch[start:end], s.previous, whole, h[start:end])
                for q in range(start, end):
                    i = batch[q]
                    derivative(rows.loss, r[q], rows.y[i], r[q])
                    if again:
                        derivative(rows.loss, h[q], rows.y[i], h[q])
                    elif plan.second == SNAPSHOT_POINT or plan.second == TABLE:
                        copy(s.table[i], h[q])
                    for c in range(k):
                        weight[q, c] = (r[q, c] if plan.adaptive else row[VG] * r[q, c]) / b
                        if plan.second != NONE and row[VH] != 0.0:
                            weight[q, c] += row[VH] * h[q, c] / b
                if not fused:
                    accumulate(rows, batch[start:end], weight[start:end], s.g)
        if plan.second == PREVIOUS:
            copy(s.w, s.previous)
        if penalty.gathered:
            _gathered_step(penalty, plan, stamp, row, a, learnt, s, log_w, log_z)
        else:
            # vectors that a method does without are replaced by one that is read anyway
            vv = row[VM] if row[VM] != 0.0 else row[VV]
            v_from = s.mu if row[VM] != 0.0 else s.v if row[VV] != 0.0 else s.w
            other = s.anchor if row[PA] != 0.0 else s.w if row[PW] != 0.0 or row[VW] != 0.0 else v_from
            keep = t == stop or coef[t - base, VV] != 0.0
            x, x_start, x_plane, slopes = s.g, 0, width, s.ones
            ahead, ahead_start, ahead_plane, fetched = s.g, 0, width, 0
            if plan.full:
                fill(s.ones, a)
            if fused:
                x, x_start, x_plane, slopes = rows.data, batch[0] * width, 0, weight[0]
                ahead, ahead_start, ahead_plane, fetched = rows.data, coming[0] * width, 0, later[0] * width
            sweep(
                penalty,
                width,
                Step(vv, row[VW], row[PA] + row[PW], row[PV], row[STEP], row[C], learnt, keep),
                Vectors(v_from, other, s.v, s.w, s.point),
                Row(x, x_start, x_plane),
                slopes,
                Row(ahead, ahead_start, ahead_plane),
                fetched,
                s.dots,
                s.lanes,
                Watch(plan.two_points, s.codes_w, s.codes_z, stamp, log_w, log_z),
            )
        if fused:
            for c in range(k):
                s.fresh[0, c] = 0.0
                for lane in range(WIDTH):
                    s.fresh[0, c] += s.dots[c * WIDTH + lane] + s.dots[(k + c) * WIDTH + lane]
        elif not plan.full:
            clear(rows, batch, s.g)
        if plan.second == TABLE:
            for q in range(b):  # one by one: mu learns once from a row that is in the minibatch twice
                i, twice = batch[q], False
                for c in range(k):
                    weight[q, c] = (h[q, c] - s.table[i, c]) / rows.n
                    twice = twice or weight[q, c] != 0.0
                    s.table[i, c] = r[q, c]
                if twice:
                    accumulate(rows, batch[q : q + 1], weight[q : q + 1], s.mu)
    estimate = coef[stop - 1 - base, EST]
    for j in range(s.v.shape[0]):
        s.d[j] = estimate * s.v[j]
    if estimate == 0.0:  # the estimate is the minibatch gradient itself
        for q in range(b):
            for c in range(k):
                weight[q, c] = r[q, c] / b
        accumulate(rows, s.batches[stop % AHEAD], weight, s.d)
    return t
