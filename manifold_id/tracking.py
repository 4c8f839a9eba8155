"""Structure along a run: `Trace`, the log of its changes, and `ManifoldTracker`, which records one in any loop."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.trace import Trace
from manifold_id.validation import integer

__all__ = ["ManifoldTracker", "Trace"]


class ManifoldTracker:
    """Records the structure of a point, and of its proximal point, in any loop.

        tracker = ManifoldTracker(regularizer)
        for state in iterate(problem, RMDA(lr=0.1), seed=0):
            tracker.update(state.t, state.w, state.z)
        tracker.trace.identified_at(solution.codes)

    Parameters
    ----------
    source
        The regularizer whose `structure` names the manifolds; or a torch optimizer: then every step that it takes is
        recorded, and what returns is a manifold_id.optim.tracking.OptimizerTracker, with `trace` and `prox_trace` too.
    options
        Those of the OptimizerTracker.
    """

    def __new__(cls, source: Any, **options: Any) -> Any:
        """Return a tracker for the kind of source; a class without param groups is no optimizer."""
        if isinstance(source, Regularizer) or not hasattr(source, "param_groups"):
            return super().__new__(cls)
        from manifold_id.optim.tracking import OptimizerTracker

        return OptimizerTracker(source, **options)

    def __init__(self, source: Regularizer) -> None:
        if not isinstance(source, Regularizer):
            raise TypeError(f"source={source!r} must be a Regularizer, such as L1(0.1), or a torch optimizer")
        self._regularizer = source
        self._t = 0
        self._log: _Log | None = None
        self._prox_log: _Log | None = None  # None as long as every z was w
        self._traces: tuple[Trace, Trace] | None = None

    def update(self, t: int, w: Array, z: Array | None = None) -> None:
        """Record the structure of the iterate w and of its proximal point z (None: w itself) at step t.

        t grows from call to call; a step left out has the structure of the recorded one before it, and the first
        recorded structure is also that of all steps before. Raises ValueError if t does not grow or w is a batch.
        """
        integer("t", t, 0)
        if self._log is not None and t <= self._t:
            raise ValueError(f"t={t} does not come after the last recorded step {self._t}: t must grow")
        codes = self._codes(w)
        prox_codes = codes if z is None or z is w else self._codes(z)
        if self._log is None:
            self._log = _Log(codes)
            self._prox_log = None if prox_codes is codes else _Log(prox_codes)
        elif self._prox_log is None and prox_codes is not codes:
            self._prox_log = self._log.copy()
        for log, now in ((self._log, codes), (self._prox_log, prox_codes)):
            if log is not None:
                log.add(t, now)
        self._t, self._traces = t, None

    @property
    def trace(self) -> Trace:
        """The structure of the iterate so far; raises ValueError before the first update."""
        return self._both()[0]

    @property
    def prox_trace(self) -> Trace:
        """The structure of the proximal point so far: the object `trace` itself if the two never differed."""
        return self._both()[1]

    def _both(self) -> tuple[Trace, Trace]:
        if self._log is None:
            raise ValueError("nothing is recorded yet: call update(t, w) first")
        if self._traces is None:
            first = self._log.trace(self._t)
            prox = None if self._prox_log is None or self._prox_log.equals(self._log) else self._prox_log
            self._traces = first, first if prox is None else prox.trace(self._t)
        return self._traces

    def _codes(self, point: Array) -> np.ndarray:
        codes = self._regularizer.structure(point)
        codes = np.asarray(codes.cpu() if hasattr(codes, "cpu") else codes, dtype=np.int8)
        if codes.ndim != 1:
            raise ValueError(f"w has {codes.ndim - 1} batch axes: track each of its points with a tracker of its own")
        if self._log is not None and len(codes) != len(self._log.codes):
            raise ValueError(f"w has {len(codes)} atoms, {len(self._log.codes)} before: its shape must not change")
        return codes


class _Log:
    """The changes so far, in buffers that grow."""

    def __init__(self, codes: np.ndarray) -> None:
        self.initial, self.codes = codes.copy(), codes.copy()
        self.step, self.atom, self.new = array("q"), array("i"), array("b")

    def add(self, t: int, codes: np.ndarray) -> None:
        changed = np.flatnonzero(codes != self.codes)
        if len(changed):
            self.step.extend([t] * len(changed))
            self.atom.frombytes(changed.astype(np.intc).tobytes())
            self.new.frombytes(codes[changed].tobytes())
            self.codes = codes.copy()

    def copy(self) -> _Log:
        other = _Log(self.initial)
        other.codes, other.step, other.atom, other.new = self.codes, self.step[:], self.atom[:], self.new[:]
        return other

    def equals(self, other: _Log) -> bool:
        same = np.array_equal(self.initial, other.initial)
        return same and (self.step, self.atom, self.new) == (other.step, other.atom, other.new)

    def trace(self, steps: int) -> Trace:
        # Copies: a buffer that lends its memory to an array could not grow any more.
        buffers = (np.array(self.step, np.int64), np.array(self.atom, np.int32), np.array(self.new, np.int8))
        return Trace(self.initial, *buffers, steps=steps)
