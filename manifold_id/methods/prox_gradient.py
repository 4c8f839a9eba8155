"""The deterministic references: proximal gradient and FISTA."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.methods.schedule import step_size
from manifold_id.regularizers.base import Array, Regularizer


@dataclass(frozen=True)
class ProxGradient(Method):
    """Proximal gradient (forward-backward): w_t = prox_{lr psi}(w_{t-1} - lr grad f(w_{t-1})).

    `lr` None = 1 / L. Every step is one pass over the data.
    """

    lr: float | None = None

    def __post_init__(self) -> None:
        if self.lr is not None:
            step_size(self.lr)

    def for_problem(self, problem: Any) -> Self:
        """Fill in lr."""
        return self if self.lr is not None else replace(self, lr=1 / problem.lipschitz())

    def init(self, w0: Array) -> State:
        """Start from w0."""
        return State(0, w0, w0, 0 * w0)

    def update(self, oracle: Oracle, state: State, regularizer: Regularizer) -> State:
        """Take one step."""
        lr = _known(self.lr)
        d = oracle.full(state.w)
        w = regularizer.prox(state.w - lr * d, lr)
        return State(state.t + 1, w, w, d)


@dataclass(frozen=True)
class FISTAState(State):
    """State of FISTA."""

    extrapolated: Array
    theta: float


@dataclass(frozen=True)
class FISTA(ProxGradient):
    """FISTA: with theta_1 = 1 and y_1 = w_0,

        w_t = prox_{lr psi}(y_t - lr grad f(y_t)),      theta_{t+1} = (1 + sqrt(1 + 4 theta_t^2)) / 2,
        y_{t+1} = w_t + ((theta_t - 1) / theta_{t+1}) (w_t - w_{t-1}).

    References
    ----------
    A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM J.
    Imaging Sciences 2, 2009.
    """

    def init(self, w0: Array) -> FISTAState:
        """Start from w0."""
        return FISTAState(0, w0, w0, 0 * w0, extrapolated=w0, theta=1.0)

    def update(self, oracle: Oracle, state: FISTAState, regularizer: Regularizer) -> FISTAState:  # type: ignore[override]
        """Take one step."""
        lr = _known(self.lr)
        d = oracle.full(state.extrapolated)
        w = regularizer.prox(state.extrapolated - lr * d, lr)
        theta = next_theta(state.theta)
        extrapolated = w + ((state.theta - 1) / theta) * (w - state.w)
        return FISTAState(state.t + 1, w, w, d, extrapolated, theta)


def next_theta(theta: float) -> float:
    """Return FISTA's theta_{t+1} from theta_t."""
    return (1 + math.sqrt(1 + 4 * theta * theta)) / 2


def _known(lr: float | None) -> float:
    if lr is None:
        raise ValueError("lr=None: call for_problem(problem) first")
    return lr
