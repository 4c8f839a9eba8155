"""Quadratics whose solution, manifold and margins are chosen, with additive noise, run for many seeds at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from convex_bench.theorems.rows import RowOracle
from manifold_id.methods.base import Method
from manifold_id.regularizers.base import Regularizer

Array = np.ndarray
Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]


@dataclass(frozen=True, eq=False)
class Quadratic:
    """f(w) = sum_j h_j (w_j - b_j)^2 / 2 with b = w* + u / h: then grad f(w*) = -u, so that w* solves min f + psi
    if u lies in the subdifferential of psi at w*, with the margin that u was given.

    Attributes
    ----------
    regularizer : psi.
    w : the solution w*.
    dual : u.
    curvature : h > 0, a number or of w's shape.
    """

    regularizer: Regularizer
    w: Array
    dual: Array
    curvature: Any = 1.0

    def __post_init__(self) -> None:
        residual = float(np.max(self.regularizer.residual(self.w, -self.dual)))
        if residual > 1e-9:
            raise ValueError(f"dual={self.dual!r} is no subgradient at w: off by {residual:.1e}; choose one inside")

    def gradient(self, w: Array) -> Array:
        """Return grad f(w) = h (w - w*) - u for a batch of points."""
        return self.curvature * (w - self.w) - self.dual

    @property
    def codes(self) -> Array:
        """The structure of the solution."""
        return np.asarray(self.regularizer.structure(self.w))

    def norms(self, v: Array) -> Array:
        """Return the Euclidean norm of v on every atom, (*batch, atoms); atoms are equal blocks of coordinates."""
        return np.asarray(np.linalg.norm(v.reshape(*v.shape[:-1], len(self.codes), -1), axis=-1))

    @property
    def margin(self) -> float:
        """The smallest nondegeneracy margin of the atoms."""
        return float(np.min(self.regularizer.margin(self.w, -self.dual)))


def gaussian(sigma: float) -> Noise:
    """Independent N(0, sigma^2) in every coordinate."""
    return lambda rng, shape: sigma * rng.standard_normal(shape)


def uniform(amplitude: float) -> Noise:
    """Independent and uniform on [-amplitude, amplitude] in every coordinate."""
    return lambda rng, shape: rng.uniform(-amplitude, amplitude, shape)


class NoisyOracle:
    """grad f(w) + noise, the noise drawn once a step; `manifold_id.methods.base.Oracle` for a batch of seeds."""

    n = 1
    rows = np.zeros(1, dtype=np.int64)

    def __init__(self, problem: Any, noise: Noise, shape: tuple[int, ...], seed: int) -> None:
        self._problem, self._noise, self._shape = problem, noise, shape
        self._rng = np.random.default_rng(seed)
        self.xi = np.zeros(shape)

    def draw(self) -> None:
        """Move on to the next step's noise."""
        self.xi = self._noise(self._rng, self._shape)

    def __call__(self, w: Array) -> Array:
        """Return the noisy gradient."""
        return self._problem.gradient(w) + self.xi

    def full(self, w: Array) -> Array:
        """Return the exact gradient."""
        return self._problem.gradient(w)

    def row_gradients(self, w: Array, rows: Any) -> Array:
        """Return the noisy gradient as that of the one row there is."""
        return self(w)[None]


def states(
    problem: Any, method: Method, noise: Noise | None, w0: Array, steps: int, *, seeds: int, seed: int
) -> Iterator[Any]:
    """Yield the state after each of `steps` steps; arrays have the seeds as leading axis. w0 has the point's shape.

    Without `noise` the problem is a `Rows`, and each step uses the gradient of one of its rows.
    """
    start = np.broadcast_to(w0, (seeds, *np.shape(w0))).astype(np.float64)
    oracle: Any = (
        RowOracle(problem, start.shape, seed) if noise is None else NoisyOracle(problem, noise, start.shape, seed)
    )
    state = method.init(start)
    for _ in range(steps):
        oracle.draw()
        state = method.update(oracle, state, problem.regularizer)
        yield state
