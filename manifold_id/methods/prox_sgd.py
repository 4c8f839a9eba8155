"""Proximal SGD, with or without momentum."""

from __future__ import annotations

from dataclasses import dataclass

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.methods.schedule import momentum_weight, step_size
from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class ProxSGD(Method):
    """ProxSGD with lr_t = lr t^-decay and c = momentum, the weight of the new gradient:

        d_t = (1 - c) d_{t-1} + c g_t,  d_0 = 0,      w_t = prox_{lr_t psi}(w_{t-1} - lr_t d_t).

    c = 1 is plain proximal SGD. decay = 0, 1/2 and 1 give the constant, 1 / sqrt t and 1 / t steps.

    References
    ----------
    The baseline "ProxSGD" of Huang and Lee (ICLR 2022), the unit-step form of Yang et al. (ICLR 2020).
    """

    lr: float = 0.1
    momentum: float = 1.0
    decay: float = 0.0

    def __post_init__(self) -> None:
        step_size(self.lr)
        momentum_weight(self.momentum)
        real("decay", self.decay, 0)

    def init(self, w0: Array) -> State:
        """Start from w0 with an empty momentum average."""
        return State(0, w0, w0, 0 * w0)

    def update(self, oracle: Oracle, state: State, regularizer: Regularizer) -> State:
        """Take one step."""
        t = state.t + 1
        lr = self.lr * float(t) ** -self.decay
        d = (1 - self.momentum) * state.d + self.momentum * oracle(state.w)
        w = regularizer.prox(state.w - lr * d, lr)
        return State(t, w, w, d)
