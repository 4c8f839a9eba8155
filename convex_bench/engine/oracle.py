"""Pure methods on a Problem: the oracle of a minibatch, and the loop that notebooks, tests and studies share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from convex_bench.engine.sampling import draw, stream
from convex_bench.problem import Problem
from manifold_id.methods.base import Method, State
from manifold_id.validation import integer


class MinibatchOracle:
    """The gradients of a Problem on one minibatch at a time; `manifold_id.methods.base.Oracle` says what they are."""

    def __init__(self, problem: Problem, seed: int, batch_size: int, replacement: bool) -> None:
        self._problem = problem
        self._stream = stream(seed, problem.n, replacement)
        self.n = problem.n
        self.rows = np.zeros(batch_size, dtype=np.int64)

    def draw(self) -> None:
        """Move on to the next minibatch."""
        draw(*self._stream, self.n, self.rows)

    def __call__(self, w: Any) -> Any:
        """Return the minibatch gradient at w."""
        return self._problem.minibatch_gradient(w, self.rows)

    def full(self, w: Any) -> Any:
        """Return the full gradient at w."""
        return self._problem.gradient(w)

    def row_gradients(self, w: Any, rows: Any) -> Any:
        """Return the gradients of single rows at w."""
        return self._problem.row_gradients(w, rows)


def check_batch(problem: Problem, batch_size: int) -> None:
    """Raise unless 1 <= batch_size <= the number of rows."""
    integer("batch_size", batch_size, 1)
    if batch_size > problem.n:
        raise ValueError(f"batch_size={batch_size} is more than the {problem.n} rows of X: choose at most that many")


def iterate(
    problem: Problem,
    method: Method,
    seed: int = 0,
    batch_size: int = 1,
    replacement: bool = True,
    w0: np.ndarray | None = None,
) -> Iterator[State]:
    """Yield the states of `method` on `problem` after 1, 2, ... steps, without end.

    The rows are those that the compiled engine draws for the same seed: independent with `replacement`, else a new
    shuffle every epoch. `w0` defaults to zero. Raises ValueError for a batch larger than n or a
    negative seed, TypeError for a method that is none.
    """
    check_batch(problem, batch_size)
    if not isinstance(method, Method):
        raise TypeError(f"method={method!r} must be an instance of a Method, such as RMDA(lr=0.01)")
    seed = integer("seed", seed, 0)
    method = method.for_problem(problem)
    oracle = MinibatchOracle(problem, seed, batch_size, replacement)
    state = method.init(np.zeros(problem.shape) if w0 is None else np.array(w0, dtype=np.float64))

    def states() -> Iterator[State]:
        current = state
        while True:
            oracle.draw()
            current = method.update(oracle, current, problem.regularizer)
            yield current

    return states()
