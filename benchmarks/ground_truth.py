"""Time to a certified solution beside skglm, celer, scikit-learn, cvxpy and FISTA, each with the accuracy it reached.

    python benchmarks/collect.py ground_truth [--full]

Seconds are CPU seconds of this process, BLAS on one thread, best of the
repeats, compilation left out; the design is handed to every peer in the format it works on. The residual is the largest
relative distance of minus the gradient to the subdifferential, computed by this project's certificate from the
coefficients that a solver returned (of an interior point, which has no exact zeros, it says that no support is known);
the objective is given above the lowest of the case. Memory is the growth of the process's peak.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sparse_problem import text_like
from threadpoolctl import threadpool_limits

from convex_bench import Problem, solve
from convex_bench.ground_truth.fista import fista
from convex_bench.ground_truth.model import cvxpy_solve
from manifold_id.certificate import certify
from manifold_id.regularizers import L1, GroupLasso

Array = np.ndarray
Solver = Callable[[Problem], Array]
Row = dict[str, Any]


def ours(problem: Problem) -> Array:
    return solve(problem).w


def skglm(tol: float) -> Solver:
    def run(problem: Problem) -> Array:
        from skglm import GeneralizedLinearEstimator
        from skglm.datafits import Logistic
        from skglm.penalties import L1 as Penalty
        from skglm.solvers import ProxNewton

        lam = problem.penalty.lam
        solver = ProxNewton(tol=tol * lam, fit_intercept=False, max_iter=50)
        return GeneralizedLinearEstimator(Logistic(), Penalty(lam), solver).fit(by_columns(problem), problem.y).coef_

    return run


def celer(tol: float) -> Solver:
    def run(problem: Problem) -> Array:
        from celer import LogisticRegression

        C = 1.0 / (problem.n * problem.penalty.lam)
        return LogisticRegression(C=C, tol=tol, fit_intercept=False).fit(by_columns(problem), problem.y).coef_

    return run


def sklearn(solver: str, tol: float, epochs: int) -> Solver:
    def run(problem: Problem) -> Array:
        from sklearn.linear_model import LogisticRegression

        C = 1.0 / (problem.n * problem.penalty.lam)
        model = LogisticRegression(C=C, l1_ratio=1.0, solver=solver, tol=tol, fit_intercept=False, max_iter=epochs)
        return model.fit(problem.X, problem.y).coef_

    return run


def accelerated(steps: int) -> Solver:
    return lambda problem: fista(problem, problem.null_model(), 1e-12, max_steps=steps)[0]


def witness(problem: Problem) -> Array:
    return cvxpy_solve(problem)[0]


_designs: dict[int, sparse.csc_matrix] = {}


def by_columns(problem: Problem) -> object:
    """Return X as peers want it, converted once, before the clock starts."""
    if not sparse.issparse(problem.X):
        return np.asfortranarray(problem.X)
    key = id(problem.X)
    if key not in _designs:
        _designs.clear()
        _designs[key] = sparse.csc_matrix(problem.X)
    return _designs[key]


def peak(reset: bool = False) -> float:
    """Return the process's peak resident memory in MB since the last reset; NaN where the system does not tell."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        text = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    return int(text.split("VmHWM:")[1].split()[0]) / 1e3


def timed(solver: Solver, problem: Problem, repeats: int) -> tuple[float, float, Array]:
    """Return (CPU seconds, growth of the peak memory in MB, w)."""
    best, w = float("inf"), problem.null_model()
    before = peak(reset=True)
    for _ in range(repeats):
        begin = time.process_time()
        w = solver(problem)
        best = min(best, time.process_time() - begin)
        if best > 2.0:
            break
    return best, peak() - before, np.asarray(w, dtype=np.float64).reshape(problem.shape)


def row(case: str, problem: Problem, solver: str, seconds: float, memory: float, w: Array) -> Row:
    """Return one row of the result; `compare` completes its note."""
    proof = certify(w, problem.gradient(w), problem.regularizer)
    stored = problem.X.nnz if sparse.issparse(problem.X) else problem.X.size
    return {
        "benchmark": "ground truth", "case": case, "system": solver, "rows": problem.n,
        "columns": problem.n_features, "nonzeros of a row": round(stored / problem.n),
        "quantity": "time to a solution", "value": round(seconds, 4), "unit": "s",
        "accuracy": f"{proof.residual.max():.1e}",
        "note": f"{int((proof.codes > 0).sum())} atoms active; {memory:.0f} MB",
    }  # fmt: skip


