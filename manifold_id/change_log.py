"""What a log of changes is made of: checked arrays, proper changes, and counts that change with the steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class StepFunction(NamedTuple):
    """An integer of every step: values[i] on the steps starts[i] .. starts[i + 1] - 1; starts[0] = 0."""

    starts: np.ndarray
    values: np.ndarray

    def at(self, steps: np.ndarray) -> np.ndarray:
        """Return the values at some steps."""
        return self.values[np.searchsorted(self.starts, steps, side="right") - 1]

    def last_nonzero(self, steps: int) -> int | None:
        """Return the last of the steps 0 .. `steps` with a nonzero value, None if there is none."""
        nonzero = np.flatnonzero(self.values)
        if not len(nonzero):
            return None
        piece = nonzero[-1] + 1
        return steps if piece == len(self.starts) else int(self.starts[piece]) - 1


def integers(name: str, values: ArrayLike, kind: type[np.signedinteger]) -> np.ndarray:
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


BLOCK = 1 << 20  # changes that are worked on at a time, so that no temporary is as long as the log


def blocks(column: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first place, view) of the parts of a column."""
    for start in range(0, len(column), BLOCK):
        yield start, column[start : start + BLOCK]


def whole_steps(step: np.ndarray) -> Iterator[slice]:
    """Yield the parts of a log, of about BLOCK changes and whole steps, in their order."""
    begin = 0
    while begin < len(step):
        end = int(np.searchsorted(step, step[min(begin + BLOCK, len(step)) - 1], side="right"))
        yield slice(begin, end)
        begin = end


def proper_changes(
    initial: np.ndarray, step: np.ndarray, atom: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return step, atom, new, old without the entries that change nothing or are overwritten within their step."""
    if len(step) <= BLOCK:
        return _proper_block(initial, step, atom, new)
    codes, parts = initial.copy(), []
    for here in whole_steps(step):
        parts.append(_proper_block(codes, step[here], atom[here], new[here]))
        codes[parts[-1][1]] = parts[-1][2]  # of an atom that occurs more than once the last code stays
    old = np.concatenate([part[3] for part in parts])
    if len(old) == len(step):
        return step, atom, new, old
    step, atom, new = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return step, atom, new, old


def _proper_block(
    initial: np.ndarray, step: np.ndarray, atom: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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
        return _proper_block(initial, step[keep], atom[keep], new[keep])
    before = initial[sorted_atom]
    before[1:][same] = sorted_new[:-1][same]
    old[order] = before
    keep = new != old
    return (step, atom, new, old) if keep.all() else (step[keep], atom[keep], new[keep], old[keep])
