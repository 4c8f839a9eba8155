"""A Problem with sparse rows as the flat arrays of the lazy loops, its columns reordered so that groups are blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convex_bench.engine.ordinary.layout import LOSSES
from convex_bench.engine.penalties import CODES
from convex_bench.problem import Problem
from manifold_id.regularizers.base import Separable


@dataclass(frozen=True)
class LazyLayout:
    """What does not change along a run.

    Attributes
    ----------
    data, indices, indptr
        The rows (float64, int32, int64) with their columns in the new order.
    y, loss
        Labels as floats, and the loss's code.
    groups
        (groups + 1,) where each group begins, and the end of the last one.
    lam, free, code, parameter
        Strength of each group, whether it is not regularized, and the penalty with its parameter.
    order
        Flat coordinate of the problem at each position.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    y: np.ndarray
    loss: int
    groups: np.ndarray
    lam: np.ndarray
    free: np.ndarray
    code: int
    parameter: float
    order: np.ndarray

    def flatten(self, w: np.ndarray) -> np.ndarray:
        """Return a copy of a point as the loop's flat variable."""
        return np.ascontiguousarray(w, dtype=float).ravel()[self.order]

    def restore(self, flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return a batch (seeds, size) of flat variables as points (seeds, *shape)."""
        points = np.empty_like(flat)
        points[:, self.order] = flat
        return points.reshape(-1, *shape)


def lay_out(problem: Problem, separable: Separable, ignore_regularizer: bool) -> LazyLayout:
    """Return the arrays of a problem with one output; the regularizer is zero where the method ignores it."""
    labels, design = np.asarray(separable.labels, dtype=np.int64), problem.design
    order = np.argsort(labels, kind="stable")
    position = np.empty(len(order), np.int32)
    position[order] = np.arange(len(order))
    groups = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=len(separable.lam)))])
    lam = np.ascontiguousarray(separable.lam, dtype=float)
    return LazyLayout(
        design.data.astype(float), position[design.indices], design.indptr.astype(np.int64),
        problem.y.astype(float), LOSSES[problem.loss.name],
        groups, 0.0 * lam if ignore_regularizer else lam, lam <= 0,
        CODES["abs" if ignore_regularizer else separable.penalty], float(separable.parameters[0]), order,
    )  # fmt: skip
