"""ProxSGD with the averaging of Yang et al. (ICLR 2020): an adaptive metric, and a step towards the proximal point."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.step import Step
from manifold_id.regularizers.base import Regularizer
from manifold_id.validation import real


class YangProxSGD(ProximalOptimizer):
    """Yang et al.'s ProxSGD: with rho_t = rho / sqrt(t + 3), eps_t = lr / sqrt(t + 3), t = 1, 2, ...,

        v_t = (1 - rho_t) v_{t-1} + rho_t g_t,      r_t = beta r_{t-1} + (1 - beta) g_t^2,
        tau_t = sqrt(r_t / (1 - beta^t)) + delta,
        z_t = argmin_z <v_t, z> + |z - w_{t-1}|^2_{tau_t} / 2 + psi(z),      w_t = w_{t-1} + eps_t (z_t - w_{t-1}).

    z_t (x-hat in the paper) identifies and is kept in the state; w_t is a convex combination of all past points and
    is never exactly sparse. State for each parameter: v, r, z, t. See the base class for what all share.

    Parameters
    ----------
    params, regularizer
        As in RMDA.
    lr
        The paper's eps, in [0, 2]: the weight of the first new point is lr / 2.
    rho
        In (0, 2]: the weight of the first gradient is rho / 2.
    beta
        In [0, 1).
    delta
        > 0.

    References
    ----------
    Y. Yang, Y. Yuan, A. Chatzimichailidis, R. van Sloun, L. Lei, S. Chatzinotas, "ProxSGD: training structured neural
    networks under regularization and constraints", ICLR 2020, and the authors' code (defaults).
    """

    metric = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.06,
        rho: float = 0.9,
        beta: float = 0.999,
        delta: float = 1e-8,
        regularizer: Regularizer | None = None,
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, regularizer, rho=rho, beta=beta, delta=delta,
            weight_decay=weight_decay, maximize=maximize, foreach=foreach, fused=None,
        )  # fmt: skip

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        real("lr", group["lr"], 0, 2)
        real("rho", group["rho"], 0, 2, open_low=True)
        real("beta", group["beta"], 0, 1 - 1e-12)
        real("delta", group["delta"], 0, open_low=True)

    def _init_state(self, state: dict[str, Any], w: Tensor) -> None:
        state["mean"] = torch.zeros_like(w)
        state["squares"] = torch.zeros_like(w)
        state["proximal"] = w.clone()

    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        state["step"] += 1
        t = state["step"]
        root = math.sqrt(t + 3)
        numbers = (group["rho"] / root, group["beta"], 1 - group["beta"] ** t, group["delta"])
        blend = group["lr"] / root
        return Step(1.0, blend, numbers, self._flushes(state, blend))

    def _accumulate(self, w: Tensor, g: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        rho, beta = numbers[:2]
        state["mean"].copy_((1 - rho) * state["mean"] + rho * g)
        state["squares"].copy_(beta * state["squares"] + (1 - beta) * g * g)

    def _center(self, w: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        tau = (state["squares"] / numbers[2]).sqrt() + numbers[3]
        return w - state["mean"] / tau, tau

    def _foreach_center(
        self, ws: list[Tensor], gs: list[Tensor], states: list[dict[str, Any]], numbers: tuple[float, ...]
    ) -> tuple[Any, Any]:
        rho, beta, correction, delta = numbers
        means, squares = [state["mean"] for state in states], [state["squares"] for state in states]
        torch._foreach_mul_(means, 1 - rho)
        torch._foreach_add_(means, gs, alpha=rho)
        torch._foreach_mul_(squares, beta)
        torch._foreach_addcmul_(squares, gs, gs, value=1 - beta)
        taus = torch._foreach_div(squares, correction)
        torch._foreach_sqrt_(taus)
        torch._foreach_add_(taus, delta)
        return torch._foreach_addcdiv(ws, means, taus, value=-1), taus

    def _keep(self, state: dict[str, Any], z: Tensor) -> None:
        state["proximal"].copy_(z)

    def _proximal_points(self, group: dict[str, Any], ws: list[Tensor], states: list[dict[str, Any]]) -> list[Tensor]:
        return [state["proximal"].clone() for state in states]

    def gradient_estimate(self, p: Tensor) -> Tensor | None:
        """Return v, the running average of the gradients (None before the first)."""
        return self.state.get(p, {}).get("mean")
