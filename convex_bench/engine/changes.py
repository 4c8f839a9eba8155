"""The log of changes of structure: a step's new bits against the last step's, written where they differ.

A log is a `sweep.Changes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convex_bench.engine.compiled import inlined
from convex_bench.engine.lanes import set_word, word


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