def compare(name: str, problem: Problem, solvers: dict[str, Solver], repeats: int) -> list[Row]:
    """Return one row for each solver; its note says its time over ours. What a peer refuses is left out."""
    by_columns(problem)
    problem.lipschitz()  # FISTA's step, before the clock starts
    small = Problem(problem.X[:200], problem.y[:200], regularizer=problem.penalty)
    small = small.with_lam(0.3 * small.lambda_max())
    found: list[Row] = []
    values: list[float] = []
    for label, solver in solvers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "did not converge": the accuracy says how far it came
            try:
                if solver is not witness:
                    solver(small)  # compiles
                seconds, memory, w = timed(solver, problem, repeats)
            except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
                print(f"{label} refuses {name}: {error}", file=sys.stderr)
                continue
        found.append(row(name, problem, label, seconds, memory, w))
        values.append(problem.value(w))
        print(*found[-1].values(), sep=", ", file=sys.stderr, flush=True)
    for r, value in zip(found, values, strict=True):
        r["note"] = f"{r['value'] / found[0]['value']:.2f} x ours; objective + {value - min(values):.1e}; {r['note']}"
    return found


def text_problem(rows: int, columns: int, group: bool, ratio: float, per_row: float = 72.0) -> Problem:
    X, y = text_like(rows, columns, per_row)
    problem = Problem(X, y, regularizer=GroupLasso(1.0, groups=10) if group else L1(1.0))
    return problem.with_lam(ratio * problem.lambda_max())


def dense_problem(rows: int, columns: int) -> Problem:
    random = np.random.default_rng(0)
    X = random.standard_normal((rows, columns))
    w = np.where(np.arange(columns) < 20, 1.0, 0.0)
    y = np.where(random.random(rows) < 1.0 / (1.0 + np.exp(-X @ w)), 1.0, -1.0)
    problem = Problem(X, y, regularizer=L1(1.0))
    return problem.with_lam(0.1 * problem.lambda_max())


def growth(full: bool, repeats: int) -> list[Row]:
    """Return our time while rows, columns or nonzeros of a row grow alone."""
    n, d = (50_000, 47_000) if full else (5_000, 10_000)
    sweeps = {
        "rows": [{"rows": n * k, "columns": d} for k in (1, 2, 4, 8)]
        + ([{"rows": 14 * n, "columns": d}] if full else []),
        "columns": [{"rows": n, "columns": d * k} for k in (1, 2, 4, 8)],
        "nonzeros of a row": [{"rows": n, "columns": d, "per_row": 18.0 * k} for k in (1, 2, 4, 8)],
    }
    found = []
    for axis, sizes in sweeps.items():
        for size in sizes:
            problem = text_problem(**size, group=False, ratio=0.1)
            made = row(f"growth in {axis}", problem, "ours", *timed(ours, problem, repeats))
            # a row's nonzeros are a random number: what was asked for, so that only one size changes
            found.append(made | {"nonzeros of a row": size.get("per_row", 72.0)})
            print(*found[-1].values(), sep=", ", file=sys.stderr, flush=True)
    return found


def rows(full: bool = False, repeats: int = 3) -> list[Row]:
    """Return the whole table; the small one takes about two minutes, the full one about half an hour."""
    n, d = (200_000, 47_000) if full else (10_000, 10_000)
    l1: dict[str, Solver] = {
        "ours": ours,
        "skglm ProxNewton, tol 1e-13": skglm(1e-13),
        "skglm ProxNewton, tol 1e-9": skglm(1e-9),
        "celer, tol 1e-10": celer(1e-10),
        "scikit-learn liblinear": sklearn("liblinear", 1e-8, 1000),
        "scikit-learn saga, 100 epochs": sklearn("saga", 1e-10, 100),
        "FISTA, 1000 steps": accelerated(1000),
    }
    groups: dict[str, Solver] = {"ours": ours, "FISTA, 2000 steps": accelerated(2000)}
    small: dict[str, Solver] = {
        "ours": ours,
        "cvxpy (Clarabel)": witness,
        "skglm ProxNewton, tol 1e-13": skglm(1e-13),
        "celer, tol 1e-10": celer(1e-10),
        "scikit-learn liblinear": sklearn("liblinear", 1e-8, 1000),
        "FISTA, 5000 steps": accelerated(5000),
    }
    with threadpool_limits(1):
        found = compare(
            "dense l1, lam_max / 10", dense_problem(*((2000, 1000) if full else (500, 250))), small, repeats
        )
        found += compare("sparse l1, lam_max / 10", text_problem(n, d, False, 0.1), l1, repeats)
        found += compare("sparse groups of 10, lam_max / 10", text_problem(n, d, True, 0.1), groups, repeats)
        few = {name: l1[name] for name in ("ours", "scikit-learn liblinear")}  # skglm: minutes with this much active
        found += compare("sparse l1, lam_max / 100", text_problem(n, d, False, 0.01), few, repeats)
        found += compare("sparse groups of 10, lam_max / 100", text_problem(n, d, True, 0.01), {"ours": ours}, repeats)
        return found + growth(full, repeats)
