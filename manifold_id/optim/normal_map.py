"""Normal-map proximal SGD (Qiu, Jiang and Milzarek 2023)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.step import Step
from manifold_id.regularizers.base import Regularizer
from manifold_id.validation import real


class NormalMapSGD(ProximalOptimizer):
    """Normal-map SGD: with a_t = lr t^-decay, prox_step p fixed, and u_0 = w_0,

        u_t = u_{t-1} - a_t (g_t + (u_{t-1} - w_{t-1}) / p),      w_t = prox_{p psi}(u_t).

    The prox parameter does not vanish with the step, so the identification radius is p times the margin, and noise
    enters only through a_t. State for each parameter: u, t. See the base class for what all share.

    Parameters
    ----------
    params, lr, regularizer
        As in RMDA.
    prox_step
        p > 0 (for a rho-weakly convex psi, p < 1 / rho).
    decay
        >= 0; leave it 0 where a learning-rate scheduler makes the step vanish.

    References
    ----------
    J. Qiu, L. Jiang, A. Milzarek, "A normal map-based proximal stochastic gradient method: convergence and
    identification properties", arXiv 2305.05828.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        prox_step: float = 1.0,
        decay: float = 0.75,
        regularizer: Regularizer | None = None,
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, regularizer, prox_step=prox_step, decay=decay,
            weight_decay=weight_decay, maximize=maximize, foreach=foreach, fused=None,
        )  # fmt: skip

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        real("prox_step", group["prox_step"], 0, open_low=True)
        real("decay", group["decay"], 0)

    def _init_state(self, state: dict[str, Any], w: Tensor) -> None:
        state["normal"] = w.clone()

    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        state["step"] += 1
        a = group["lr"] * state["step"] ** -group["decay"]
        return Step(group["prox_step"], 1.0, (a, group["prox_step"]))

    def _accumulate(self, w: Tensor, g: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        a, p = numbers
        u = state["normal"]
        u.copy_(u - a * (g + (u - w) / p))

    def _center(self, w: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> tuple[Tensor, None]:
        return state["normal"], None

    def _foreach_center(
        self, ws: list[Tensor], gs: list[Tensor], states: list[dict[str, Any]], numbers: tuple[float, ...]
    ) -> tuple[Any, None]:
        a, p = numbers
        normals = [state["normal"] for state in states]
        torch._foreach_mul_(normals, 1 - a / p)
        torch._foreach_add_(normals, ws, alpha=a / p)
        torch._foreach_add_(normals, gs, alpha=-a)
        return [u.clone() for u in normals], None
