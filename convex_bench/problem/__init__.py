"""The convex problem: data, loss and regularizer; problems whose solution is planted."""

from convex_bench.problem.problem import Problem

__all__ = ["Problem"]
