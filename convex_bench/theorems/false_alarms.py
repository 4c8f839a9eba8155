"""How often a verdict flips with another seed: `python -m convex_bench.theorems.false_alarms 200`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from convex_bench.theorems.check import QUICK, Size
from convex_bench.theorems.registry import all_checks


def false_alarms(seeds: Iterable[int], size: Size = QUICK) -> dict[str, tuple[int, int]]:
    """Return for each theorem on how many of the seeds its check does not hold, and its control does not fail."""
    checks, counts = all_checks(), dict.fromkeys(all_checks(), (0, 0))
    for seed in seeds:
        for name, item in checks.items():
            wrong, passed = counts[name]
            wrong += item.check(size, seed).status != "holds"
            passed += item.control(size, seed).status != "fails"
            counts[name] = (wrong, passed)
    return counts


if __name__ == "__main__":
    repeats = int(sys.argv[1])
    for theorem, (wrong, passed) in false_alarms(range(1000, 1000 + repeats)).items():
        print(f"{theorem:28s} check flips {wrong:4d}, control flips {passed:4d} of {repeats}")
