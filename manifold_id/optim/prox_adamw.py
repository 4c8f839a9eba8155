"""ProxAdamW: AdamW with the prox in Adam's own metric (the ProxGEN framework)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from manifold_id.optim import kernels
from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.fused import flat
from manifold_id.optim.step import Slot, Step
from manifold_id.regularizers.base import Regularizer
from manifold_id.validation import real


class AdamMetric(ProximalOptimizer):
    """What ProxAdamW and ProxSSI share: Adam's moments, the metric d and the centre y,

        m = b1 m + (1 - b1) g,   u = b2 u + (1 - b2) g^2,
        d = scale sqrt(u) + eps,   y = (w before - pull m / d) after,

    with numbers (b1, 1 - b1, b2, 1 - b2, scale, eps, pull, before, after) that the two choose differently; 1 - b is a
    number of its own, as it is formed in double precision.
    """

    metric = True
    _couples_weight_decay = False

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        try:
            beta1, beta2 = group["betas"]
        except (TypeError, ValueError):
            raise ValueError(f"betas={group['betas']!r} must be two numbers in [0, 1)") from None
        for i, beta in enumerate((beta1, beta2)):
            if real(f"betas[{i}]", beta, 0, 1) == 1:
                raise ValueError(f"betas[{i}]={beta!r} must be below 1")
        real("eps", group["eps"], 0, open_low=True)

    def _init_state(self, state: dict[str, Any], w: Tensor) -> None:
        state["mean"] = torch.zeros_like(w)
        state["squares"] = torch.zeros_like(w)

    def _accumulate(self, w: Tensor, g: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        beta1, keep1, beta2, keep2 = numbers[:4]
        state["mean"].copy_(beta1 * state["mean"] + keep1 * g)
        state["squares"].copy_(beta2 * state["squares"] + keep2 * g * g)
        if "largest" in state:
            state["largest"].copy_(torch.maximum(state["largest"], state["squares"]))

    def _center(self, w: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        scale, eps, pull, before, after = numbers[4:]
        d = state.get("largest", state["squares"]).sqrt() * scale + eps
        return (w * before - pull * state["mean"] / d) * after, d

    def _foreach_center(
        self, ws: list[Tensor], gs: list[Tensor], states: list[dict[str, Any]], numbers: tuple[float, ...]
    ) -> tuple[Any, Any]:
        _, keep1, beta2, keep2, scale, eps, pull, before, after = numbers
        means, squares = [state["mean"] for state in states], [state["squares"] for state in states]
        torch._foreach_lerp_(means, gs, keep1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gs, gs, value=keep2)
        if "largest" in states[0]:
            largest = [state["largest"] for state in states]
            torch._foreach_maximum_(largest, squares)
            squares = largest
        ds = torch._foreach_sqrt(squares)
        torch._foreach_mul_(ds, scale)
        torch._foreach_add_(ds, eps)
        ys = torch._foreach_mul(ws, before)
        torch._foreach_addcdiv_(ys, means, ds, value=-pull)
        if after != 1:
            torch._foreach_mul_(ys, after)
        return ys, ds

    def _fused(self, slot: Slot, numbers: tuple[Any, ...], y: Any, more: Any, span: tuple[int, int, int]) -> None:
        state = slot.state
        arrays = flat(state["mean"]), flat(state["squares"]), flat(slot.g), flat(slot.w)
        if "largest" in state:
            kernels.amsgrad_center(*arrays, flat(state["largest"]), y, more, *span, *numbers)
        else:
            kernels.adam_center(*arrays, y, more, *span, *numbers)

    def gradient_estimate(self, p: Tensor) -> Tensor | None:
        """Return m / (1 - b1^t), Adam's mean of the gradients (None before the first)."""
        state = self.state.get(p, {})
        return state["mean"] / (1 - self._group_of(p)["betas"][0] ** state["step"]) if state.get("step") else None


class ProxAdamW(AdamMetric):
    """ProxAdamW. With t = 1, 2, ..., m, u Adam's moments and all operations entrywise,

        w' = (1 - lr weight_decay) w_{t-1},      D = sqrt(u_t) / sqrt(1 - b2^t) + eps,
        w_t = argmin_w lr <m_t / (1 - b1^t), w> + |w - w'|_D^2 / 2 + lr psi(w).

    The subproblem is solved exactly, as in RAMDA. amsgrad: u_t is replaced by the largest u so far. State for each
    parameter: m, u (and the largest u), t. See the base class for what all share.

    Parameters
    ----------
    params, lr, regularizer
        As in RMDA.
    betas
        (b1, b2), each in [0, 1).
    eps
        > 0.
    weight_decay
        >= 0, decoupled: it shrinks w before the step.
    amsgrad
        Whether D uses the largest second moment so far.

    References
    ----------
    J. Yun, A. C. Lozano, E. Yang, "Adaptive proximal gradient methods for structured neural networks", NeurIPS 2021.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        regularizer: Regularizer | None = None,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, regularizer, betas=betas, eps=eps, amsgrad=amsgrad,
            weight_decay=weight_decay, maximize=maximize, foreach=foreach, fused=fused,
        )  # fmt: skip

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        if not isinstance(group["amsgrad"], bool):
            raise TypeError(f"amsgrad={group['amsgrad']!r} must be True or False")

    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        state["step"] += 1
        if not group["amsgrad"]:
            state.pop("largest", None)
        elif "largest" not in state:
            state["largest"] = state["squares"].clone()
        t, lr, (beta1, beta2) = state["step"], group["lr"], group["betas"]
        scale, pull = 1 / math.sqrt(1 - beta2**t), lr / (1 - beta1**t)
        more = scale, group["eps"], pull, 1 - lr * group["weight_decay"], 1.0
        return Step(lr, 1.0, (beta1, 1 - beta1, beta2, 1 - beta2, *more))
