"""Normal-map proximal SGD (Qiu, Jiang and Milzarek 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.methods.schedule import step_size
from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class NormalMapState(State):
    """State of normal-map SGD."""

    normal: Array  # the variable before the prox, u below


@dataclass(frozen=True)
class NormalMapSGD(Method):
    """Normal-map SGD: with a_t = lr t^-decay, p = prox_step fixed, and u_0 = w_0,

        u_t = u_{t-1} - a_t (g_t + (u_{t-1} - w_{t-1}) / p),      w_t = prox_{p psi}(u_t).

    The prox parameter does not vanish with the step, so the identification radius is p times the margin, and noise
    enters only through a_t. The estimate of the gradient is the minibatch's own.

    References
    ----------
    J. Qiu, L. Jiang, A. Milzarek, "A normal map-based proximal stochastic gradient method: convergence and
    identification properties", arXiv 2305.05828.
    """

    lr: float = 0.1
    prox_step: float = 1.0
    decay: float = 0.75

    def __post_init__(self) -> None:
        step_size(self.lr)
        real("prox_step", self.prox_step, 0, open_low=True)
        real("decay", self.decay, 0)

    def init(self, w0: Array) -> NormalMapState:
        """Start from u_0 = w_0 = w0."""
        return NormalMapState(0, w0, w0, 0 * w0, normal=w0)

    def update(self, oracle: Oracle, state: NormalMapState, regularizer: Regularizer) -> NormalMapState:
        """Take one step."""
        t = state.t + 1
        a = self.lr * float(t) ** -self.decay
        g = oracle(state.w)
        normal = state.normal - a * (g + (state.normal - state.w) / self.prox_step)
        w = regularizer.prox(normal, self.prox_step)
        return NormalMapState(t, w, w, g, normal)
