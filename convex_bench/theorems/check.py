"""What a verified theorem is made of: the statement, the runs that test it, and a control that must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from manifold_id.theory.base import Theorem, Verdict


@dataclass(frozen=True)
class Size:
    """How much is run: `seeds` independent runs of each kind, and steps multiplied by `factor`."""

    name: str
    seeds: int
    factor: int

    def steps(self, quick: int) -> int:
        """Return the number of steps for this size, given that of the quick one."""
        return quick * self.factor


QUICK = Size("quick", seeds=100, factor=1)
FULL = Size("full", seeds=400, factor=4)


@dataclass(frozen=True)
class Check:
    """A theorem, `check(size, seed)` that must hold, and `control(size, seed)` that must fail."""

    theorem: Theorem
    check: Callable[[Size, int], Verdict]
    control: Callable[[Size, int], Verdict]
