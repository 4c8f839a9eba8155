"""ProxSGD as averaged by Yang et al. (ICLR 2020): an adaptive metric, and a step towards the proximal point."""

from __future__ import annotations

from dataclasses import dataclass

from array_api_compat import array_namespace

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class YangProxSGDState(State):
    """State of YangProxSGD; z is the paper's x-hat."""

    second: Array  # r, the running mean of the squared gradients


@dataclass(frozen=True)
class YangProxSGD(Method):
    """Yang et al.'s ProxSGD: with k = t - 1, rho_t = rho / sqrt(k + 4) and eps_t = eps / sqrt(k + 4),

        d_t = (1 - rho_t) d_{t-1} + rho_t g_t,      r_t = beta r_{t-1} + (1 - beta) g_t^2,
        tau_t = sqrt(r_t / (1 - beta^t)) + delta,
        z_t = argmin_z <d_t, z> + |z - w_{t-1}|^2_{tau_t} / 2 + psi(z),      w_t = w_{t-1} + eps_t (z_t - w_{t-1}).

    The averages make d_t consistent, so that z_t (x-hat in the paper) identifies; w_t is a convex combination of all
    past points and never becomes exactly sparse.

    References
    ----------
    Y. Yang, Y. Yuan, A. Chatzimichailidis, R. van Sloun, L. Lei, S. Chatzinotas, "ProxSGD: training structured neural
    networks under regularization and constraints", ICLR 2020, and the authors' code (defaults).
    """

    rho: float = 0.9
    eps: float = 0.06
    beta: float = 0.999
    delta: float = 1e-8

    def __post_init__(self) -> None:
        real("rho", self.rho, 0, 2, open_low=True)
        real("eps", self.eps, 0, 2, open_low=True)
        real("beta", self.beta, 0, 1 - 1e-12)
        real("delta", self.delta, 0, open_low=True)

    def init(self, w0: Array) -> YangProxSGDState:
        """Start from w0 with empty averages."""
        return YangProxSGDState(0, w0, w0, 0 * w0, second=0 * w0)

    def update(self, oracle: Oracle, state: YangProxSGDState, regularizer: Regularizer) -> YangProxSGDState:
        """Take one step."""
        t = state.t + 1
        rho, eps = self.rho / (t + 3) ** 0.5, self.eps / (t + 3) ** 0.5
        g = oracle(state.w)
        d = (1 - rho) * state.d + rho * g
        second = self.beta * state.second + (1 - self.beta) * g * g
        tau = array_namespace(g).sqrt(second / (1 - self.beta**t)) + self.delta
        z = regularizer.prox_metric(state.w - d / tau, 1.0, tau)
        w = (1 - eps) * state.w + eps * z
        return YangProxSGDState(t, w, z, d, second)
