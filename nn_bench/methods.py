"""The methods that a run may name: the optimizers of manifold_id.optim, and the baselines."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from manifold_id.import_path import class_named
from manifold_id.methods import Method
from manifold_id.optim import OPTIMIZERS, ProximalOptimizer, optimizer_of
from manifold_id.regularizers import L1
from manifold_id.validation import unknown_name
from nn_bench.baselines import BASELINES

_FIXED = {"self", "params", "lr", "regularizer", "gamma", "maximize", "total_steps"}


@dataclass(frozen=True)
class MethodEntry:
    """One method: its class, and whether the regularizer enters its update."""

    kind: type[Optimizer]
    proximal: bool

    def names(self) -> list[str]:
        """Return the options of a run that it takes."""
        return [name for name in inspect.signature(self.kind.__init__).parameters if name not in _FIXED]

    def check(self, options: dict[str, Any]) -> None:
        """Raise TypeError or ValueError for an option that the method has not, or that has a wrong value."""
        for name in options:
            if name not in self.names():
                raise unknown_name(f"option of {self.kind.__name__}", name, self.names())
        one = {"params": [nn.Parameter(torch.zeros(1))], "regularizer": None if self.proximal else L1(1.0)}
        with torch.random.fork_rng(devices=()):  # RigL draws its masks
            self.build([one], 0.1, options, 1)

    def build(self, groups: Any, lr: float, options: dict[str, Any], total_steps: int) -> Optimizer:
        """Return the optimizer of these param groups; `total_steps` is the run's length, for what has a schedule."""
        arguments = dict(options)
        if isinstance(arguments.get("betas"), list):
            arguments["betas"] = tuple(arguments["betas"])
        if "total_steps" in inspect.signature(self.kind.__init__).parameters:
            arguments["total_steps"] = total_steps
        return self.kind(groups, lr=lr, **arguments)  # type: ignore[call-arg]


def method_entry(name: str) -> MethodEntry:
    """Return the entry of a method: a name of METHODS, or "module:Class" of a user's own.

    The class is a pure method (see `manifold_id.optim.optimizer_of`) or a torch optimizer; one that is no
    ProximalOptimizer is taken to ignore the regularizer. The module is installed or in the current folder.

    Raises
    ------
    ValueError, TypeError
        As `manifold_id.import_path.class_named` does.
    """
    if name in METHODS:
        return METHODS[name]
    known = {key: entry.kind for key, entry in METHODS.items()}
    kind = class_named("method", name, known, (Method, Optimizer))
    if issubclass(kind, Method):
        kind = optimizer_of(kind)
    return MethodEntry(kind, issubclass(kind, ProximalOptimizer))


METHODS: dict[str, MethodEntry] = {
    **{name: MethodEntry(kind, True) for name, kind in OPTIMIZERS.items()},
    **{name: MethodEntry(kind, False) for name, kind in BASELINES.items()},
}
