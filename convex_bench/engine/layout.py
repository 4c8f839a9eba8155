"""A Problem as the flat arrays that the compiled loop reads, its columns reordered so that groups are contiguous."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from convex_bench.engine import kernel as K
from convex_bench.engine.penalties import CODES
from convex_bench.problem import Problem
from manifold_id.regularizers.base import Separable

LOSSES = {"logistic": 0, "squared": 1, "multinomial": 2}


@dataclass(frozen=True)
class Layout:
    """What does not change along a run.

    Attributes
    ----------
    data, penalty
        The first two groups of arguments of `kernel.advance`.
    order
        Flat coordinate of the problem at each position of the loop's variable.
    size, outputs
        Length of the flat variable, margins of a row.
    """

    data: tuple
    penalty: tuple
    order: np.ndarray
    size: int
    outputs: int

    def flatten(self, w: np.ndarray) -> np.ndarray:
        """Return a copy of a point as the loop's flat variable."""
        return np.ascontiguousarray(w, dtype=float).ravel()[self.order]

    def restore(self, flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return a batch (seeds, size) of flat variables as points (seeds, *shape)."""
        points = np.empty_like(flat)
        points[:, self.order] = flat
        return points.reshape(-1, *shape)


def lay_out(problem: Problem, separable: Separable, ignore_regularizer: bool) -> Layout:
    """Return the arrays of a problem; the regularizer is replaced by zero where the method ignores it."""
    size = int(np.prod(problem.shape))
    outputs = size // problem.shape[0]
    labels = np.asarray(separable.labels, dtype=np.int64)
    order = np.argsort(labels, kind="stable")
    gptr = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=len(separable.lam)))])
    if separable.l1 > 0 or (outputs > 1 and not np.array_equal(order, np.arange(size))):
        shape, order, gidx = K.GATHERED, np.arange(size), order
    else:  # one output: a permutation of the columns makes every group a block
        shape, gidx = (K.ENTRIES if len(separable.lam) == size else K.BLOCKS), np.arange(size)
    kinked = (separable.lam > 0)[labels] | (separable.l1 > 0)
    if separable.atoms == "entries":
        aptr, aidx, free = np.arange(size + 1), np.arange(size), ~kinked
    else:
        aptr, aidx, free = gptr, gidx, separable.lam <= 0
    scale = 0.0 if ignore_regularizer else 1.0
    lam = np.ascontiguousarray(scale * separable.lam, dtype=float)
    code, (p0, _) = CODES[separable.penalty], separable.parameters
    if ignore_regularizer:
        code = CODES["abs"]
    penalty = (shape, gptr, gidx, lam, code, float(p0), scale * float(separable.l1), aptr, aidx, free)
    rows = _rows(problem, order)
    data = (*rows, problem.n, problem.shape[0], outputs, problem.y.astype(float), LOSSES[problem.loss.name])
    return Layout(data, penalty, order, size, outputs)


def _rows(problem: Problem, order: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Return (values, column indices, row pointers, dense) in float64, the columns in the given order."""
    design = problem.design
    moved = not np.array_equal(order, np.arange(len(order)))
    if sparse.issparse(design):
        indices = design.indices.astype(np.int64)
        if moved:
            position = np.empty_like(order)
            position[order] = np.arange(len(order))
            indices = position[indices]
        return design.data.astype(float), indices, design.indptr.astype(np.int64), False
    none = np.empty(0, np.int64)
    dense = design[:, order] if moved else design
    return np.ascontiguousarray(dense, dtype=float).ravel(), none, none, True
