"""ProxSSI: structured sparsity inducing Adam (Deleu and Bengio 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from manifold_id.optim.prox_adamw import AdamMetric
from manifold_id.optim.step import Step
from manifold_id.regularizers.base import Regularizer


class ProxSSI(AdamMetric):
    """ProxSSI. With t = 1, 2, ..., m, u Adam's moments and all operations entrywise,

        D = sqrt(u_t) + eps,      y = (1 - lr weight_decay) (w_{t-1} - lr (sqrt(1 - b2^t) / (1 - b1^t)) m_t / D),
        w_t = argmin_w |w - y|_D^2 / 2 + lr psi(w).

    As in the authors' code, the metric and the prox parameter have no bias correction while the step has, and weight
    decay comes after the step, before the prox. The subproblem is solved exactly, as in RAMDA. State for each
    parameter: m, u, t. See the base class for what all share.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, regularizer
        As in ProxAdamW; the authors' penalties are the group lasso and the group MCP (here: the group lasso, and those
        regularizers that have an exact prox in a diagonal metric).

    References
    ----------
    T. Deleu, Y. Bengio, "Structured sparsity inducing adaptive optimizers for deep learning", arXiv 2102.03869, 2021.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        regularizer: Regularizer | None = None,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, regularizer, betas=betas, eps=eps,
            weight_decay=weight_decay, maximize=maximize, foreach=foreach, fused=fused,
        )  # fmt: skip

    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        state["step"] += 1
        t, lr, (beta1, beta2) = state["step"], group["lr"], group["betas"]
        pull = lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        more = 1.0, group["eps"], pull, 1.0, 1 - lr * group["weight_decay"]
        return Step(lr, 1.0, (beta1, 1 - beta1, beta2, 1 - beta2, *more))
