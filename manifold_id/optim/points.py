"""A network at other points than the iterate: the proximal point, and an average of weights on the manifold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from manifold_id.optim.base import ProximalOptimizer
from manifold_id.validation import real


def proximal_point(optimizer: Optimizer) -> Callable[[Tensor], Tensor]:
    """Return the map from a parameter to its proximal point, itself for a method without one."""
    return optimizer.proximal_point if isinstance(optimizer, ProximalOptimizer) else Tensor.detach


@contextmanager
def at_proximal_point(optimizer: Optimizer) -> Iterator[None]:
    """Put the proximal points in the place of the regularized and all other parameters, for a while."""
    point = proximal_point(optimizer)
    with _placed([(p, point(p)) for p in _parameters(optimizer)]):
        yield


class ManifoldAverage:
    """An exponential moving average of the weights that has the zeros of the latest proximal point z.

        a <- decay * a + (1 - decay) * z        at each `update`, a = z at the first one
        weights: a where z != 0, and 0 where z = 0

    A plain average keeps a trace of every weight that was ever nonzero, so that it is never on the manifold; this one
    has exactly the structure that the method has identified. Parameters without a regularizer are averaged plainly.

        average = ManifoldAverage(optimizer, decay=0.999)
        ... optimizer.step(); average.update() ...
        with average.applied():
            evaluate(model)

    Parameters
    ----------
    optimizer
        Any torch optimizer; z is the parameter itself where the method has no proximal point.
    decay
        In [0, 1): the weight of the past.

    Raises
    ------
    TypeError, ValueError
        If `optimizer` is no torch optimizer or `decay` out of its range.
    """

    def __init__(self, optimizer: Optimizer, decay: float = 0.999) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer={optimizer!r} must be a torch optimizer, such as manifold_id.optim.RMDA")
        self.decay = real("decay", decay, 0, 1)
        if self.decay == 1:
            raise ValueError("decay=1 would keep the first point for ever: choose one below 1, such as 0.999")
        self._optimizer = optimizer
        self._averages: list[Tensor] = []

    @torch.no_grad()
    def update(self) -> None:
        """Take in the point after a step."""
        point = proximal_point(self._optimizer)
        points = [point(p) for p in _parameters(self._optimizer)]
        if not self._averages:
            self._averages = [z.clone() for z in points]
            return
        for a, z in zip(self._averages, points, strict=True):
            a.lerp_(z.to(a.dtype), 1 - self.decay)

    @torch.no_grad()
    def weights(self) -> list[Tensor]:
        """Return the averages of all parameters in the optimizer's order; raises RuntimeError before `update`."""
        if not self._averages:
            raise RuntimeError("nothing is averaged yet: call update() after optimizer.step()")
        point = proximal_point(self._optimizer)
        found = []
        averages = iter(self._averages)
        for group in self._optimizer.param_groups:
            for p in group["params"]:
                a = next(averages)
                found.append(a.clone() if group.get("regularizer") is None else a.masked_fill(point(p) == 0, 0))
        return found

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the place of the parameters, for a while."""
        with _placed(list(zip(_parameters(self._optimizer), self.weights(), strict=True))):
            yield

    def state_dict(self) -> dict[str, Any]:
        """Return the averages."""
        return {"averages": self._averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the averages of the same parameters; raises ValueError if their shapes differ."""
        averages = state["averages"]
        if averages and [a.shape for a in averages] != [p.shape for p in _parameters(self._optimizer)]:
            raise ValueError("state['averages'] has other shapes than the parameters: load it for that model")
        self._averages = [a.clone() for a in averages]


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


@contextmanager
def _placed(points: list[tuple[Tensor, Tensor]]) -> Iterator[None]:
    with torch.no_grad():
        kept = [p.detach().clone() for p, _ in points]
        for p, z in points:
            p.copy_(z)
    try:
        yield
    finally:
        with torch.no_grad():
            for (p, _), old in zip(points, kept, strict=True):
                p.copy_(old)
