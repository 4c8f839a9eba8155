"""Theorems verified numerically, one a file, each with a control that must fail: `verify`, `manifold-id verify`."""

from convex_bench.theorems.check import FULL, QUICK, Check, Size
from convex_bench.theorems.parallel import Outcome
from convex_bench.theorems.registry import MODULES, all_checks, load_check
from convex_bench.theorems.verify import verify, verify_all

__all__ = ["FULL", "MODULES", "QUICK", "Check", "Outcome", "Size", "all_checks", "load_check", "verify", "verify_all"]
