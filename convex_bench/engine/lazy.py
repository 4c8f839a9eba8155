"""The driver of the lazy loops on sparse rows: a Run for each seed, as the ordinary loop gives it.

Exact lazy forms exist for RMDA and RDA around the origin, SDA, plain ProxSGD, and SAGA with the l1 norm; see
`lazy_averaging` and `lazy_descent`. The ordinary loop takes the rest:

- restarts of RMDA and a momentum weight that changes: after a restart the anchor is not 0, so that the direction of
  anchor - V_g / beta_t turns with beta_t although V_g stands still, and the sums of `lazy_averaging` do not exist;
- a start other than 0 for the averaging methods, for the same reason;
- momentum in ProxSGD, groups in SAGA (see `lazy_descent`), variance reduction by snapshots or by the last point, and
  metrics: an untouched coordinate moves along a path that depends on more than a few sums;
- several margins a row (multinomial), the sparse group lasso, nonconvex penalties.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from convex_bench.engine import kernel as K
from convex_bench.engine import lazy_averaging as averaging
from convex_bench.engine import lazy_descent as descent
from convex_bench.engine.changes import Gathered
from convex_bench.engine.lazy_calendar import Calendar, calendar, log, read_log
from convex_bench.engine.lazy_choice import AVERAGING
from convex_bench.engine.lazy_layout import LazyLayout, lay_out
from convex_bench.engine.recursions import Recursion
from convex_bench.engine.runner import Progress, Run, _columns, _measure
from convex_bench.engine.sampling import stream
from convex_bench.problem import Problem
from manifold_id.methods import ProxSAGA
from manifold_id.methods.base import Method
from manifold_id.regularizers.base import Separable
from manifold_id.tracking import Trace

_BLOCK = 1 << 14  # steps of one calendar; proximal SGD's running sum begins anew at the multiples of it
_LOG = 1 << 16  # changes a log holds before it is emptied


@dataclass
class _Seed:
    """One seed: the state of its loop, random rows, calendar, logs, and what was taken out of the logs."""

    state: Any
    stream: tuple[np.ndarray, np.ndarray]
    rows: np.ndarray  # (2, batch size)
    work: np.ndarray  # (2, batch size)
    calendar: Calendar
    touched: np.ndarray
    logs: tuple[np.ndarray, np.ndarray]  # of w and of z
    counts: np.ndarray
    t: int = 0
    changes: tuple[Gathered, Gathered] = field(default_factory=lambda: (Gathered(), Gathered()))

    @property
    def tools(self) -> tuple:
        """What every kernel takes besides the problem and the coefficients, but for its logs."""
        return (*self.stream, self.rows, self.work, self.state, self.calendar, self.touched)

    def empty_logs(self) -> None:
        """Move what the logs hold into `changes`, those of one step in the order of the atoms."""
        for full, count, changes in zip(self.logs, self.counts, self.changes, strict=True):
            if count:
                changes.add(*read_log(np.sort(full[:count])))
        self.counts[:] = 0

    def trace(self, which: int, initial: np.ndarray) -> Trace:
        """Return one point's log as a Trace."""
        return self.changes[which].trace(initial, self.t)


class _Loop:
    """What the loops share: the problem as arrays, groups contiguous."""

    def __init__(self, layout: LazyLayout) -> None:
        self.lam, self.code, self.p0, self.free = layout.lam, layout.code, layout.parameter, layout.free
        self.gptr, self.size, self.n = layout.groups, len(layout.order), len(layout.y)
        self.entries = len(self.lam) == self.size
        group = layout.indices  # of each nonzero
        if not self.entries:
            group = np.repeat(np.arange(len(self.lam), dtype=np.int32), np.diff(self.gptr))[layout.indices]
        labels = (self.n, layout.y, layout.loss)
        self.rows = (layout.data, layout.indices, layout.indptr, *labels, group, self.gptr, self.entries)


class _Averaging(_Loop):
    """RMDA, RDA and SDA."""

    def __init__(self, layout: LazyLayout, c: float, steps: int) -> None:
        super().__init__(layout)
        self.c, self.tables = c, averaging.powers(1.0 - c, steps + 1)
        self.flags = (self.code == 6, self.p0 if self.code == 1 else 0.0)

    def start(self, w: np.ndarray, codes: np.ndarray) -> averaging.Averages:
        return averaging.averages(self.size, self.lam, self.free)

    def advance(self, coef: np.ndarray, base: int, stop: int, seed: _Seed) -> None:
        table = np.ascontiguousarray(coef[:, [K.VG, K.PV, K.STEP]])
        clock = -table[:, 2] / table[:, 1]
        fixed = (*self.rows, *self.flags, table, clock, self.c, *self.tables, base)
        while seed.t < stop:
            seed.t = averaging.advance(*fixed, seed.t, stop, *seed.tools, *seed.logs, seed.counts)
            seed.empty_logs()

    def points(self, coef: np.ndarray, seed: _Seed) -> tuple[np.ndarray, np.ndarray]:
        """Return w and the estimate d at the last step done, whose row of coefficients is given."""
        w = np.empty(self.size)
        averaging.materialize(seed.state, seed.t, self.gptr, *self.tables, w)
        return w, coef[K.EST] * seed.state.v


