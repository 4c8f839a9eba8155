"""The log of changes of structure: a step's new bits against the last step's, written where they differ.

A log is a `sweep.Changes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convex_bench.engine.compiled import inlined
from convex_bench.engine.lanes import set_word, word
from manifold_id.tracking import Trace


class Gathered:
    """The changes that were taken out of a log so far, 13 bytes each: a run that flickers has hundreds of millions.

    The columns are those of a Trace and grow in place, so that there are never two of them.
    """

    def __init__(self) -> None:
        self._columns, self._count = _no_changes(), 0

    def add(self, *columns: np.ndarray) -> None:
        """Append changes: step, atom and new code."""
        end, room = self._count + len(columns[0]), len(self._columns[0])
        for own, more in zip(self._columns, columns, strict=True):
            if end > room:
                own.resize(max(end, room + room // 8), refcheck=False)
            own[self._count : end] = more
        self._count = end

    def trace(self, initial: np.ndarray, steps: int) -> Trace:
        """Return them as a trace, and forget them."""
        for own in self._columns:
            own.resize(self._count, refcheck=False)
        step, atom, new = self._columns
        self._columns, self._count = _no_changes(), 0
        return Trace(initial, step, atom, new, steps)


def _no_changes() -> list[np.ndarray]:
    return [np.empty(0, kind) for kind in (np.int64, np.int32, np.int8)]


@inlined
def note(bits: Any, codes: Any, at: Any, stamp: Any, log: Any, count: Any) -> Any:
    """Set codes[at] to `bits`; if that is a change, log it as entry `count`. Return the number of entries.

    stamp = step << 32.
    """
    differ = np.uint64(bits) ^ np.uint64(codes[at])
    if differ != 0:
        log.where[count], log.differ[count], log.bits[count] = stamp | at, differ, np.uint64(bits)
        codes[at] = bits
        count += 1
    return count


@inlined
def note_word(bits: Any, length: Any, codes: Any, at: Any, stamp: Any, log: Any, count: Any) -> Any:
    """Do the same for the `length` <= 8 bytes from `at` on, without a branch: entries change more often than groups."""
    new, old = np.uint64(bits) >> np.uint64(64 - 8 * length), word(codes, at)
    differ = (new ^ old) & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * length))
    set_word(codes, at, old ^ differ)
    log.where[count], log.differ[count], log.bits[count] = stamp | at, differ, new
    return count + (1 if differ != np.uint64(0) else 0)
