"""A Problem as the flat arrays that the compiled loop reads: planes of positions, rows that lie like a plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from convex_bench.engine.lanes import WIDTH
from convex_bench.engine.ordinary.chunks import deal, round_up
from convex_bench.engine.ordinary.sweep import Penalty
from convex_bench.engine.penalties import CODES
from convex_bench.engine.rows import Rows
from convex_bench.problem import Problem
from manifold_id.regularizers.base import Separable

LOSSES = {"logistic": 0, "squared": 1, "multinomial": 2}
_LINE = 64  # bytes of a cache line


@dataclass(frozen=True)
class Layout:
    """What does not change along a run.

    Attributes
    ----------
    rows, penalty
        Arguments of `kernel.advance`.
    at
        (size,) place in the loop's variable of each flat coordinate of the problem.
    atom
        (slots,) the atom that a bit of the codes stands for, -1 for none: padding, and atoms that are free.
    group
        (slots,) where chunks hold the groups: the group of each slot, -1 for none. Empty where gathered.
    labels
        (size,) the atom of each flat coordinate.
    """

    rows: Rows
    penalty: Penalty
    at: np.ndarray
    atom: np.ndarray
    group: np.ndarray
    labels: np.ndarray

    def zeros(self) -> np.ndarray:
        """Return a new flat variable of the loop."""
        return aligned_zeros(self.rows.outputs * self.rows.width)

    def flatten(self, w: np.ndarray) -> np.ndarray:
        """Return a copy of a point as the loop's flat variable."""
        flat = self.zeros()
        flat[self.at] = np.asarray(w, dtype=float).ravel()
        return flat

    def restore(self, flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return a batch (seeds, ...) of flat variables as points (seeds, *shape)."""
        return flat[:, self.at].reshape(-1, *shape)

    def codes(self, w: np.ndarray) -> np.ndarray:
        """Return the structure of a point as the loop keeps it; see `kernel.State`."""
        nonzero = np.asarray(w).ravel() != 0
        active = np.bincount(self.labels, weights=nonzero) > 0
        if self.penalty.gathered:
            return active.astype(np.uint8)
        bits = np.append(active, False)[self.group]
        entries = bits[: len(self.zeros())]
        entries[self.at] = nonzero
        return np.append(np.packbits(bits, bitorder="little"), np.zeros(8, np.uint8))  # read eight at a time


def aligned_zeros(size: int) -> np.ndarray:
    """Return `size` float64 zeros that begin at a cache line, so that eight numbers never lie on two."""
    memory = np.zeros(size + WIDTH)
    skip = -memory.ctypes.data % _LINE // memory.itemsize
    return memory[skip : skip + size]


def lay_out(problem: Problem, separable: Separable, ignore_regularizer: bool, gather: bool) -> Layout:
    """Return the arrays of a problem.

    The regularizer is replaced by zero where the method ignores it. Groups are gathered, one after the other, if
    `gather` says so or where they do not fit into chunks.
    """
    features = problem.shape[0]
    outputs = int(np.prod(problem.shape)) // features
    labels, entries = np.asarray(separable.labels, dtype=np.int64), np.arange(features * outputs)
    by_entry = separable.atoms == "entries"
    free = (separable.lam <= 0) & (separable.l1 <= 0)
    scale = 0.0 if ignore_regularizer else 1.0
    lam, l1 = scale * np.asarray(separable.lam, dtype=float), scale * float(separable.l1)
    code = CODES["abs" if ignore_regularizer else separable.penalty]
    chunks = None if gather else deal(labels.reshape(features, outputs))
    position, width = (np.arange(features), round_up(features)) if chunks is None else (chunks.position, chunks.width)
    at = (np.arange(outputs) * width + position[:, None]).ravel()
    if chunks is None:
        table, group = np.empty((0, 6), np.int64), np.empty(0, np.int64)
        own = np.where(free[labels], -1, entries) if by_entry else np.where(free, -1, np.arange(len(free)))
        atom = np.full(WIDTH * len(own), -1)
        atom[::WIDTH] = own
        blocks = _pointers(labels, at)
        pointers = (*blocks, *(_pointers(entries, at) if by_entry else blocks))
    else:
        group, pointers = chunks.group, 4 * (np.empty(0, np.int64),)
        lam = np.append(lam, 0.0)[group]  # the last one is that of padding
        lam[: outputs * width][group[: outputs * width] >= 0] += l1  # a group of one entry: both parts add up
        table = np.column_stack([chunks.table, _strides(chunks.table, lam, width)])
        atom = np.where(chunks.twin, -1, np.append(np.where(free, -1, np.arange(len(free))), -1)[group])
        if by_entry:
            atom[:] = -1
            atom[at] = np.where(free[labels], -1, entries)
    penalty = Penalty(chunks is None, table, lam, code, float(separable.parameters[0]), l1, by_entry, *pointers)
    labels = entries if by_entry and chunks is None else labels
    rows = _rows(problem, position, width, outputs)
    return Layout(rows, penalty, at, atom.astype(np.int32), group, labels)


def _strides(table: np.ndarray, lam: np.ndarray, width: int) -> np.ndarray:
    """Return 0 for the chunks of entries with one strength, so that it is read from one place, else WIDTH."""
    ends = [(plane * width + start, WIDTH * length) for _, start, length, plane, _ in table]
    return np.array([0 if np.ptp(lam[at : at + size]) == 0.0 else WIDTH for at, size in ends])


def _pointers(labels: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (pointers, places) of a partition: those of part g are places[pointers[g] : pointers[g + 1]]."""
    return np.concatenate([[0], np.cumsum(np.bincount(labels))]), at[np.argsort(labels, kind="stable")]


def _rows(problem: Problem, position: np.ndarray, width: int, outputs: int) -> Rows:
    """Return the design in float64 with its columns in their positions."""
    design, n = problem.design, problem.n
    labels, none = problem.y.astype(float), np.empty(0, np.int64)
    if sparse.issparse(design):
        indices = position[design.indices]
        data, indptr = design.data.astype(float), design.indptr.astype(np.int64)
        return Rows(data, indices, indptr, False, n, width, outputs, labels, LOSSES[problem.loss.name])
    data = aligned_zeros(n * width)
    data.reshape(n, width)[:, position] = design
    return Rows(data, none, none, True, n, width, outputs, labels, LOSSES[problem.loss.name])
