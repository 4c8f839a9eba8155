"""The contract of a method: a frozen dataclass of parameters and two pure functions, init and update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, Self

from manifold_id.regularizers.base import Array, Regularizer


class Oracle(Protocol):
    """What a method may ask about the current minibatch B and the smooth part f = (1/n) sum_i f_i."""

    n: int
    rows: Any  # (b,) the rows of the minibatch

    def __call__(self, w: Array) -> Array:
        """Return (1/b) sum_{i in B} grad f_i(w); a second call in one step uses the same B."""

    def full(self, w: Array) -> Array:
        """Return grad f(w)."""

    def row_gradients(self, w: Array, rows: Any) -> Array:
        """Return (len(rows), *w.shape): grad f_i(w) for each of the rows."""


@dataclass(frozen=True)
class State:
    """What every method shows after each step; methods add the fields of their own recursion."""

    t: int  # steps taken
    w: Array  # the iterate
    z: Array  # the proximal point: the last output of a prox (w itself for most methods)
    d: Array  # the estimate of the gradient that the last step used


class Method(ABC):
    """An algorithm for min_w f(w) + psi(w), written for NumPy and torch arrays alike.

    `update` returns the next *state*, not a direction: proximal and dual-averaging methods produce points.
    """

    @abstractmethod
    def init(self, w0: Array) -> State:
        """Return the state at t = 0; w0 is not changed."""

    @abstractmethod
    def update(self, oracle: Oracle, state: Any, regularizer: Regularizer) -> State:
        """Return the state after one more step."""

    def for_problem(self, problem: Any) -> Self:
        """Return this method with parameters that were left None filled in from the problem's constants."""
        return self
