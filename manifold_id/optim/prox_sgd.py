"""Proximal SGD, with or without momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from manifold_id.methods.schedule import momentum_weight
from manifold_id.optim import kernels
from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.fused import flat
from manifold_id.optim.step import Slot, Step
from manifold_id.regularizers.base import Regularizer


class ProxSGD(ProximalOptimizer):
    """ProxSGD with c = momentum, the weight of the new gradient:

        v_t = (1 - c) v_{t-1} + c g_t,  v_0 = 0,      w_t = prox_{lr psi}(w_{t-1} - lr v_t).

    The average starts from 0 without bias correction, as in the authors' code: the first step uses c g_1. c = 1 is
    plain proximal SGD. The averaging of Yang et al. is `YangProxSGD`. See the base class for what all share.

    Parameters
    ----------
    params, lr, regularizer
        As in RMDA.
    momentum
        c in (0, 1].

    References
    ----------
    The baseline "ProxSGD" of Huang and Lee (ICLR 2022): the unit-step form of Yang et al. (ICLR 2020).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 1.0,
        regularizer: Regularizer | None = None,
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, regularizer, momentum=momentum,
            weight_decay=weight_decay, maximize=maximize, foreach=foreach, fused=fused,
        )  # fmt: skip

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        momentum_weight(group["momentum"])

    def _init_state(self, state: dict[str, Any], w: Tensor) -> None:
        state["mean"] = torch.zeros_like(w)

    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        state["step"] += 1
        return Step(group["lr"], 1.0, (group["momentum"], group["lr"]))

    def _accumulate(self, w: Tensor, g: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        state["mean"].copy_((1 - numbers[0]) * state["mean"] + numbers[0] * g)

    def _center(self, w: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> tuple[Tensor, None]:
        return w - numbers[1] * state["mean"], None

    def _foreach_center(
        self, ws: list[Tensor], gs: list[Tensor], states: list[dict[str, Any]], numbers: tuple[float, ...]
    ) -> tuple[Any, None]:
        c, lr = numbers
        means = [state["mean"] for state in states]
        torch._foreach_mul_(means, 1 - c)
        torch._foreach_add_(means, gs, alpha=c)
        return torch._foreach_add(ws, means, alpha=-lr), None

    def _fused(self, slot: Slot, numbers: tuple[Any, ...], y: Any, more: Any, span: tuple[int, int, int]) -> None:
        kernels.prox_sgd_center(flat(slot.state["mean"]), flat(slot.g), flat(slot.w), y, more, *span, *numbers)

    def gradient_estimate(self, p: Tensor) -> Tensor | None:
        """Return v, the running average of the gradients (None before the first)."""
        return self.state.get(p, {}).get("mean")
