"""ProxAdamW: AdamW with the prox in Adam's own metric (the ProxGEN framework)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from array_api_compat import array_namespace

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.methods.schedule import step_size
from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class AdamState(State):
    """State of ProxAdamW and ProxSSI."""

    mean: Array  # m, the first moment
    squares: Array  # u, the second moment
    largest: Array  # the largest u so far


@dataclass(frozen=True)
class AdamMethod(Method):
    """What ProxAdamW and ProxSSI share: Adam's moments m = b1 m + (1 - b1) g, u = b2 u + (1 - b2) g^2 from 0."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        step_size(self.lr)
        try:
            _, _ = self.betas
        except (TypeError, ValueError):
            raise ValueError(f"betas={self.betas!r} must be two numbers in [0, 1)") from None
        for i, beta in enumerate(self.betas):
            real(f"betas[{i}]", beta, 0, 1, open_high=True)
        object.__setattr__(self, "betas", tuple(self.betas))
        real("eps", self.eps, 0, open_low=True)
        real("weight_decay", self.weight_decay, 0)

    def init(self, w0: Array) -> AdamState:
        """Start from w0 with empty moments."""
        return AdamState(0, w0, w0, 0 * w0, mean=0 * w0, squares=0 * w0, largest=0 * w0)

    def _moments(self, oracle: Oracle, state: AdamState) -> tuple[Array, Array]:
        """Return (m, u) after the gradient at the iterate."""
        g, (b1, b2) = oracle(state.w), self.betas
        return b1 * state.mean + (1 - b1) * g, b2 * state.squares + (1 - b2) * g * g


@dataclass(frozen=True)
class ProxAdamW(AdamMethod):
    """ProxAdamW. With t = 1, 2, ..., m, u Adam's moments and all operations entrywise,

        w' = (1 - lr weight_decay) w_{t-1},      D = sqrt(u_t) / sqrt(1 - b2^t) + eps,
        w_t = argmin_w lr <m_t / (1 - b1^t), w> + |w - w'|_D^2 / 2 + lr psi(w).

    amsgrad: u_t is replaced by the largest u so far. psi needs its prox in a diagonal metric.

    Parameters
    ----------
    lr, betas, eps
        > 0; (b1, b2), each in [0, 1); > 0.
    weight_decay
        >= 0, decoupled: it shrinks w before the step.
    amsgrad
        Whether D uses the largest second moment so far.

    References
    ----------
    J. Yun, A. C. Lozano, E. Yang, "Adaptive proximal gradient methods for structured neural networks", NeurIPS 2021.
    """

    amsgrad: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.amsgrad, bool):
            raise TypeError(f"amsgrad={self.amsgrad!r} must be True or False")

    def update(self, oracle: Oracle, state: AdamState, regularizer: Regularizer) -> AdamState:
        """Take one step."""
        t, (b1, b2) = state.t + 1, self.betas
        mean, squares = self._moments(oracle, state)
        largest = array_namespace(squares).maximum(state.largest, squares) if self.amsgrad else state.largest
        d = (largest if self.amsgrad else squares) ** 0.5 * (1 / math.sqrt(1 - b2**t)) + self.eps
        y = state.w * (1 - self.lr * self.weight_decay) - self.lr / (1 - b1**t) * mean / d
        w = regularizer.prox_metric(y, self.lr, d)
        return AdamState(t, w, w, mean / (1 - b1**t), mean, squares, largest)
