"""Ground truth: the solution of a convex problem, with a certificate."""

from convex_bench.ground_truth.driver import solve
from convex_bench.ground_truth.gap_safe import gap_safe_off
from convex_bench.ground_truth.solution import Solution

__all__ = ["Solution", "gap_safe_off", "solve"]
