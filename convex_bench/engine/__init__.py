"""Compiled stochastic loops: every built-in method on linear models, many seeds, structure followed at every step."""

from convex_bench.engine.oracle import iterate
from convex_bench.engine.runner import Run, run

__all__ = ["Run", "iterate", "run"]
