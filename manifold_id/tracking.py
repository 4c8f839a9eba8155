"""A run's structure at every step, stored as a log of changes: memory grows with the changes, not with the steps.

trace = Trace(initial, step, atom, new, steps=T)          codes at step 0, then one entry for each change
tracker = ManifoldTracker(regularizer); tracker.update(t, w, z)       the same log, recorded in any loop
"""

from __future__ import annotations

import itertools
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.trace_file import read_arrays, write_arrays
from manifold_id.validation import integer, real


class _StepFunction(NamedTuple):
    """An integer of every step: values[i] on the steps starts[i] .. starts[i + 1] - 1; starts[0] = 0."""

    starts: np.ndarray
    values: np.ndarray

    def at(self, steps: np.ndarray) -> np.ndarray:
        return self.values[np.searchsorted(self.starts, steps, side="right") - 1]

    def last_nonzero(self, steps: int) -> int | None:
        """Return the last of the steps 0 .. `steps` with a nonzero value, None if there is none."""
        nonzero = np.flatnonzero(self.values)
        if not len(nonzero):
            return None
        piece = nonzero[-1] + 1
        return steps if piece == len(self.starts) else int(self.starts[piece]) - 1


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """The structure of one point of a run at every step 0, 1, ..., `steps`.

    The structure at step t is `initial` with all changes of step <= t applied in their order. A structure is a vector
    of int8 codes, one per atom; an atom is active where its code is positive. `reference` is everywhere such a
    vector, the codes of the certified solution; the structure is *right* at a step if all codes are the reference's.

    Parameters
    ----------
    initial
        Codes at step 0, (atoms,).
    step, atom, new
        The changes, (changes,) each, sorted by step: from `step` in 1 .. `steps` on, `atom` has the code `new`.
        An entry that is overwritten within its step, or that says what is so already, is dropped.
    steps
        The last step of the run, T >= 0.

    Attributes
    ----------
    initial, step, atom, new, old
        Read-only arrays int8, int64, int32, int8, int8; `old` is the code that each change replaces.

    Raises
    ------
    TypeError, ValueError
        If the arrays hold no integers, differ in length, or hold a step, an atom or a code out of range.
    """

    initial: np.ndarray
    step: np.ndarray
    atom: np.ndarray
    new: np.ndarray
    steps: int
    old: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        steps = integer("steps", self.steps, 0)
        initial = _integers("initial", self.initial, np.int8)
        step = _integers("step", self.step, np.int64)
        atom = _integers("atom", self.atom, np.int32)
        new = _integers("new", self.new, np.int8)
        if not len(step) == len(atom) == len(new):
            raise ValueError(
                f"step, atom and new have {len(step)}, {len(atom)} and {len(new)} entries: give one each for a change"
            )
        if len(step):
            if step[0] < 1 or step[-1] > steps or (np.diff(step) < 0).any():
                raise ValueError(f"step must be sorted and lie in 1 .. steps={steps}")
            if atom.min() < 0 or atom.max() >= len(initial):
                raise ValueError(f"atom must lie in 0 .. {len(initial) - 1}, as initial has {len(initial)} codes")
        step, atom, new, old = _proper_changes(initial, step, atom, new)
        arrays = {"initial": initial, "step": step, "atom": atom, "new": new, "old": old}
        for name, values in arrays.items():
            values = values.view()
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        object.__setattr__(self, "steps", steps)

    def __repr__(self) -> str:
        return f"<Trace of {self.atoms} atoms over {self.steps} steps, {len(self.step)} changes>"

    @property
    def atoms(self) -> int:
        """The number of atoms."""
        return len(self.initial)

    @property
    def last_change(self) -> int:
        """The step of the last change, 0 if nothing ever changed."""
        return int(self.step[-1]) if len(self.step) else 0

    def structure_at(self, step: int) -> np.ndarray:
        """Return the codes at `step`, int8 (atoms,)."""
        integer("step", step, 0, self.steps)
        end = np.searchsorted(self.step, step, side="right")
        codes = self.initial.copy()
        codes[self.atom[:end]] = self.new[:end]  # an atom that occurs more than once keeps its last code
        return codes

    def active_count(self, steps: ArrayLike) -> np.ndarray:
        """Return the number of active atoms at each of `steps`, int64 of their shape."""
        change = (self.new > 0).astype(np.int8) - (self.old > 0)
        return self._count((self.initial > 0).sum(), change).at(self._steps(steps))

    def settled_at(self, reference: ArrayLike) -> int | None:
        """Return the first step from which the structure is right until the end, None if it is wrong at the end."""
        last = self._wrong(self._reference(reference)).last_nonzero(self.steps)
        if last is None:
            return 0
        return None if last == self.steps else last + 1

    def identified_at(self, reference: ArrayLike, persistence: float = 0.5) -> int | None:
        """Return the identification time: the first step from which the structure is right until the end.

        None (censored) unless that is at least the last share `persistence` of the run: a structure that is right
        only shortly before the end may be so by luck.
        """
        latest = self.steps * (1 - real("persistence", persistence, 0, 1))
        settled = self.settled_at(reference)
        return settled if settled is not None and settled <= latest else None

    def last_false_positive(self, reference: ArrayLike) -> int | None:
        """Return the last step at which an atom is active that is off in the reference; None = never."""
        return self._false(self._reference(reference), positive=True).last_nonzero(self.steps)

    def last_false_negative(self, reference: ArrayLike) -> int | None:
        """Return the last step at which an atom is off that is active in the reference; None = never."""
        return self._false(self._reference(reference), positive=False).last_nonzero(self.steps)

    def off_intervals(self, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return (start, stop), int64: the structure is wrong on the steps start[i] .. stop[i] - 1, and on no other."""
        count = self._wrong(self._reference(reference))
        wrong = np.concatenate([[False], count.values > 0, [False]])
        bounds = np.append(count.starts, self.steps + 1)
        edges = bounds[np.flatnonzero(wrong[1:] != wrong[:-1])]
        return edges[::2], edges[1::2]

    def off_steps(self, reference: ArrayLike) -> int:
        """Return on how many of the steps 0 .. T the structure is wrong."""
        start, stop = self.off_intervals(reference)
        return int((stop - start).sum())

    def wrong_share(self, reference: ArrayLike, start: int = 0, stop: int | None = None) -> float:
        """Return the share of the steps start + 1 .. stop (default T) on which the structure is wrong."""
        start, stop = self._window(start, stop)
        first, end = self.off_intervals(reference)
        return float(np.clip(np.minimum(end, stop + 1) - np.maximum(first, start + 1), 0, None).sum() / (stop - start))

    def exits(self, reference: ArrayLike, start: int = 0, stop: int | None = None) -> int:
        """Return how many of the steps start + 1 .. stop (default T) leave the right structure for a wrong one."""
        start, stop = self._window(start, stop)
        first, _ = self.off_intervals(reference)
        return int(((first > start) & (first <= stop)).sum())

    def flicker_rate(self, start: int = 0, stop: int | None = None) -> float:
        """Return the number of changes a step over the steps start + 1 .. stop (default T)."""
        start, stop = self._window(start, stop)
        first, end = np.searchsorted(self.step, [start, stop], side="right")
        return float(end - first) / (stop - start)

    def precision_recall(self, reference: ArrayLike, steps: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return precision and recall of the set of active atoms at each of `steps`, float64 of their shape.

        Precision is the share of the active atoms that are active in the reference, 1 where none is active; recall is
        the share of the reference's active atoms that are active, 1 if it has none.
        """
        codes, at = self._reference(reference), self._steps(steps)
        false = self._false(codes, positive=True).at(at)
        missed = self._false(codes, positive=False).at(at)
        size = int((codes > 0).sum())
        hits = size - missed
        active = hits + false
        return np.where(active > 0, hits / np.maximum(active, 1), 1.0), hits / size if size else np.ones(at.shape)

    @classmethod
    def concatenate(cls, traces: Sequence[Trace]) -> Self:
        """Return the trace of one run recorded in blocks; each starts with the structure that the one before ends with.

        Raises
        ------
        ValueError
            If there is no block, or one does not go on where the block before it ended.
        """
        if not traces:
            raise ValueError("traces=[] is empty: give at least one block")
        for i, (first, second) in enumerate(itertools.pairwise(traces)):
            if not np.array_equal(first.structure_at(first.steps), second.initial):
                raise ValueError(f"traces[{i + 1}] does not start with the structure that traces[{i}] ends with")
        ends = np.cumsum([0, *(t.steps for t in traces)])
        step = np.concatenate([t.step + end for t, end in zip(traces, ends, strict=False)])
        atom, new = (np.concatenate([getattr(t, name) for t in traces]) for name in ("atom", "new"))
        return cls(traces[0].initial, step, atom, new, int(ends[-1]))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return what defines the trace as arrays by name: initial, step, atom, new, steps."""
        return {name: np.asarray(getattr(self, name)) for name in ("initial", "step", "atom", "new", "steps")}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Return the trace that `to_arrays` gave the arrays of."""
        steps = int(arrays["steps"])
        return cls(arrays["initial"], arrays["step"], arrays["atom"], arrays["new"], steps)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to an .npz file, losslessly and compressed; the file is whole or not there at all."""
        write_arrays(path, self.to_arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; raises ValueError if the file holds no whole trace."""
        return cls.from_arrays(read_arrays(path))

    def _count(self, start: Any, change: np.ndarray) -> _StepFunction:
        """Return the step function that starts with `start` and moves by `change` at each change of the log."""
        after = int(start) + np.cumsum(change, dtype=np.int64)
        ends_step = np.empty(len(self.step), dtype=bool)
        ends_step[-1:] = True
        np.not_equal(self.step[1:], self.step[:-1], out=ends_step[:-1])
        starts = np.concatenate([[0], self.step[ends_step]])
        return _StepFunction(starts, np.concatenate([[int(start)], after[ends_step]]))

    def _wrong(self, codes: np.ndarray) -> _StepFunction:
        """Return the number of atoms whose code is not the reference's."""
        target = codes[self.atom]
        change = (self.new != target).astype(np.int8) - (self.old != target)
        return self._count((self.initial != codes).sum(), change)

    def _false(self, codes: np.ndarray, *, positive: bool) -> _StepFunction:
        """Return the number of false positives or of false negatives."""
        here = (codes <= 0) if positive else (codes > 0)
        sign = 1 if positive else -1
        change = sign * here[self.atom] * ((self.new > 0).astype(np.int8) - (self.old > 0))
        return self._count((here & ((self.initial > 0) == positive)).sum(), change)

    def _reference(self, reference: ArrayLike) -> np.ndarray:
        codes = _integers("reference", reference, np.int8)
        if len(codes) != self.atoms:
            raise ValueError(f"reference has {len(codes)} codes, the trace {self.atoms} atoms: give one code for each")
        return codes

    def _steps(self, steps: ArrayLike) -> np.ndarray:
        at = np.asarray(steps)
        if at.size and (at.dtype.kind not in "iuf" or at.min() < 0 or at.max() > self.steps):
            raise ValueError(f"steps must be numbers in 0 .. {self.steps}, the last step of the trace")
        return at

    def _window(self, start: int, stop: int | None) -> tuple[int, int]:
        stop = self.steps if stop is None else integer("stop", stop, 1, self.steps)
        integer("start", start, 0)
        if start >= stop:
            raise ValueError(f"start={start} and stop={stop} enclose no step: choose start < stop")
        return start, stop


class ManifoldTracker:
    """Records the structure of a point, and of its proximal point, in any loop.

        tracker = ManifoldTracker(regularizer)
        for state in iterate(problem, RMDA(lr=0.1), seed=0):
            tracker.update(state.t, state.w, state.z)
        tracker.trace.identified_at(solution.codes)

    Parameters
    ----------
    source
        The regularizer whose `structure` names the manifolds.
    """

    def __init__(self, source: Regularizer) -> None:
        if not isinstance(source, Regularizer):
            raise TypeError(f"source={source!r} must be a Regularizer, such as L1(0.1)")
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
        """The structure of the proximal point so far: the object `trace` itself if no z other than w was given."""
        return self._both()[1]

    def _both(self) -> tuple[Trace, Trace]:
        if self._log is None:
            raise ValueError("nothing is recorded yet: call update(t, w) first")
        if self._traces is None:
            first = self._log.trace(self._t)
            self._traces = first, first if self._prox_log is None else self._prox_log.trace(self._t)
        return self._traces

    def _codes(self, point: Array) -> np.ndarray:
        codes = self._regularizer.structure(point)
        codes = np.asarray(codes.cpu() if hasattr(codes, "cpu") else codes, dtype=np.int8)
        if codes.ndim != 1:
            raise ValueError(f"w has {codes.ndim - 1} batch axes: track each of its points with a tracker of its own")
        if self._log is not None and len(codes) != len(self._log.codes):
            raise ValueError(
                f"w has {len(codes)} atoms, {len(self._log.codes)} before: its shape must not change"
            )
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

    def trace(self, steps: int) -> Trace:
        # Copies: a buffer that lends its memory to an array could not grow any more.
        buffers = (np.array(self.step, np.int64), np.array(self.atom, np.int32), np.array(self.new, np.int8))
        return Trace(self.initial, *buffers, steps=steps)


def _integers(name: str, values: ArrayLike, kind: type[np.signedinteger]) -> np.ndarray:
    """Return a one-dimensional array of dtype `kind`; raises TypeError or ValueError where values would change."""
    if hasattr(values, "cpu"):  # a torch tensor, on whatever device
        values = values.cpu()
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one axis, not the shape {array.shape}")
    if array.size and array.dtype.kind not in "iub":
        raise TypeError(f"{name} must hold integers, not {array.dtype}")
    if array.size and array.dtype != kind:
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        if int(array.min()) < low or int(array.max()) > high:
            raise ValueError(f"{name} must lie in {low} .. {high}, the range of {np.dtype(kind)}")
    return array.astype(kind, copy=False)


def _proper_changes(
    initial: np.ndarray, step: np.ndarray, atom: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return step, atom, new, old without the entries that change nothing or are overwritten within their step."""
    old = np.empty_like(new)
    if not len(step):
        return step, atom, new, old
    # A stable sort by atom puts each entry behind the previous one of its atom; on narrow integers it is a radix sort.
    keys = atom.astype(np.min_scalar_type(len(initial) - 1)) if len(initial) <= 1 << 16 else atom
    order = np.argsort(keys, kind="stable")
    sorted_atom, sorted_step, sorted_new = atom[order], step[order], new[order]
    same = sorted_atom[1:] == sorted_atom[:-1]
    overwritten = same & (sorted_step[1:] == sorted_step[:-1])
    if overwritten.any():
        keep = np.ones(len(step), dtype=bool)
        keep[order[:-1][overwritten]] = False
        return _proper_changes(initial, step[keep], atom[keep], new[keep])
    before = initial[sorted_atom]
    before[1:][same] = sorted_new[:-1][same]
    old[order] = before
    keep = new != old
    return (step, atom, new, old) if keep.all() else (step[keep], atom[keep], new[keep], old[keep])
