"""Adaptive sparse retraining: go on with the same optimizer, and keep every zero (Jia et al. 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.hooks import StepFollower


class SparseRetraining(StepFollower):
    """A mode that freezes zeros: from now on an entry of a regularized parameter that is zero stays zero.

    The mask starts as {z != 0}, z the proximal point, which is w itself for methods that do not average. At once, and
    after each optimizer step, w <- mask * w and mask <- mask and {w != 0}, so that the number of nonzeros never
    increases. It is one-way: a false zero is permanent until `remove()`. A copy of mode and optimizer together
    (copy.deepcopy, pickle) goes on by itself.

        mode = SparseRetraining(optimizer)        # after the first phase
        ... train ...
        mode.remove()

    Parameters
    ----------
    optimizer
        One of this package's. Parameters of groups without a regularizer are left alone (a bias that happens to be 0
        at the start is not structure).
    restart
        Whether to restart the optimizer first, where it can; the paper does not say.

    Raises
    ------
    TypeError
        If `optimizer` is no torch optimizer.
    ValueError
        If no param group has a regularizer.

    References
    ----------
    X. Jia et al., "Make l1 regularization effective in training sparse CNN", Comput. Optim. Appl. 77, 2020, section 4.
    """

    def __init__(self, optimizer: Optimizer, restart: bool = True) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer={optimizer!r} must be a torch optimizer, such as manifold_id.optim.RMDA")
        groups = [group for group in optimizer.param_groups if group.get("regularizer") is not None]
        self.parameters: list[Tensor] = [p for group in groups for p in group["params"]]
        if not self.parameters:
            raise ValueError("optimizer has no param group with a regularizer: nothing would be frozen")
        self._optimizer = optimizer
        self.masks = [_proximal_point(optimizer, p) != 0 for p in self.parameters]
        self._attach()
        self._freeze()
        if restart and hasattr(optimizer, "restart"):
            optimizer.restart()

    def _register(self) -> tuple[RemovableHandle, ...]:
        hook = self._optimizer.register_step_post_hook(self._freeze)
        # before those that look at the step, such as a tracker's
        hooks: Any = self._optimizer._optimizer_step_post_hooks
        hooks.move_to_end(hook.id, last=False)
        if isinstance(self._optimizer, ProximalOptimizer):
            self._optimizer._frozen = dict(zip(self.parameters, self.masks, strict=True))
        return (hook,)

    @torch._disable_dynamo
    @torch.no_grad()
    def _freeze(self, *_: Any) -> None:
        for p, mask in zip(self.parameters, self.masks, strict=True):
            p.masked_fill_(~mask, 0)
            mask.logical_and_(p != 0)

    def remove(self) -> None:
        """End the mode: zeros may move again."""
        if self._hooks and isinstance(self._optimizer, ProximalOptimizer):
            self._optimizer._frozen = {}
        super().remove()

    def state_dict(self) -> dict[str, Any]:
        """Return the masks."""
        return {"masks": self.masks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the masks of the same parameters; raises ValueError if their shapes differ."""
        masks = state["masks"]
        if [m.shape for m in masks] != [p.shape for p in self.parameters]:
            raise ValueError("state['masks'] has other shapes than the regularized parameters: load it for that model")
        for own, mask in zip(self.masks, masks, strict=True):
            own.copy_(mask)


def _proximal_point(optimizer: Optimizer, p: Tensor) -> Tensor:
    return optimizer.proximal_point(p) if isinstance(optimizer, ProximalOptimizer) else p.detach()
