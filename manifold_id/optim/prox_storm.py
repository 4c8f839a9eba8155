"""ProxSTORM: proximal SGD with recursive momentum (PStorm, Xu and Xu 2023)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.saved import check_state
from manifold_id.optim.step import Step
from manifold_id.regularizers.base import Regularizer


class ProxSTORM(ProximalOptimizer):
    """PStorm: with g_B the gradient on the current minibatch, and lr = 1 / (8 L),

        a_t = lr (4 / (t + 4))^(1/3),      b_t = (1 + 24 a_t^2 L^2 - a_{t+1} / a_t) / (1 + 4 a_t^2 L^2),
        d_1 = g_B(w_0),      d_t = g_B(w_{t-1}) + (1 - b_t) (d_{t-1} - g_B(w_{t-2})),
        w_t = prox_{a_t psi}(w_{t-1} - a_t d_t).

    `step` needs a closure and calls it twice from the second step on: first with the parameters at the previous
    point, then at the current one. Both calls must use the same minibatch, and the closure must zero the gradients,
    compute the loss, call backward and return the loss. The random generators are put back between the calls, so
    that dropout draws the same masks; running statistics of norm layers are updated by both calls.
    State for each parameter: the previous point, d, t. See the base class for what all share.

    Parameters
    ----------
    params, regularizer
        As in RMDA.
    lr
        >= 0: 1 / (8 L) for gradients of each sample with Lipschitz constant L. b_t does not depend on it.

    References
    ----------
    Y. Xu, Y. Xu, "Momentum-based variance-reduced proximal stochastic gradient method for composite nonconvex
    stochastic optimization", JOTA 196, 2023; the constants are those of the S-PStorm authors' implementation.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        regularizer: Regularizer | None = None,
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, regularizer,
            weight_decay=weight_decay, maximize=maximize, foreach=foreach, fused=None,
        )  # fmt: skip

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step and return the loss at the current point.

        Raises
        ------
        ValueError
            Without a closure.
        """
        if closure is None:
            raise ValueError(
                "closure=None: ProxSTORM needs the gradient at two points of one minibatch; call step(closure) with a "
                "closure that zeroes the gradients, computes the loss, calls backward and returns the loss"
            )
        gradients = self._gradients_at_previous_points(closure)
        with torch.enable_grad():
            loss = closure()
        for p, state in self.state.items():
            if p.grad is not None and state.get("step"):
                g = gradients.get(p)
                if g is None:  # the parameter was not reached there: its estimate starts afresh
                    state["estimate"].zero_()
                else:
                    state["estimate"] -= g
        self._update()
        return loss

    def _gradients_at_previous_points(self, closure: Callable[[], Any]) -> dict[Tensor, Tensor]:
        """Return g_B(w_{t-2}) of all parameters that have stepped, and leave every parameter as it was."""
        older = {p: state for p, state in self.state.items() if state.get("step")}
        if not older:
            return {}
        for i, (p, state) in enumerate(older.items()):
            check_state(state, p, i)
        current = {p: p.detach().clone() for p in older}
        devices = sorted({p.device.index for p in older if p.device.type == "cuda"})
        try:
            for p, state in older.items():
                p.copy_(state["previous"])
            with torch.random.fork_rng(devices), torch.enable_grad():
                closure()
            return {
                p: self._gradient(p, older[p]["previous"], group).clone()
                for group in self.param_groups
                for p in self._with_gradient(group)
                if p in older
            }
        finally:
            for p, point in current.items():
                p.copy_(point)

    def _init_state(self, state: dict[str, Any], w: Tensor) -> None:
        state["previous"] = w.clone()
        state["estimate"] = torch.zeros_like(w)

    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        state["step"] += 1
        t = state["step"]
        a = group["lr"] * (4 / (t + 4)) ** (1 / 3)
        square = (4 / (t + 4)) ** (2 / 3) / 64  # a_t^2 L^2
        b = (1 + 24 * square - ((t + 4) / (t + 5)) ** (1 / 3)) / (1 + 4 * square)
        return Step(a, 1.0, (a, b))

    def _accumulate(self, w: Tensor, g: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        state["previous"].copy_(w)
        state["estimate"].copy_(g + (1 - numbers[1]) * state["estimate"])

    def _center(self, w: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> tuple[Tensor, None]:
        return w - numbers[0] * state["estimate"], None

    def _foreach_center(
        self, ws: list[Tensor], gs: list[Tensor], states: list[dict[str, Any]], numbers: tuple[float, ...]
    ) -> tuple[Any, None]:
        a, b = numbers
        estimates = [state["estimate"] for state in states]
        torch._foreach_copy_([state["previous"] for state in states], ws)
        torch._foreach_mul_(estimates, 1 - b)
        torch._foreach_add_(estimates, gs)
        return torch._foreach_add(ws, estimates, alpha=-a), None

    def gradient_estimate(self, p: Tensor) -> Tensor | None:
        """Return d, the recursive estimate of the gradient (None before the first)."""
        return self.state.get(p, {}).get("estimate")
