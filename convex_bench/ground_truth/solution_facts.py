"""The numbers that say what can be identified on a problem: margin, smallest active norm and noise at the solution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convex_bench.problem import Problem


def solution_facts(problem: Problem, solution: Any) -> dict[str, Any]:
    """Return the facts of a problem and its certified solution as JSON values; None where one does not exist.

    rows, columns, loss, penalty (the regularizer's class), lam, lam_ratio = lam / lambda_max; atoms, atom (what they
    are: entries, groups ...), active, active_names (None where atoms have no names), min_margin, relative_margin = min
    margin / scale over the off atoms, smallest_active; noise = sqrt(E |g_i - E g_i|^2) for a single row i at the
    solution; tightest = the off atom of the least relative margin, and tightest_name, with tightest_noise, the noise of
    its coordinates alone, to be compared with its margin tightest_margin.
    """
    margin = np.asarray(solution.margin, dtype=float).reshape(-1)
    codes = np.asarray(solution.codes).reshape(-1)
    lam = getattr(problem.penalty, "lam", None)
    facts: dict[str, Any] = {
        "rows": problem.n,
        "columns": problem.n_features,
        "loss": problem.loss.name,
        "penalty": type(problem.penalty).__name__,
        "lam": lam,
        "lam_ratio": _share(problem, lam),
        "atoms": len(codes),
        "atom": _noun(problem),
        "active": int((codes > 0).sum()),
        "active_names": None if solution.names is None else solution.names[codes > 0].tolist(),
        "min_margin": _number(solution.min_margin),
        "smallest_active": _number(solution.smallest_active),
        "noise": math.sqrt(float(np.sum(problem.gradient_noise(solution.w)))),
        "relative_margin": None,
        "tightest": None,
        "tightest_name": None,
        "tightest_margin": None,
        "tightest_noise": None,
    }
    scale = np.asarray(solution.scale, dtype=float).reshape(-1)
    off = np.flatnonzero(np.isfinite(margin) & (scale > 0))
    if len(off):
        tightest = int(off[np.argmin(margin[off] / scale[off])])
        facts["tightest"] = tightest
        facts["tightest_name"] = None if solution.names is None else solution.name(tightest)
        facts["tightest_margin"] = float(margin[tightest])
        facts["relative_margin"] = float(margin[tightest] / scale[tightest])
        facts["tightest_noise"] = _atom_noise(problem, solution.w, tightest)
    return facts


def _atom_noise(problem: Problem, w: np.ndarray, atom: int) -> float | None:
    """Return the noise of one atom's coordinates, None where atoms have none of their own."""
    form = problem.separable
    if form is None:
        return None
    if form.atoms == "entries":
        return math.sqrt(float(problem.gradient_noise(w).reshape(-1)[atom]))
    return float(problem.atom_noise(w)[atom])


def _noun(problem: Problem) -> str:
    form = problem.separable
    if form is None:
        return "atoms"
    return "entries" if form.atoms == "entries" or len(form.lam) == len(form.labels) else "groups"


def _share(problem: Problem, lam: float | None) -> float | None:
    """Return lam / lambda_max, None where there is no lambda_max or it is 0: the solution is then zero at every lam."""
    try:
        top = 0.0 if lam is None else problem.lambda_max()
    except NotImplementedError:
        return None
    return lam / top if lam is not None and top > 0 else None


def _number(value: float) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
