"""What `manifold-id solve` prints: the problem and its certified solution, as text or as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from scipy import sparse

from convex_bench.ground_truth import Solution
from convex_bench.ground_truth.solution_facts import solution_facts
from convex_bench.problem import Problem
from manifold_id.sealed import plain


def solution_text(data: str, problem: Problem, solution: Solution) -> str:
    """Return a table of two columns: the problem, the Solution record, and the noise at the solution."""
    facts = solution_facts(problem, solution)
    kind = f"CSR, {problem.X.nnz:,} nonzeros" if sparse.issparse(problem.X) else "dense"
    rows = [
        ("data", f"{data}: {problem.n:,} rows, {problem.n_features:,} columns, {kind}"),
        ("loss", problem.loss.name + (", with intercept" if problem.intercept else "")),
        ("penalty", facts["penalty"] + _strength(facts)),
    ]
    name = "" if facts["tightest_name"] is None else f" ({facts['tightest_name']})"
    noise = f"{facts['noise']:.3g}, of the atom with the smallest margin{name} {_shown(facts['tightest_noise'])}"
    head = "\n".join(f"{name:<26}{text}" for name, text in rows)
    return f"{head}\n{solution}\n{'noise of a row gradient':<26}{noise}"


def solution_json(problem: Problem, solution: Solution) -> str:
    """Return the facts and the whole Solution record as JSON; infinity and NaN are null."""
    record: dict[str, Any] = solution_facts(problem, solution)
    for name in ("status", "value", "gap", "curvature", "lipschitz", "solver", "method", "seconds", "iterations"):
        record[name] = getattr(solution, name)
    record["max_residual"] = float(solution.residual.max(initial=0.0))
    for name in ("residual", "margin", "codes", "w"):
        record[name] = np.asarray(getattr(solution, name))
    record["names"] = None if solution.names is None else solution.names.tolist()
    return json.dumps(plain(record), indent=1, allow_nan=False)


def _strength(facts: dict[str, Any]) -> str:
    if facts["lam"] is None:
        return ""
    share = "" if facts["lam_ratio"] is None else f" = {facts['lam_ratio']:.4g} lambda_max"
    return f", lam = {facts['lam']:.6g}{share}"


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
