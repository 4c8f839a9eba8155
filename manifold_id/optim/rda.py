"""RDA: regularized dual averaging from the origin (Xiao 2010)."""

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


class RDA(ProximalOptimizer):
    """RDA. With gbar_t the mean of all gradients since the last restart and lr = 1 / gamma,

        w_t = argmin_w <gbar_t, w> + psi(w) + (gamma / (2 sqrt t)) |w|^2
            = prox_{lr sqrt(t) psi}(-lr sqrt(t) gbar_t).

    The centre is the origin whatever the initial point, which acts only through the first gradient: a network must
    start from `rda_init_` (at zero weights its gradients vanish and it stays there). All parameters, biases and
    norm layers too, are averaged from the origin; give those to another optimizer where that is not wanted.
    State for each parameter: the sum of gradients, t. See the base class for what all share.

    Parameters
    ----------
    params, regularizer
        As in RMDA.
    lr
        1 / gamma >= 0 (0 holds the weights at zero).
    gamma
        > 0, instead of lr; a param group may also carry its own.

    References
    ----------
    L. Xiao, "Dual averaging methods for regularized stochastic learning and online optimization", JMLR 11, 2010,
    equation (8) with beta_t = gamma sqrt t; for networks: X. Jia et al., "Make l1 regularization effective in training
    sparse CNN", Comput. Optim. Appl. 77, 2020, Algorithm 2.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | None = None,
        regularizer: Regularizer | None = None,
        *,
        gamma: float | None = None,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, _step_size(lr, gamma, 1.0), regularizer,
            weight_decay=weight_decay, maximize=maximize, foreach=foreach, fused=fused,
        )  # fmt: skip

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, which may carry `gamma` instead of `lr`."""
        if "gamma" in param_group:
            group = dict(param_group)
            param_group = {**group, "lr": _step_size(group.get("lr"), group.pop("gamma"), 1.0)}
            del param_group["gamma"]
        super().add_param_group(param_group)

    def _init_state(self, state: dict[str, Any], w: Tensor) -> None:
        state["total"] = torch.zeros_like(w)

    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        state["step"] += 1
        scale = group["lr"] * math.sqrt(state["step"])
        return Step(scale, 1.0, (scale / state["step"],))

    def _accumulate(self, w: Tensor, g: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        state["total"] += g

    def _center(self, w: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> tuple[Tensor, None]:
        return -numbers[0] * state["total"], None

    def _foreach_center(
        self, ws: list[Tensor], gs: list[Tensor], states: list[dict[str, Any]], numbers: tuple[float, ...]
    ) -> tuple[Any, None]:
        totals = [state["total"] for state in states]
        torch._foreach_add_(totals, gs)
        return torch._foreach_mul(totals, -numbers[0]), None

    def _fused(self, slot: Slot, numbers: tuple[Any, ...], y: Any, more: Any, span: tuple[int, int, int]) -> None:
        kernels.rda_center(flat(slot.state["total"]), flat(slot.g), y, more, *span, *numbers)

    @torch.no_grad()
    def restart(self) -> None:
        """Empty the sums and counters; the centre stays the origin, and no parameter moves."""
        for state in filter(None, self.state.values()):
            state["step"] = 0
            state["total"].zero_()

    def gradient_estimate(self, p: Tensor) -> Tensor | None:
        """Return gbar, the mean of the gradients since the last restart (None before the first)."""
        state = self.state.get(p, {})
        return state["total"] / state["step"] if state.get("step") else None


def _step_size(lr: float | None, gamma: float | None, default: float) -> float:
    """Return lr from lr or gamma = 1 / lr."""
    if gamma is None:
        return default if lr is None else lr
    if lr is not None:
        raise ValueError(f"lr={lr} and gamma={gamma} are both given: lr is 1 / gamma, give one")
    return 1 / real("gamma", gamma, 0, open_low=True)
