"""Dense SGD with momentum, whose param groups may name a structure to be counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from manifold_id.optim.saved import check_regularizers, written
from manifold_id.validation import real


class SGD(torch.optim.SGD):
    """torch's SGD with (heavy-ball) momentum; a group's `regularizer` says what its groups are and does nothing else.

    The regularizer is written to the state as its repr, so that the state loads with weights_only=True.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        nesterov: bool = False,
    ) -> None:
        real("momentum", momentum, 0)
        real("weight_decay", weight_decay, 0)
        if not isinstance(nesterov, bool):
            raise TypeError(f"nesterov={nesterov!r} must be True or False")
        if nesterov and not momentum:
            raise ValueError(f"nesterov=True needs momentum > 0, not momentum={momentum!r}")
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
        for group in self.param_groups:
            group.setdefault("regularizer", None)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and numbers."""
        return written(super().state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; the optimizer keeps its own regularizers, which must be those of the state."""
        check_regularizers(self, state_dict)
        own = [group["regularizer"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, regularizer in zip(self.param_groups, own, strict=True):
            group["regularizer"] = regularizer
