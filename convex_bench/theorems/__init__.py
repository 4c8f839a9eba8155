"""The runs behind every verified theorem, with a control for each that must fail: `manifold-id verify`."""

from convex_bench.theorems.check import FULL, QUICK, Check, Size
from convex_bench.theorems.parallel import Outcome
from convex_bench.theorems.registry import MODULES, all_checks, load_check
from convex_bench.theorems.verify import verify

__all__ = ["FULL", "MODULES", "QUICK", "Check", "Outcome", "Size", "all_checks", "load_check", "verify"]
