"""One problem of the audit: drawn, solved, judged."""

from __future__ import annotations

import warnings

from convex_bench.audit.draw import draw
from convex_bench.audit.judge import judge
from convex_bench.ground_truth import solve


def audit(seed: int) -> dict[str, object]:
    """Return one row: the kind of problem, the status, the false claims joined by "; ", the reason of a failure."""
    case = draw(seed)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            solution = solve(case.problem)
        warned = any("the solution is zero" in str(warning.message) for warning in caught)
        false, status, reason = judge(case, solution, warned), solution.status, solution.reason
    except Exception as error:  # a problem that cannot be solved or judged is a finding too
        false, status, reason = [f"error: {type(error).__name__}: {error}"], "failed", ""
    return {"seed": seed, **case.kind, "status": status, "false": "; ".join(false), "reason": reason}
