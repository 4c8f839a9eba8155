"""Data rows as the noise: problems with a planted solution, run with the gradient of one random row a step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from convex_bench.problem import Problem
from convex_bench.problem.planting import planted
from manifold_id.regularizers.base import Regularizer, Separable

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Rows:
    """A Problem with its solution, as `synthetic.Quadratic` shows its own.

    Attributes
    ----------
    problem : any Problem.
    w : the solution w*, certified or planted.
    dual : u = -grad f(w*).
    """

    problem: Problem
    w: Array
    dual: Array

    @property
    def regularizer(self) -> Regularizer:
        """The psi of the problem."""
        return self.problem.regularizer

    @property
    def codes(self) -> Array:
        """The structure of the solution."""
        return np.asarray(self.regularizer.structure(self.w))

    @property
    def margin(self) -> float:
        """The smallest nondegeneracy margin of the atoms."""
        return float(np.min(self.regularizer.margin(self.w, -self.dual)))

    @property
    def noise(self) -> float:
        """The largest standard deviation, over the coordinates or atoms, of one row's gradient at the solution."""
        if self.problem.separable is None:
            return float(np.sqrt(self.problem.gradient_noise(self.w).max()))
        return float(self.problem.atom_noise(self.w).max())

    @property
    def scalar(self) -> bool:
        """Whether a `RowOracle` serves many seeds at once: a dense X, one margin a row, no intercept."""
        problem = self.problem
        return isinstance(problem.X, np.ndarray) and len(problem.shape) == 1 and not problem.intercept

    @cached_property
    def strong_convexity(self) -> float:
        """The constant mu of f: the smallest eigenvalue of X^T X / n under the squared loss; 0 known for the others."""
        problem = self.problem
        if problem.loss.name != "squared" or problem.n < problem.shape[0]:
            return 0.0
        return max(float(np.linalg.eigvalsh(problem.hessian(self.w))[0]), 0.0)

    def norms(self, v: Array) -> Array:
        """Return the Euclidean norm of v, (*batch, *shape), on the coordinates of every atom, (*batch, atoms)."""
        form = self.form
        batch = v.shape[: v.ndim - len(self.problem.shape)]
        flat = np.abs(v).reshape(*batch, -1)
        if form.atoms == "entries":
            return flat
        squares = np.zeros((len(form.lam), flat.size // flat.shape[-1]))
        np.add.at(squares, form.labels, flat.reshape(-1, flat.shape[-1]).T ** 2)
        return np.sqrt(squares.T.reshape(*batch, -1))

    def gradient(self, w: Array) -> Array:
        """Return grad f for a batch of points."""
        return self.problem.gradient(w)

    def row_gradients(self, w: Array) -> Array:
        """Return grad f_i(w) of every row, flat: (n, size)."""
        return self.problem.row_gradients(w, np.arange(self.problem.n)).reshape(self.problem.n, -1)

    def row_gradients_at_solution(self) -> Array:
        """Return those at w*: the noise's distribution at the solution."""
        return self.row_gradients(self.w)

    @property
    def form(self) -> Separable:
        """psi as a sum over coordinates or groups."""
        form = self.problem.separable
        if form is None:
            raise ValueError(f"regularizer={self.problem.penalty!r} is not separable: its atoms have no coordinates")
        return form


class RowOracle:
    """The gradient of one row, drawn with replacement, for a batch of seeds with their own points."""

    n = 1
    rows = np.zeros(1, dtype=np.int64)

    def __init__(self, problem: Rows, shape: tuple[int, ...], seed: int) -> None:
        self._problem, self._shape = problem.problem, shape
        self._rng = np.random.default_rng(seed)
        self._drawn = np.zeros(shape[0], dtype=np.int64)

    def draw(self) -> None:
        """Move on to the next row of every seed."""
        self._drawn = self._rng.integers(0, self._problem.n, self._shape[0])

    def __call__(self, w: Array) -> Array:
        """Return the row's gradient at w, one row for each seed."""
        X, y = self._problem.X[self._drawn], self._problem.y[self._drawn]
        return self._problem.loss.derivative((X * w).sum(axis=1), y)[:, None] * X

    def full(self, w: Array) -> Array:
        """Return the exact gradient."""
        return self._problem.gradient(w)

    def row_gradients(self, w: Array, rows: Any) -> Array:
        """Return the drawn rows' gradients as those of the one row there is."""
        return self(w)[None]


def logistic(seed: int, *, group_size: int = 1, margin: float = 0.5) -> Rows:
    """Logistic regression with 3 of 10 groups active (l1 for groups of one), 300 rows, margin `margin` lam_g."""
    p = planted(n=300, groups=10, group_size=group_size, active=3, margin=margin, seed=seed)
    return Rows(p.problem, p.w, p.dual)
