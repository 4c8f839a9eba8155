"""RDA: regularized dual averaging (Xiao 2010), and SDA, the same without its regularizer (Nesterov 2009)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class RDAState(State):
    """State of RDA and SDA."""

    total: Array  # sum of the gradients


@dataclass(frozen=True)
class RDA(Method):
    """RDA: gbar_t is the mean of all gradients so far, the centre is the origin,

        w_t = argmin_w <gbar_t, w> + psi(w) + gamma / (2 sqrt t) |w|^2
            = prox_{(sqrt t / gamma) psi}(-(sqrt t / gamma) gbar_t).

    w_0 acts only through the first gradient. `gamma` > 0 is the inverse of a step size.

    References
    ----------
    L. Xiao, "Dual averaging methods for regularized stochastic learning and online optimization", JMLR 11, 2010,
    equation (8) with beta_t = gamma sqrt t.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        real("gamma", self.gamma, 0, open_low=True)

    def init(self, w0: Array) -> RDAState:
        """Start from w0."""
        return RDAState(0, w0, w0, 0 * w0, total=0 * w0)

    def update(self, oracle: Oracle, state: RDAState, regularizer: Regularizer) -> RDAState:
        """Take one step."""
        t = state.t + 1
        total = state.total + oracle(state.w)
        step = math.sqrt(t) / self.gamma
        mean = total / t
        w = regularizer.prox(-step * mean, step)
        return RDAState(t, w, w, mean, total)


@dataclass(frozen=True)
class SDA(RDA):
    """SDA: RDA with psi = 0 whatever the regularizer: w_t = -(sqrt t / gamma) gbar_t.

    References
    ----------
    Y. Nesterov, "Primal-dual subgradient methods for convex problems", Mathematical Programming 120, 2009.
    """

    def update(self, oracle: Oracle, state: RDAState, regularizer: Regularizer) -> RDAState:
        """Take one step."""
        t = state.t + 1
        total = state.total + oracle(state.w)
        mean = total / t
        w = -(math.sqrt(t) / self.gamma) * mean
        return RDAState(t, w, w, mean, total)
