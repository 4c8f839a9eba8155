"""Testbed 1: convex problems whose solution and manifold are certified, and stochastic methods run on them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convex_bench.data import load
    from convex_bench.engine import iterate
    from convex_bench.ground_truth import Solution, solve
    from convex_bench.ground_truth.path import RegularizationPath, regularization_path
    from convex_bench.problem import Problem
    from convex_bench.problem.planting import planted
    from convex_bench.studies.results import Results
    from convex_bench.studies.study import Study

_HOMES = {
    "Problem": "problem",
    "RegularizationPath": "ground_truth.path",
    "Results": "studies.results",
    "Solution": "ground_truth",
    "Study": "studies.study",
    "iterate": "engine",
    "load": "data",
    "planted": "problem.planting",
    "regularization_path": "ground_truth.path",
    "solve": "ground_truth",
}
__all__ = [
    "Problem",
    "RegularizationPath",
    "Results",
    "Solution",
    "Study",
    "iterate",
    "load",
    "planted",
    "regularization_path",
    "solve",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts at once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
