"""For a test suite of one's own: a theorem as an assertion."""

from __future__ import annotations

from typing import Any

from convex_bench.problem import Problem
from convex_bench.theorems.shown import in_full
from convex_bench.theorems.verify import verify
from manifold_id.methods.base import Method
from manifold_id.theory.base import Verdict


def assert_theorem(name: str, problem: Problem | None = None, method: Method | None = None, **keywords: Any) -> Verdict:
    """Raise AssertionError, with all figures, unless the theorem holds and its control fails on the same runs.

    A control that does not fail means that the instance cannot tell: an assertion that nothing could break. Keywords
    and other errors are those of `convex_bench.theorems.verify`, whose verdict is returned.
    """
    verdict = verify(name, problem, method, **keywords)
    if verdict.status == "holds" and verdict.control is not None and verdict.control.status == "fails":
        return verdict
    title = f"{name} on {problem!r} with {method!r}" if problem is not None else f"{name} on its built-in instances"
    raise AssertionError("\n".join((title, *in_full(verdict))))
