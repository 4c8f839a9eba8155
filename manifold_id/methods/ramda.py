"""RAMDA: regularized adaptive momentum dual averaging (NeurIPS 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.methods.schedule import momentum_weight, step_size
from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class RAMDAState(State):
    """State of RAMDA."""

    anchor: Array  # W^0, the centre of the quadratic term
    total: Array  # V = sum of s g
    squares: Array  # U = sum of s g^2
    weight: float  # alpha = sum of s


@dataclass(frozen=True)
class RAMDA(Method):
    """RAMDA: with g_k a minibatch gradient at W^{k-1}, k = 1, 2, ..., all operations entrywise,

        s_k = lr sqrt(k),   alpha_k = alpha_{k-1} + s_k,   V_k = V_{k-1} + s_k g_k,   U_k = U_{k-1} + s_k g_k^2,
        D_k = cbrt(U_k) + eps,
        z_k = argmin_W <V_k, W> + |W - W^0|_{D_k}^2 / 2 + alpha_k psi(W),      |x|_D^2 = sum_j D_j x_j^2,
        W^k = (1 - c) W^{k-1} + c z_k.

    The estimate of the gradient is V_k / alpha_k. psi needs its prox in a diagonal metric.

    Parameters
    ----------
    lr, momentum
        eta > 0, and c in (0, 1], the weight of the new point.
    eps
        > 0.

    References
    ----------
    "Regularized adaptive momentum dual averaging with an efficient inexact subproblem solver for training structured
    neural network", NeurIPS 2024 (arXiv 2403.14398), Algorithm 1.
    """

    lr: float = 0.01
    momentum: float = 1.0
    eps: float = 1e-6

    def __post_init__(self) -> None:
        step_size(self.lr)
        momentum_weight(self.momentum)
        real("eps", self.eps, 0, open_low=True)

    def init(self, w0: Array) -> RAMDAState:
        """Start from W^0 = w0."""
        return RAMDAState(0, w0, w0, 0 * w0, anchor=w0, total=0 * w0, squares=0 * w0, weight=0.0)

    def update(self, oracle: Oracle, state: RAMDAState, regularizer: Regularizer) -> RAMDAState:
        """Take one step."""
        t, g = state.t + 1, oracle(state.w)
        s = self.lr * math.sqrt(t)
        weight = state.weight + s
        total = state.total + s * g
        squares = state.squares + s * g * g
        d = squares ** (1 / 3) + self.eps
        z = regularizer.prox_metric(state.anchor - total / d, weight, d)
        w = z if self.momentum == 1 else (1 - self.momentum) * state.w + self.momentum * z
        return RAMDAState(t, w, z, total / weight, state.anchor, total, squares, weight)
