"""The NaN guard: it stops a run at the first loss or gradient that is not finite, and says where."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 32  # steps between two looks at a GPU


class NotFiniteError(ValueError):
    """A loss or a gradient is infinite or NaN."""


class Guard:
    """Watches the loss and the gradients' norms of every step; on a GPU they are fetched in blocks of steps.

    Parameters
    ----------
    names, parameters
        What is watched.
    gradients
        False watches the loss alone: under a gradient scaler infinite gradients are part of the plan.
    """

    def __init__(self, names: Sequence[str], parameters: Sequence[Tensor], gradients: bool = True) -> None:
        self._names, self._parameters = list(names), list(parameters)
        self._gradients = gradients
        self._pending: list[tuple[int, Tensor, list[str]]] = []

    @torch.no_grad()
    def watch(self, step: int, loss: Tensor) -> None:
        """Take note of a step, between backward pass and update; raises NotFiniteError as `check` does."""
        values, names = [loss.detach().float()], ["the loss"]
        if self._gradients:
            present = [(n, p.grad) for n, p in zip(self._names, self._parameters, strict=True) if p.grad is not None]
            norms = torch._foreach_norm([g for _, g in present]) if present else ()
            values += [norm.float() for norm in norms]
            names += [f"the gradient of {n!r}" for n, _ in present]
        self._pending.append((step, torch.stack(values), names))
        if loss.device.type == "cpu" or len(self._pending) == BLOCK:
            self.check()

    def check(self) -> None:
        """Look at what was noted.

        Raises
        ------
        NotFiniteError
            If a value is infinite or NaN; the message names the step and the tensor.
        """
        pending, self._pending = self._pending, []
        for step, values, names in pending:
            finite = torch.isfinite(values)
            if bool(finite.all()):
                continue
            place = names[int((~finite).nonzero()[0])]
            bad = [n for n, p in zip(self._names, self._parameters, strict=True) if not bool(torch.isfinite(p).all())]
            where = f", and the parameter {bad[0]!r} is not finite" if bad else ""
            raise NotFiniteError(f"step {step}: {place} is not finite{where}: choose a smaller lr or use clip")
