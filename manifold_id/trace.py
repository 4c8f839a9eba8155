"""A run's structure at every step, stored as a log of changes: memory grows with the changes, not with the steps."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from manifold_id.change_log import StepFunction, integers, proper_changes, whole_steps
from manifold_id.trace_file import read_arrays, write_arrays
from manifold_id.validation import integer, real


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
        initial = integers("initial", self.initial, np.int8)
        step = integers("step", self.step, np.int64)
        atom = integers("atom", self.atom, np.int32)
        new = integers("new", self.new, np.int8)
        if not len(step) == len(atom) == len(new):
            raise ValueError(
                f"step, atom and new have {len(step)}, {len(atom)} and {len(new)} entries: give one each for a change"
            )
        if len(step):
            if step[0] < 1 or step[-1] > steps or (step[1:] < step[:-1]).any():
                raise ValueError(f"step must be sorted and lie in 1 .. steps={steps}")
            if atom.min() < 0 or atom.max() >= len(initial):
                raise ValueError(f"atom must lie in 0 .. {len(initial) - 1}, as initial has {len(initial)} codes")
        step, atom, new, old = proper_changes(initial, step, atom, new)
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
        return self._count((self.initial > 0).sum(), self._activated).at(self._steps(steps))

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
        return len(self._changed(start, stop)) / (stop - start)

    def moving_share(self, start: int = 0, stop: int | None = None) -> float:
        """Return the share of the atoms that change at all over the steps start + 1 .. stop (default T), 0 of none.

        With the flicker rate it tells a few atoms at the border of the manifold from a structure that flickers.
        """
        return len(np.unique(self._changed(*self._window(start, stop)))) / max(self.atoms, 1)

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

    def _count(self, start: Any, change: Callable[[slice], np.ndarray]) -> StepFunction:
        """Return the step function that starts with `start` and moves by change(part of the log) at its changes."""
        starts, values = [np.zeros(1, np.int64)], [np.array([start], np.int64)]
        for here in whole_steps(self.step):
            step = self.step[here]
            ends_step = np.append(step[1:] != step[:-1], True)
            starts.append(step[ends_step])
            values.append(values[-1][-1] + np.cumsum(change(here), dtype=np.int64)[ends_step])
        return StepFunction(np.concatenate(starts), np.concatenate(values))

    def _activated(self, here: slice) -> np.ndarray:
        """Return 1 for the changes that make an atom active, -1 for those that end it, else 0."""
        return (self.new[here] > 0).astype(np.int8) - (self.old[here] > 0)

    def _wrong(self, codes: np.ndarray) -> StepFunction:
        """Return the number of atoms whose code is not the reference's."""

        def change(here: slice) -> np.ndarray:
            target = codes[self.atom[here]]
            return (self.new[here] != target).astype(np.int8) - (self.old[here] != target)

        return self._count((self.initial != codes).sum(), change)

    def _false(self, codes: np.ndarray, *, positive: bool) -> StepFunction:
        """Return the number of false positives or of false negatives."""
        counted = ((codes <= 0) if positive else (codes > 0)).astype(np.int8)
        sign = np.int8(1 if positive else -1)
        start = (counted.astype(bool) & ((self.initial > 0) == positive)).sum()
        return self._count(start, lambda here: sign * counted[self.atom[here]] * self._activated(here))

    def _reference(self, reference: ArrayLike) -> np.ndarray:
        codes = integers("reference", reference, np.int8)
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

    def _changed(self, start: int, stop: int) -> np.ndarray:
        """Return the atom of every change at the steps start + 1 .. stop."""
        first, end = np.searchsorted(self.step, [start, stop], side="right")
        return self.atom[first:end]
