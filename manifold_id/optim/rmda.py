"""RMDA: regularized modernized dual averaging (Huang and Lee, ICLR 2022)."""

from __future__ import annotations

import math
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


class DualAveraging(ProximalOptimizer):
    """What RMDA and RAMDA share: step counter, weight, anchor, sum, restart."""

    @torch.no_grad()
    def restart(self) -> None:
        """Start a new stage: the anchor becomes the current iterate, sums and counters are emptied.

        Parameters without a state (frozen, or never reached by a gradient) are passed over; none moves.
        """
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state.get(p)
                if state:
                    state["step"], state["weight"] = 0, 0.0
                    self._init_state(state, self._iterate(p))
        self._active = {}

    def gradient_estimate(self, p: Tensor) -> Tensor | None:
        """Return V / alpha, the weighted mean of the stage's gradients (None before the first, and while lr = 0)."""
        state = self.state.get(p, {})
        return state["total"] / state["weight"] if state.get("weight") else None


class RMDA(DualAveraging):
    """RMDA. With g_k the gradient at W^{k-1}, k = 1, 2, ... counted from the last restart, and anchor W^0,

        s_k = lr sqrt(k),   beta_k = sqrt(k),   alpha_k = alpha_{k-1} + s_k,   V_k = V_{k-1} + s_k g_k,
        z_k = prox_{(alpha_k / beta_k) psi}(W^0 - V_k / beta_k),
        W^k = (1 - c) W^{k-1} + c z_k.

    State for each parameter: anchor and V (twice its memory), k, alpha. See the base class for what all share.

    Parameters
    ----------
    params
        Tensors, named tensors, or param groups, which may carry their own `regularizer`, `lr`, `momentum` ...
    lr
        >= 0.
    momentum
        c in (0, 1], the weight of the new point: 1 means no momentum.
    regularizer
        psi for groups that do not have their own; None = none. `group_parameters` makes the groups for a network.

    References
    ----------
    Z.-S. Huang, C.-p. Lee, "Training structured neural networks through manifold identification and variance
    reduction", ICLR 2022, Algorithm 1; the schedule s_k, beta_k is that of the authors' experiments.
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
        state["weight"] = 0.0
        state["anchor"] = w.clone()
        state["total"] = torch.zeros_like(w)

    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        state["step"] += 1
        beta = math.sqrt(state["step"])
        s = group["lr"] * beta
        state["weight"] += s
        c = group["momentum"]
        return Step(state["weight"] / beta, c, (s, beta), self._flushes(state, c))

    def _accumulate(self, w: Tensor, g: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        state["total"] += numbers[0] * g

    def _center(self, w: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> tuple[Tensor, None]:
        return state["anchor"] - state["total"] / numbers[1], None

    def _foreach_center(
        self, ws: list[Tensor], gs: list[Tensor], states: list[dict[str, Any]], numbers: tuple[float, ...]
    ) -> tuple[Any, None]:
        s, beta = numbers
        totals = [state["total"] for state in states]
        torch._foreach_add_(totals, gs, alpha=s)
        return torch._foreach_add([state["anchor"] for state in states], totals, alpha=-1 / beta), None

    def _fused(self, slot: Slot, numbers: tuple[Any, ...], y: Any, more: Any, span: tuple[int, int, int]) -> None:
        s, beta = numbers
        state = slot.state
        kernels.rmda_center(flat(state["total"]), flat(slot.g), flat(state["anchor"]), y, more, *span, s, 1 / beta)

    def _proximal_points(self, group: dict[str, Any], ws: list[Tensor], states: list[dict[str, Any]]) -> list[Tensor]:
        beta = math.sqrt(states[0]["step"])
        ys = [self._center(w, state, (0.0, beta))[0] for w, state in zip(ws, states, strict=True)]
        return self._proximal(group, ys, states[0]["weight"] / beta, None)
