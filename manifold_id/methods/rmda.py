"""RMDA: regularized modernized dual averaging (Huang and Lee, ICLR 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.methods.schedule import Stages, momentum_weight, step_size
from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class RMDAState(State):
    """State of RMDA."""

    anchor: Array  # W^0 of the stage, the centre of the quadratic term
    total: Array  # V = sum of s g
    weight: float  # alpha = sum of s


@dataclass(frozen=True)
class RMDA(Method):
    """RMDA: with g_k a minibatch gradient at W^{k-1}, k = 1, 2, ... counted from the last restart,

        s_k = lr k^(1/2 - decay),   beta_k = k^damping,
        alpha_k = alpha_{k-1} + s_k,   V_k = V_{k-1} + s_k g_k,
        z_k = argmin_W <V_k, W> + beta_k |W - W^0|^2 / 2 + alpha_k psi(W)
            = prox_{(alpha_k / beta_k) psi}(W^0 - V_k / beta_k),
        W^k = (1 - c_k) W^{k-1} + c_k z_k.

    The estimate of the gradient is V_k / alpha_k; its variance dies out at no cost. The structure is the proximal
    point's: W^k shares it only where c = 1.

    Parameters
    ----------
    lr
        eta > 0.
    momentum
        c in (0, 1], the weight of the new point: 1 means no momentum.
    decay
        a >= 0: the step is eta_k = lr k^-a (0 in the paper's experiments; 1/2 < a < 1 makes W^k converge).
    damping
        The exponent of beta: 1/2 in the paper. beta must grow more slowly than alpha.
    stages
        Restarts and how lr and c change at them.

    References
    ----------
    Z.-S. Huang, C.-p. Lee, "Training structured neural networks through manifold identification and variance
    reduction", ICLR 2022, Algorithm 1.
    """

    lr: float = 0.1
    momentum: float = 1.0
    decay: float = 0.0
    damping: float = 0.5
    stages: Stages = Stages()

    def __post_init__(self) -> None:
        step_size(self.lr)
        momentum_weight(self.momentum)
        real("decay", self.decay, 0)
        real("damping", self.damping, 0)
        if not isinstance(self.stages, Stages):
            raise TypeError(f"stages={self.stages!r} must be Stages, such as Stages(milestones=(1000,))")

    def init(self, w0: Array) -> RMDAState:
        """Start from W^0 = w0."""
        return RMDAState(0, w0, w0, 0 * w0, anchor=w0, total=0 * w0, weight=0.0)

    def update(self, oracle: Oracle, state: RMDAState, regularizer: Regularizer) -> RMDAState:
        """Take one step."""
        t = state.t + 1
        stage = self.stages.at(t, self.momentum)
        k, c = int(stage.k), float(stage.momentum)
        if k == 1:
            anchor, total, weight = state.w, 0 * state.w, 0.0
        else:
            anchor, total, weight = state.anchor, state.total, state.weight
        s = self.lr * float(stage.factor) * k ** (0.5 - self.decay)
        weight = weight + s
        total = total + s * oracle(state.w)
        beta = math.pow(k, self.damping)
        z = regularizer.prox(anchor - total / beta, weight / beta)
        w = z if c == 1 else (1 - c) * state.w + c * z
        return RMDAState(t, w, z, total / weight, anchor, total, weight)
