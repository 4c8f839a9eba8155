"""The lazy loops on sparse rows as the driver takes them.

Exact lazy forms exist for RMDA and RDA around the origin, SDA, plain ProxSGD, and SAGA with the l1 norm; see
`averaging` and `descent`. The ordinary loop takes the rest:

- restarts of RMDA and a momentum weight that changes: after a restart the anchor is not 0, so that the direction of
  anchor - V_g / beta_t turns with beta_t although V_g stands still, and the sums of `averaging` do not exist;
- a start other than 0 for the averaging methods, for the same reason;
- momentum in ProxSGD, groups in SAGA (see `descent`), variance reduction by snapshots or by the last point, and
  metrics: an untouched coordinate moves along a path that depends on more than a few sums;
- several margins a row (multinomial), the sparse group lasso, nonconvex penalties.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convex_bench.engine.changes import Gathered
from convex_bench.engine.driver import Compiled
from convex_bench.engine.lazy import averaging, descent
from convex_bench.engine.lazy.calendar import Calendar, calendar, log, read_log
from convex_bench.engine.lazy.choice import AVERAGING
from convex_bench.engine.lazy.layout import lay_out
from convex_bench.engine.lazy.parts import Draws, Logs, SparseRows
from convex_bench.engine.ordinary import kernel as K
from convex_bench.engine.sampling import stream
from manifold_id.methods import ProxSAGA
from manifold_id.tracking import Trace

_BLOCK = 1 << 14  # steps of one calendar; proximal SGD's running sum begins anew at the multiples of it
_LOG = 1 << 16  # changes a log holds before it is emptied


@dataclass
class _Seed:
    """One seed: the state of its loop, random rows, calendar, logs, and what was taken out of the logs."""

    state: Any
    draws: Draws
    calendar: Calendar
    touched: np.ndarray
    logs: tuple[np.ndarray, np.ndarray]  # of w and of z
    counts: np.ndarray
    t: int = 0
    changes: tuple[Gathered, Gathered] = field(default_factory=lambda: (Gathered(), Gathered()))

    @property
    def tools(self) -> tuple:
        """What every kernel takes besides the problem and the coefficients."""
        return self.draws, self.state, self.calendar, self.touched, Logs(*self.logs, self.counts)

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

    def __init__(self, what: Compiled) -> None:
        setting = what.setting
        self.setting, self.two_points = setting, bool(what.recursion.two_points(setting.method))
        self.layout = layout = lay_out(setting.problem, what.separable, what.recursion.ignores_regularizer)
        self.codes = np.asarray(setting.problem.regularizer.structure(setting.start), dtype=np.int8)
        self.lam, self.code, self.p0, self.free = layout.lam, layout.code, layout.parameter, layout.free
        self.gptr, self.size, self.n = layout.groups, len(layout.order), len(layout.y)
        self.entries = len(self.lam) == self.size
        group = layout.indices  # of each nonzero
        if not self.entries:
            group = np.repeat(np.arange(len(self.lam), dtype=np.int32), np.diff(self.gptr))[layout.indices]
        labels = (self.n, layout.y, layout.loss)
        self.rows = SparseRows(layout.data, layout.indices, layout.indptr, *labels, group, self.gptr, self.entries)

    def blocks(self, marks: np.ndarray) -> Iterator[tuple[int, int]]:
        """Yield the blocks that end at the marks and at the multiples of _BLOCK."""
        done = 0
        for end in np.union1d(marks, np.arange(_BLOCK, marks[-1], _BLOCK)).tolist():
            yield done, end
            done = end

    def fresh(self, seed: int) -> _Seed:
        """Return a seed before its first step."""
        setting, groups = self.setting, len(self.codes)
        logs = log(max(_LOG, 4 * groups) if self.two_points else groups), log(max(_LOG, 4 * groups))
        batch = np.zeros((2, setting.batch_size), np.int64), np.zeros((2, setting.batch_size))
        draws = Draws(*stream(seed, setting.problem.n, setting.replacement), *batch)
        state = self.start(self.layout.flatten(setting.start), self.codes)
        touched = np.empty(groups, np.int32)
        return _Seed(state, draws, calendar(_BLOCK, groups), touched, logs, np.zeros(2, np.int64))

    def points(self, coef: np.ndarray, seeds: list[_Seed]) -> tuple[np.ndarray, np.ndarray]:
        """Return iterates and estimates, (seeds, *shape)."""
        both = [self.point(coef, seed) for seed in seeds]
        w, d = (self.layout.restore(np.stack(part), self.setting.problem.shape) for part in zip(*both, strict=True))
        return w, d

    def start(self, w: np.ndarray, codes: np.ndarray) -> Any:
        """Return the state of a seed at the flat w."""
        raise NotImplementedError

    def advance(self, coef: np.ndarray, base: int, stop: int, seed: _Seed) -> None:
        """Go on to step `stop`."""
        raise NotImplementedError

    def point(self, coef: np.ndarray, seed: _Seed) -> tuple[np.ndarray, np.ndarray]:
        """Return w and the estimate d at the last step done, whose row of coefficients is given."""
        raise NotImplementedError


class _Averaging(_Loop):
    """RMDA, RDA and SDA."""

    def __init__(self, what: Compiled) -> None:
        super().__init__(what)
        self.c = float(getattr(what.setting.method, "momentum", 1.0))
        self.tables = averaging.powers(1.0 - self.c, int(what.setting.marks[-1]) + 1)
        self.flags = (self.code == 6, self.p0 if self.code == 1 else 0.0)

    def start(self, w: np.ndarray, codes: np.ndarray) -> averaging.Averages:
        return averaging.averages(self.size, self.lam, self.free)

    def advance(self, coef: np.ndarray, base: int, stop: int, seed: _Seed) -> None:
        table = np.ascontiguousarray(coef[:, [K.VG, K.PV, K.STEP]])
        clock = -table[:, 2] / table[:, 1]
        steps = averaging.Steps(*self.flags, table, clock, self.c, *self.tables, base)
        while seed.t < stop:
            seed.t = averaging.advance(self.rows, steps, seed.t, stop, *seed.tools)
            seed.empty_logs()

    def point(self, coef: np.ndarray, seed: _Seed) -> tuple[np.ndarray, np.ndarray]:
        w = np.empty(self.size)
        averaging.materialize(seed.state, seed.t, self.gptr, *self.tables, w)
        return w, coef[K.EST] * seed.state.v


class _Descent(_Loop):
    """Plain proximal SGD, and SAGA with the l1 norm."""

    def __init__(self, what: Compiled) -> None:
        super().__init__(what)
        method: Any = what.setting.method
        self.problem, self.saga = what.setting.problem, type(method) is ProxSAGA
        self.lr = method.lr if self.saga else 0.0

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
        steps = descent.Steps(lrs, clock, self.saga, base)
        while seed.t < stop:
            seed.t = descent.advance(self.rows, steps, seed.t, stop, *seed.tools)
            seed.empty_logs()

    def point(self, coef: np.ndarray, seed: _Seed) -> tuple[np.ndarray, np.ndarray]:
        w = np.empty(self.size)
        descent.materialize(seed.state, seed.t, self.gptr, self.lr, self.saga, w)
        return w, seed.state.d


def lazy_loop(what: Compiled) -> _Loop:
    """Return the lazy loop of a method that `lazy.choice` admits.

    Its result equals the ordinary loop's to rounding, the structure at every step included: an atom that the ordinary
    loop's own rounding decides (its norm meets the threshold to the last digits) may differ by a step.
    """
    return _Averaging(what) if type(what.setting.method) in AVERAGING else _Descent(what)
