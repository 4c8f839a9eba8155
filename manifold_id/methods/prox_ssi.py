"""ProxSSI: structured sparsity inducing Adam (Deleu and Bengio 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from manifold_id.methods.base import Oracle
from manifold_id.methods.prox_adamw import AdamMethod, AdamState
from manifold_id.regularizers.base import Regularizer


@dataclass(frozen=True)
class ProxSSI(AdamMethod):
    """ProxSSI. With t = 1, 2, ..., m, u Adam's moments and all operations entrywise,

        D = sqrt(u_t) + eps,      y = (1 - lr weight_decay) (w_{t-1} - lr (sqrt(1 - b2^t) / (1 - b1^t)) m_t / D),
        w_t = argmin_w |w - y|_D^2 / 2 + lr psi(w).

    As in the authors' code, the metric and the prox parameter have no bias correction while the step has, and weight
    decay comes after the step, before the prox. Parameters as in ProxAdamW.

    References
    ----------
    T. Deleu, Y. Bengio, "Structured sparsity inducing adaptive optimizers for deep learning", arXiv 2102.03869, 2021.
    """

    eps: float = 1e-6

    def update(self, oracle: Oracle, state: AdamState, regularizer: Regularizer) -> AdamState:
        """Take one step."""
        t, (b1, b2) = state.t + 1, self.betas
        mean, squares = self._moments(oracle, state)
        d = squares**0.5 + self.eps
        pull = self.lr * math.sqrt(1 - b2**t) / (1 - b1**t)
        y = (state.w - pull * mean / d) * (1 - self.lr * self.weight_decay)
        w = regularizer.prox_metric(y, self.lr, d)
        return AdamState(t, w, w, mean / (1 - b1**t), mean, squares, state.largest)
