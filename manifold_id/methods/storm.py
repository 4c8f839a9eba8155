"""Proximal STORM: recursive momentum, plain (PStorm) and stabilized (S-PStorm)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.methods.schedule import step_size
from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class StormState(State):
    """State of both STORM methods."""

    previous: Array  # the iterate before w


def _recursive_momentum(oracle: Oracle, state: StormState, b: float) -> Array:
    """Return d_t = g_B(w_{t-1}) + (1 - b) (d_{t-1} - g_B(w_{t-2})), and d_1 = g_B(w_0)."""
    g = oracle(state.w)
    return g if state.t == 0 else g + (1 - b) * (state.d - oracle(state.previous))


@dataclass(frozen=True)
class ProxSTORM(Method):
    """PStorm: recursive momentum with vanishing steps,

        a_t = (4^(1/3) / (8 L)) (t + 4)^(-1/3),      b_t = (1 + 24 a_t^2 L^2 - a_{t+1} / a_t) / (1 + 4 a_t^2 L^2),
        d_1 = g_B(w_0),      d_t = g_B(w_{t-1}) + (1 - b_t) (d_{t-1} - g_B(w_{t-2})),
        w_t = prox_{a_t psi}(w_{t-1} - a_t d_t).

    `lipschitz` is L, the (mean-squared) Lipschitz constant of the grad f_i; None = max_i L_i.

    References
    ----------
    Y. Xu, Y. Xu, "Momentum-based variance-reduced proximal stochastic gradient method for composite nonconvex
    stochastic optimization", JOTA 196, 2023; the constants are those of the S-PStorm authors' implementation.
    """

    lipschitz: float | None = None

    def __post_init__(self) -> None:
        if self.lipschitz is not None:
            real("lipschitz", self.lipschitz, 0, open_low=True)

    def for_problem(self, problem: Any) -> Self:
        """Fill in the Lipschitz constant."""
        return self if self.lipschitz is not None else replace(self, lipschitz=float(problem.row_lipschitz().max()))

    def coefficients(self, t: Any) -> tuple[Any, Any]:
        """Return (a_t, b_t) for step(s) t >= 1."""
        if self.lipschitz is None:
            raise ValueError("ProxSTORM(lipschitz=None): call for_problem(problem) first")
        scale = 4 ** (1 / 3) / (8 * self.lipschitz)
        a, following = scale * (t + 4.0) ** (-1 / 3), scale * (t + 5.0) ** (-1 / 3)
        square = (a * self.lipschitz) ** 2
        return a, (1 + 24 * square - following / a) / (1 + 4 * square)

    def init(self, w0: Array) -> StormState:
        """Start from w0."""
        return StormState(0, w0, w0, 0 * w0, previous=w0)

    def update(self, oracle: Oracle, state: StormState, regularizer: Regularizer) -> StormState:
        """Take one step."""
        a, b = self.coefficients(state.t + 1)
        d = _recursive_momentum(oracle, state, b)
        w = regularizer.prox(state.w - a * d, a)
        return StormState(state.t + 1, w, w, d, state.w)


@dataclass(frozen=True)
class SPStorm(Method):
    """S-PStorm: with b_t = min(1/2, c / (t + 1)) and constant step lr,

        d_t as in PStorm,      z_t = prox_{lr psi}(w_{t-1} - lr d_t),      w_t = w_{t-1} + zeta b_t (z_t - w_{t-1}).

    It is z_t (y_k in the paper) that identifies; w_t is a convex combination and is never exactly sparse.

    Parameters
    ----------
    lr
        Constant step size > 0.
    c
        > 1; the paper's theorem asks for c = 2 theta L^2 / (zeta mu^2) with theta >= 2.
    zeta
        Stabilization in (0, 2).

    References
    ----------
    Y. Dai, G. Wang, F. E. Curtis, D. P. Robinson, "A variance-reduced and stabilized proximal stochastic gradient
    method with support identification guarantees for structured optimization", AISTATS 2023.
    """

    lr: float = 0.1
    c: float = 2.0
    zeta: float = 1.0

    def __post_init__(self) -> None:
        step_size(self.lr)
        real("c", self.c, 1, open_low=True)
        real("zeta", self.zeta, 0, 2 - 1e-12, open_low=True)

    def init(self, w0: Array) -> StormState:
        """Start from w0."""
        return StormState(0, w0, w0, 0 * w0, previous=w0)

    def update(self, oracle: Oracle, state: StormState, regularizer: Regularizer) -> StormState:
        """Take one step."""
        b = min(0.5, self.c / (state.t + 2))
        d = _recursive_momentum(oracle, state, b)
        z = regularizer.prox(state.w - self.lr * d, self.lr)
        w = (1 - self.zeta * b) * state.w + self.zeta * b * z
        return StormState(state.t + 1, w, z, d, state.w)
