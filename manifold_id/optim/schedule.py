"""Stages of a run: smaller steps, restarts and the growth of the momentum weight."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from manifold_id.methods.schedule import MOMENTUM_RULES
from manifold_id.validation import integer, real, unknown_name


class StageSchedule(LRScheduler):
    """Multiply lr by `factor` at each milestone, restart, and change the momentum weight c; group by group.

    Call `step()` after each epoch (milestones in epochs), or after each optimizer step (milestones in steps), as with
    torch's own schedulers. The lr is changed by multiplication, so that it composes with torch's schedulers that do
    the same (LinearLR, ExponentialLR, CosineAnnealingLR ..., ChainedScheduler, SequentialLR).

    Parameters
    ----------
    optimizer
        Any torch optimizer. Restarts concern those that have `restart()`, the dual-averaging family; a RAMDA also has
        its eps multiplied by `factor` when it restarts, as in its authors' code.
    milestones
        Increasing counts >= 1 of calls of `step()`; may be empty.
    factor
        gamma in (0, 1].
    restart
        Whether milestones restart the optimizer.
    momentum
        What becomes of c, from each group's own initial value c_0: "constant"; "divide": c <- min(c / gamma, 1) at each
        milestone (the rule of the RMDA paper's code); "sqrt": c_0 until the last milestone, then
        c_j = min(c_0 sqrt(j), 1) for the j-th optimizer step after it, j = 1, 2, ... (the rule of the RAMDA code);
        steps that a gradient scaler skips do not count. Without milestones "sqrt" grows from the first step.

    Raises
    ------
    TypeError, ValueError
        For a parameter outside its range, or a momentum rule for an optimizer without `momentum`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int] = (),
        factor: float = 0.1,
        restart: bool = True,
        momentum: str = "constant",
        last_epoch: int = -1,
    ) -> None:
        self.milestones = [integer("milestones", m, 1) for m in milestones]
        if any(b <= a for a, b in zip(self.milestones, self.milestones[1:], strict=False)):
            raise ValueError(f"milestones={self.milestones} must increase")
        self.factor = real("factor", factor, 0, 1, open_low=True)
        if not isinstance(restart, bool):
            raise TypeError(f"restart={restart!r} must be True or False")
        self.restart = restart
        if momentum not in MOMENTUM_RULES:
            raise unknown_name("momentum", momentum, MOMENTUM_RULES)
        if momentum != "constant" and not all("momentum" in group for group in optimizer.param_groups):
            raise ValueError(f"momentum={momentum!r}: {type(optimizer).__name__} has no weight c, use 'constant'")
        self.momentum = momentum
        self.growth = 0  # j of the "sqrt" rule for the next optimizer step; 0 = not yet growing
        super().__init__(optimizer, last_epoch)
        if momentum == "sqrt":
            self.growth = self.growth or int(not self.milestones)
            optimizer.register_step_post_hook(self._after_step)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copied or unpickled schedule; torch leaves the hooks of its copied optimizer behind."""
        self.__dict__.update(state)
        if self.momentum == "sqrt":
            self.optimizer.register_step_post_hook(self._after_step)

    def get_lr(self) -> list[Any]:
        """Return each group's next lr; called by `step`."""
        factor = self.factor if self.last_epoch in self.milestones else 1
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _get_closed_form_lr(self) -> list[Any]:
        """Return each group's lr at last_epoch from its base; torch's SequentialLR begins a schedule so."""
        count = sum(self.last_epoch >= m for m in self.milestones)
        return [base * self.factor**count for base in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        """Count one more epoch (or step); at a milestone, start the next stage."""
        super().step(epoch)
        if self.last_epoch not in self.milestones:
            return
        for group in self.optimizer.param_groups:
            for name in getattr(self.optimizer, "stage_scaled", ()) if self.restart else ():
                group[name] *= self.factor
            if self.momentum == "divide":
                group["momentum"] = min(group["momentum"] / self.factor, 1.0)
        if self.restart and hasattr(self.optimizer, "restart"):
            self.optimizer.restart()
        if self.momentum == "sqrt" and self.last_epoch == self.milestones[-1]:
            self.growth = 1

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Let c grow after an optimizer step of the last stage."""
        if not self.growth:
            return
        self.growth += 1
        for group in optimizer.param_groups:
            initial = group.setdefault("initial_momentum", group["momentum"])
            group["momentum"] = min(initial * math.sqrt(self.growth), 1.0)
