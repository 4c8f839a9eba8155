"""Testbed 2: neural networks, on CPU or GPU, trained with the same methods and tracked."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nn_bench.compare import Comparison
    from nn_bench.config import TrainConfig
    from nn_bench.result import TrainResult
    from nn_bench.training import train

_HOMES = {"Comparison": "compare", "TrainConfig": "config", "TrainResult": "result", "train": "training"}
__all__ = ["Comparison", "TrainConfig", "TrainResult", "train"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch is loaded by what needs it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
