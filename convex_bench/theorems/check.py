"""What a verified theorem is made of: the statement, the runs that test it, and a control that must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from convex_bench.theorems.case import Case
from manifold_id.methods.base import Method
from manifold_id.theory.base import Theorem, Verdict, unmet


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
class Own:
    """How a theorem takes a user's problem and method.

    Attributes
    ----------
    judge
        The verdict on a case, its assumptions apart that `Case.assumptions` measures.
    control
        The same with one hypothesis broken, on the same steps, seeds and start; it should fail.
    methods
        The methods that the statement is about; None for any, () where it is about a problem alone.
    steps
        The length of the runs unless the user gives one.
    nondegenerate, separable, entries
        What the statement assumes: of the solution; psi a sum over coordinates or groups; psi l1 on coordinates.
    """

    judge: Callable[[Case], Verdict]
    control: Callable[[Case], Verdict]
    methods: tuple[type[Method], ...] | None
    steps: int = 2000
    nondegenerate: bool = True
    separable: bool = False
    entries: bool = False

    def accepts(self, method: Method) -> bool:
        """Whether the statement is about this method."""
        return self.methods is None or type(method) in self.methods

    def verdict(self, case: Case) -> Verdict:
        """Return the verdict with that of the control; nothing is run where an assumption is not met."""
        assumed = case.assumptions(self.nondegenerate, self.separable, self.entries)
        if not all(a.met for a in assumed):
            return unmet(*assumed)
        found = self.judge(case)
        return replace(found, assumptions=(*assumed, *found.assumptions), control=self.control(case))


@dataclass(frozen=True)
class Check:
    """A theorem, `check(size, seed)` that must hold, and `control(size, seed)` that must fail.

    `own` says how it takes a user's problem and method, or in words why its statement is about a special construction.
    """

    theorem: Theorem
    check: Callable[[Size, int], Verdict]
    control: Callable[[Size, int], Verdict]
    own: Own | str
