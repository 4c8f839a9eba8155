"""The claims of a Solution against arithmetic of 400 bits, that shares nothing with the solver.

Nothing of the solver is called: only the problem's arrays and the claims themselves are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convex_bench.audit.arithmetic import BITS, Numbers
from convex_bench.audit.draw import Case, Norms
from convex_bench.audit.of_groups import GroupsJudge
from convex_bench.audit.of_others import FaceJudge, RankJudge


def judge(case: Case, solution: Any, warned: bool = False) -> list[str]:
    """Return what of the solution's claims is false, in words; nothing where all is true.

    `warned` : whether `solve` warned that the solution is zero.
    """
    try:
        import mpmath
    except ImportError as error:
        raise ImportError("the audit needs mpmath: pip install 'manifold-id[test]'") from error
    with mpmath.workprec(BITS):
        return _false_claims(case, solution, warned, mpmath.mp)


def _false_claims(case: Case, s: Any, warned: bool, mp: Any) -> list[str]:
    found: list[str] = []
    judged: Any
    if isinstance(case.psi, Norms):
        judged = GroupsJudge(case, case.psi, s, mp)
        if warned and (s.status == "failed" or np.any(s.coef[judged.penalized()])):
            found.append("warning: the solution is said to be zero")
        found += judged.lambda_max()
    elif case.psi.name == "nuclear norm":
        judged = RankJudge(case, case.psi, s, mp)
    else:
        judged = FaceJudge(case, case.psi, s, mp)
    if s.status == "failed":
        return found
    if s.status == "unattained":
        return found + _direction(case, judged, s)
    if case.unattained:
        return [*found, f"existence: {s.status}, but no minimizer exists"]
    return found + judged.false_claims()


def _direction(case: Case, numbers: Numbers, s: Any) -> list[str]:
    """Check that the rows are separated along the direction, which only free coordinates have."""
    if case.unattained is False:
        return ["existence: called unattained, but a minimizer exists"]
    v = numbers.numbers(s.direction)
    m = numbers.margins(v)
    if numbers.loss == "logistic":
        t = [y * row[0] for row, y in zip(m, numbers.y, strict=True)]
    else:
        t = [row[int(y)] - a for row, y in zip(m, numbers.y, strict=True) for k, a in enumerate(row) if k != y]
    held = isinstance(numbers, GroupsJudge) and any(v[j] != 0 for j in np.flatnonzero(numbers.penalized()))
    if held or max(t) <= 0 or min(t) < -1e-6 * max(t):
        return ["existence: called unattained, but the direction does not separate"]
    return []