class _Descent(_Loop):
    """Plain proximal SGD, and SAGA with the l1 norm."""

    def __init__(self, layout: LazyLayout, problem: Problem, lr: float | None) -> None:
        super().__init__(layout)
        self.problem, self.lr, self.saga = problem, lr or 0.0, lr is not None
        self.layout = layout

    def start(self, w: np.ndarray, codes: np.ndarray) -> descent.Descent:
        state = descent.descent(w, codes, self.lam, self.free, self.gptr, self.n if self.saga else 1)
        if self.saga:
            point = self.layout.restore(w[None], self.problem.shape)[0]
            state.x[:, descent.MU] = self.layout.flatten(self.problem.gradient(point))
            state.table[:] = self.problem.loss.derivative(self.problem.margins(point), self.problem.y)
            descent.foresee(state, self.lr)
        return state

    def advance(self, coef: np.ndarray, base: int, stop: int, seed: _Seed) -> None:
        state = seed.state
        if base % _BLOCK == 0 and not self.saga:
            descent.rebase(state, base, self.gptr)
        lrs = np.ascontiguousarray(coef[:, K.STEP])
        clock = np.cumsum(np.concatenate([state.total, lrs]))[1:]
        fixed = (*self.rows, lrs, clock, self.saga, base)
        while seed.t < stop:
            seed.t = descent.advance(*fixed, seed.t, stop, *seed.tools, seed.logs[1], seed.counts)
            seed.empty_logs()

    def points(self, coef: np.ndarray, seed: _Seed) -> tuple[np.ndarray, np.ndarray]:
        """Return w and the estimate d at the last step done."""
        w = np.empty(self.size)
        descent.materialize(seed.state, seed.t, self.gptr, self.lr, self.saga, w)
        return w, seed.state.d


def _blocks(marks: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (first, last] of the blocks that end at the marks and at the multiples of _BLOCK."""
    done = 0
    for end in np.union1d(marks, np.arange(_BLOCK, marks[-1], _BLOCK)).tolist():
        yield done, end
        done = end


def run_lazy(
    problem: Problem,
    method: Method,
    recursion: Recursion,
    separable: Separable,
    seeds: list[int],
    batch_size: int,
    replacement: bool,
    start: np.ndarray,
    marks: np.ndarray,
    reference: Any,
    threads: int | None,
    report: Progress,
) -> list[Run]:
    """Return one Run for each seed; parameters and result are those of the ordinary loop's driver.

    The result equals the ordinary loop's to rounding, the structure at every step included: an atom that the ordinary
    loop's own rounding decides (its norm meets the threshold to the last digits) may differ by a step.
    """
    layout = lay_out(problem, separable, recursion.ignores_regularizer)
    codes = np.asarray(problem.regularizer.structure(start), dtype=np.int8)
    two_points = recursion.two_points(method)
    last = int(marks[-1])
    if type(method) in AVERAGING:
        loop: Any = _Averaging(layout, float(getattr(method, "momentum", 1.0)), last)
    else:
        loop = _Descent(layout, problem, method.lr if type(method) is ProxSAGA else None)

    def fresh(seed: int) -> _Seed:
        state, groups = loop.start(layout.flatten(start), codes), len(codes)
        logs = log(max(_LOG, 4 * groups) if two_points else groups), log(max(_LOG, 4 * groups))
        batch = np.zeros((2, batch_size), np.int64), np.zeros((2, batch_size))
        own = (stream(seed, problem.n, replacement), *batch, calendar(_BLOCK, groups))
        return _Seed(state, *own, np.empty(groups, np.int32), logs, np.zeros(2, np.int64))

    runs, seconds, carry = [fresh(seed) for seed in seeds], 0.0, None
    curves: list[list[dict[str, float]]] = []
    wanted = set(marks.tolist())
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for done, stop in _blocks(marks):
            coef = np.zeros((stop - done, K.COLUMNS))
            carry = recursion.coefficients(method, np.arange(done + 1, stop + 1), coef, carry)
            clock = time.perf_counter()
            list(pool.map(partial(loop.advance, coef, done, stop), runs))
            seconds += time.perf_counter() - clock
            report((stop - done) * len(runs))
            if stop in wanted:
                both = [loop.points(coef[-1], s) for s in runs]
                points, estimates = (layout.restore(np.stack(a), problem.shape) for a in zip(*both, strict=True))
                measure = partial(_measure, problem, stop, reference)
                curves.append(list(pool.map(measure, points, estimates)))
    result = []
    for i, (seed, s) in enumerate(zip(seeds, runs, strict=True)):
        prox_trace = s.trace(1, codes)
        trace = s.trace(0, codes) if two_points else prox_trace
        mine = _columns([c[i] for c in curves])
        result.append(Run(seed, last, trace, prox_trace, mine, points[i], seconds / len(runs), compiled=True))
    return result
