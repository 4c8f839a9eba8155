"""The problem as a cvxpy model: a second, independent statement of it, and the witness of `solve`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from convex_bench.ground_truth.form import TINY, form_of
from convex_bench.problem import Problem

Array = np.ndarray
SOLVERS = ("CLARABEL", "SCS")


def cvxpy_solve(problem: Problem) -> tuple[Array, str]:
    """Return (w of the problem's shape without exact zeros, the name of the solver): Clarabel, or SCS where that fails.

    Raises
    ------
    ValueError
        If psi has no model here (nonconvex).
    RuntimeError
        If both solvers fail.
    """
    import cvxpy as cp  # takes a second to load, and only the witness needs it

    w = cp.Variable(problem.shape)
    penalty, constraints = _psi(cp, problem, w)
    model = cp.Problem(cp.Minimize(_loss(cp, problem, w) + penalty), constraints)
    reasons = []
    for solver in SOLVERS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "solution may be inaccurate": the certificate judges that
                model.solve(solver=solver)
        except (cp.error.SolverError, ArithmeticError, ValueError) as error:
            reasons.append(f"{solver}: {error}")
            continue
        if w.value is not None and np.isfinite(w.value).all():
            return np.asarray(w.value, dtype=np.float64).reshape(problem.shape), solver.title()
        reasons.append(f"{solver}: {model.status}")
    raise RuntimeError(f"cvxpy found no solution ({'; '.join(reasons)}): use solver='auto'")


def _loss(cp: Any, problem: Problem, w: Any) -> Any:
    X, y = problem.design.astype(np.float64), problem.y
    margins = X @ w
    if problem.loss.name == "logistic":
        return cp.sum(cp.logistic(-cp.multiply(y, margins))) / problem.n
    if problem.loss.name == "squared":
        return cp.sum_squares(margins - y) / (2 * problem.n)
    hot = (y[:, None] == np.arange(problem.n_outputs)).astype(float)
    return (cp.sum(cp.log_sum_exp(margins, axis=1)) - cp.sum(cp.multiply(hot, margins))) / problem.n


def _psi(cp: Any, problem: Problem, w: Any) -> tuple[Any, list[Any]]:
    """Return psi as an expression, and constraints."""
    form = form_of(problem)
    if form is not None:
        flat = w if w.ndim == 1 else cp.vec(w, order="C")
        total: Any = 0.0
        bounds = np.append(form.start[1:-1], form.size)
        groups = [g for g in np.split(form.members, form.start[1:-1])]
        assert len(groups) == len(bounds)
        singles = np.array([g[0] for g in groups if len(g) == 1], dtype=int)
        weights = np.array([lam * (lam > TINY) for lam, g in zip(form.lam, groups, strict=True) if len(g) == 1])
        if weights.any():
            total += weights @ cp.abs(flat[singles])
        for lam, g in zip(form.lam, groups, strict=True):
            if len(g) > 1 and lam > 0:
                total += lam * cp.norm2(flat[g])
        if form.l1.any():
            total += form.l1 @ cp.abs(flat)
        if form.ridge.any():
            total += 0.5 * cp.sum(cp.multiply(form.ridge, cp.square(flat)))
        signed = form.members[form.of(form.lam > 0)]
        return total, [flat[signed] >= 0] if form.nonnegative else []
    penalty: Any = problem.penalty
    x = w[: problem.n_features]
    name = type(penalty).__name__
    if name == "NuclearNorm":
        return penalty.lam * cp.normNuc(x), []
    if name == "TotalVariation":
        return penalty.lam * cp.norm1(cp.diff(x)) + penalty.l1 * cp.norm1(x), []
    if name in ("Box", "LInfBall"):
        return 0.0, [x >= penalty.lower, x <= penalty.upper]
    if name == "Simplex":
        return 0.0, [x >= 0, cp.sum(x) == penalty.radius]
    raise ValueError(f"regularizer={penalty!r} has no convex cvxpy model: use a convex regularizer")
