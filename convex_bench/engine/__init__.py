"""Compiled stochastic loops: every built-in method on linear models, many seeds, structure followed at every step."""

from convex_bench.engine.oracle import iterate
from convex_bench.engine.runner import Run, is_compiled, run

__all__ = ["Run", "is_compiled", "iterate", "run"]
