"""RAMDA: regularized adaptive momentum dual averaging (Chang, Lee et al., NeurIPS 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from manifold_id.methods.schedule import momentum_weight
from manifold_id.optim import kernels
from manifold_id.optim.fused import flat
from manifold_id.optim.rmda import DualAveraging
from manifold_id.optim.step import Slot, Step
from manifold_id.regularizers.base import Regularizer
from manifold_id.validation import real


class RAMDA(DualAveraging):
    """RAMDA. With k = 1, 2, ... counted from the last restart, anchor W^0 and all operations entrywise,

        s_k = lr sqrt(k),   alpha_k = alpha_{k-1} + s_k,   V_k = V_{k-1} + s_k g_k,   U_k = U_{k-1} + s_k g_k^2,
        D_k = cbrt(U_k) + eps,
        z_k = argmin_W <V_k, W> + |W - W^0|_{D_k}^2 / 2 + alpha_k psi(W),      |x|_D^2 = sum_j D_j x_j^2,
        W^k = (1 - c) W^{k-1} + c z_k.

    The subproblem is solved exactly: for the group lasso through one scalar equation a group, in a few Newton steps
    over all groups at once; for the nuclear norm by an inner loop to a duality gap at the level of rounding, which the
    state keeps as `gap`. Regularizers without a prox in a diagonal metric (group MCP) are refused.
    State for each parameter: anchor, V, U, k, alpha. See the base class for what all share.

    Parameters
    ----------
    params, lr, momentum, regularizer
        As in RMDA.
    eps
        > 0; `StageSchedule` multiplies it by its factor at each restart, as the authors' code does.

    References
    ----------
    "Regularized adaptive momentum dual averaging with an efficient inexact subproblem solver for training structured
    neural network", NeurIPS 2024 (arXiv 2403.14398), Algorithm 1, whose inner solver is inexact.
    """

    metric = True
    stage_scaled = ("eps",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        momentum: float = 1.0,
        eps: float = 1e-6,
        regularizer: Regularizer | None = None,
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, regularizer, momentum=momentum, eps=eps,
            weight_decay=weight_decay, maximize=maximize, foreach=foreach, fused=fused,
        )  # fmt: skip

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        momentum_weight(group["momentum"])
        real("eps", group["eps"], 0, open_low=True)

    def _init_state(self, state: dict[str, Any], w: Tensor) -> None:
        state["weight"] = 0.0
        state["anchor"] = w.clone()
        state["total"] = torch.zeros_like(w)
        state["squares"] = torch.zeros_like(w)

    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        state["step"] += 1
        s = group["lr"] * math.sqrt(state["step"])
        state["weight"] += s
        c = group["momentum"]
        return Step(state["weight"], c, (s, group["eps"]), self._flushes(state, c))

    def _accumulate(self, w: Tensor, g: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        state["total"] += numbers[0] * g
        state["squares"] += numbers[0] * g * g

    def _center(self, w: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        d = state["squares"].pow(1 / 3) + numbers[1]
        return state["anchor"] - state["total"] / d, d

    def _foreach_center(
        self, ws: list[Tensor], gs: list[Tensor], states: list[dict[str, Any]], numbers: tuple[float, ...]
    ) -> tuple[Any, Any]:
        s, eps = numbers
        totals, squares = [state["total"] for state in states], [state["squares"] for state in states]
        torch._foreach_add_(totals, gs, alpha=s)
        torch._foreach_addcmul_(squares, gs, gs, value=s)
        ds = torch._foreach_pow(squares, 1 / 3)
        torch._foreach_add_(ds, eps)
        return torch._foreach_addcdiv([state["anchor"] for state in states], totals, ds, value=-1), ds

    def _fused(self, slot: Slot, numbers: tuple[Any, ...], y: Any, more: Any, span: tuple[int, int, int]) -> None:
        center = kernels.ramda_center_float32 if y.itemsize == 4 else kernels.ramda_center_float64
        state = slot.state
        arrays = flat(state["total"]), flat(state["squares"]), flat(slot.g), flat(state["anchor"])
        center(*arrays, y, more, *span, *numbers)

    def _proximal_points(self, group: dict[str, Any], ws: list[Tensor], states: list[dict[str, Any]]) -> list[Tensor]:
        centers = [self._center(w, state, (0.0, group["eps"])) for w, state in zip(ws, states, strict=True)]
        return self._proximal(group, [y for y, _ in centers], states[0]["weight"], [d for _, d in centers])
