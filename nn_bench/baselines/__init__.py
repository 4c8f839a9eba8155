"""What structured training is compared with: dense SGD, magnitude pruning, RigL."""

from __future__ import annotations

from nn_bench.baselines.magnitude import MagnitudePruning
from nn_bench.baselines.rigl import RigL
from nn_bench.baselines.sgd import SGD

BASELINES: dict[str, type[SGD]] = {cls.__name__: cls for cls in (SGD, MagnitudePruning, RigL)}

__all__ = ["BASELINES", "SGD", "MagnitudePruning", "RigL"]
