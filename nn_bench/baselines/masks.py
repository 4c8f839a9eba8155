"""SGD under masks that change now and then: the frame of the pruning methods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from manifold_id.validation import integer, real
from nn_bench.baselines.sgd import SGD


class MaskedSGD(SGD):
    """SGD on the weights that a mask keeps, for the parameters whose group has a `regularizer`.

    Every `every` steps until the share `until` of `total_steps` the masks are updated; weights and momentum outside
    them are zero after each step.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float,
        weight_decay: float,
        sparsity: float,
        every: int,
        until: float,
        total_steps: int,
    ) -> None:
        super().__init__(params, lr, momentum, weight_decay)
        self.sparsity = real("sparsity", sparsity, 0, 1 - 1e-12)
        self.every = integer("every", every, 1)
        self.last_update = max(int(real("until", until, 0, 1) * integer("total_steps", total_steps, 1)), 1)
        self.step_count = 0
        groups = [group for group in self.param_groups if group["regularizer"] is not None]
        self.masked: list[Tensor] = [p for group in groups for p in group["params"]]
        self.regularizers = [group["regularizer"] for group in groups for _ in group["params"]]
        if not self.masked:
            raise ValueError(f"{type(self).__name__} needs param groups with a regularizer: it says what is pruned")
        if any(group.get("joint") is not None for group in groups):
            raise ValueError(f"{type(self).__name__} prunes each tensor alone: choose by='output_channel', not 'unit'")
        self.masks = [torch.ones(p.shape, dtype=torch.bool, device=p.device) for p in self.masked]
        # Hooks, not an own step() around SGD's: torch would run the hooks of others once for each of the two.
        self.register_step_pre_hook(self._before)
        self.register_step_post_hook(self._after)

    @abstractmethod
    def update_masks(self) -> None:
        """Change `masks`, with the gradients of this step at hand."""

    @torch.no_grad()
    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Count the step and update the masks where that is due."""
        self.step_count += 1
        if self.step_count <= self.last_update and self.step_count % self.every == 0:
            self.update_masks()

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.apply_masks()

    @torch.no_grad()
    def apply_masks(self) -> None:
        """Set weights and momentum outside the masks to zero."""
        for p, mask in zip(self.masked, self.masks, strict=True):
            p.masked_fill_(~mask, 0)
            buffer = self.state[p].get("momentum_buffer")
            if buffer is not None:
                buffer.masked_fill_(~mask, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the state with masks and counter."""
        return super().state_dict() | {"masks": self.masks, "step_count": self.step_count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state with masks and counter."""
        rest = dict(state_dict)
        masks, self.step_count = rest.pop("masks"), rest.pop("step_count")
        super().load_state_dict(rest)
        self.masks = [m.to(p.device, copy=True) for m, p in zip(masks, self.masked, strict=True)]
