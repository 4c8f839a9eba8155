"""What follows the steps of an optimizer, and goes on with the copy where both are copied together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


class StepFollower(ABC):
    """Hooks on an optimizer's steps, which torch leaves behind when it copies or pickles the optimizer.

    A copy of follower and optimizer together (copy.deepcopy, pickle) registers them again, unless they were removed.
    """

    _optimizer: Optimizer
    _hooks: tuple[RemovableHandle, ...] = ()

    @abstractmethod
    def _register(self) -> tuple[RemovableHandle, ...]:
        """Register the hooks with `_optimizer`."""

    def _attach(self) -> None:
        self._hooks = self._register()

    def remove(self) -> None:
        """Follow no further steps."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = ()

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, and whether there are hooks in place of the hooks."""
        return self.__dict__ | {"_hooks": bool(self._hooks)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copied or unpickled follower, of the optimizer that was copied along."""
        attached = state.pop("_hooks")
        self.__dict__.update(state)
        if attached:
            self._attach()
