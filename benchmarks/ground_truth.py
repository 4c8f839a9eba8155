"""Time to a certified solution beside skglm, celer, scikit-learn, cvxpy and FISTA, each with the accuracy it reached.

    python benchmarks/ground_truth.py [--full] [--repeats 3] [--out FOLDER]

Writes ground_truth.csv and ground_truth.md. Seconds are CPU seconds of this process, BLAS on one thread, best of the
repeats, compilation left out; the design is handed to every peer in the format it works on. The residual is the largest
relative distance of minus the gradient to the subdifferential, computed by this project's certificate from the
coefficients that a solver returned (of an interior point, which has no exact zeros, it says that no support is known);
excess is its objective above the lowest of the table. Memory is the growth of the process's peak.
"""

from __future__ import annotations

import argparse
import csv
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
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
COLUMNS = (
    *("problem", "rows", "columns", "nonzeros", "solver", "seconds", "ratio"),
    *("residual", "excess", "active", "MB", "note"),
)
PACKAGES = ("numpy", "scipy", "numba", "skglm", "celer", "scikit-learn", "cvxpy", "clarabel")


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


def row(name: str, problem: Problem, solver: str, seconds: float, memory: float, w: Array) -> Row:
    proof = certify(w, problem.gradient(w), problem.regularizer)
    stored = problem.X.nnz if sparse.issparse(problem.X) else problem.X.size
    return {
        "problem": name,
        "rows": problem.n,
        "columns": problem.n_features,
        "nonzeros": stored,
        "solver": solver,
        "seconds": round(seconds, 3),
        "ratio": 1.0,
        "residual": f"{proof.residual.max():.1e}",
        "excess": problem.value(w),
        "active": int((proof.codes > 0).sum()),
        "MB": round(memory),
        "note": "",
    }


def compare(name: str, problem: Problem, solvers: dict[str, Solver], repeats: int) -> list[Row]:
    """Return one row for each solver; ratio is its time over ours. What a peer refuses is said in its note."""
    by_columns(problem)
    problem.lipschitz()  # FISTA's step, before the clock starts
    small = Problem(problem.X[:200], problem.y[:200], regularizer=problem.penalty)
    small = small.with_lam(0.3 * small.lambda_max())
    found: list[Row] = []
    for label, solver in solvers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "did not converge": the residual says how far it came
            try:
                if solver is not witness:
                    solver(small)  # compiles
                found.append(row(name, problem, label, *timed(solver, problem, repeats)))
            except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
                text = {"problem": name, "solver": label, "note": f"refuses: {str(error).splitlines()[0][:120]}"}
                found.append(dict.fromkeys(COLUMNS, "") | text)
        if found[-1]["seconds"] != "":
            found[-1]["ratio"] = round(found[-1]["seconds"] / found[0]["seconds"], 2)
        print(*found[-1].values(), sep=", ", file=sys.stderr, flush=True)
    lowest = min(r["excess"] for r in found if r["excess"] != "")
    for r in found:
        r["excess"] = "" if r["excess"] == "" else f"{r['excess'] - lowest:.1e}"
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
    """Return our time while rows, columns or nonzeros of a row grow alone; the note has the log-log slope."""
    n, d = (50_000, 47_000) if full else (5_000, 10_000)
    sweeps = {
        "rows": [{"rows": n * k, "columns": d} for k in (1, 2, 4, 8)]
        + ([{"rows": 14 * n, "columns": d}] if full else []),
        "columns": [{"rows": n, "columns": d * k} for k in (1, 2, 4, 8)],
        "nonzeros of a row": [{"rows": n, "columns": d, "per_row": 18.0 * k} for k in (1, 2, 4, 8)],
    }
    found = []
    for axis, sizes in sweeps.items():
        part = []
        for size in sizes:
            problem = text_problem(**size, group=False, ratio=0.1)
            part.append(row(f"growth in {axis}", problem, "ours", *timed(ours, problem, repeats)))
            print(*part[-1].values(), sep=", ", file=sys.stderr, flush=True)
        x = [r["columns" if axis == "columns" else "nonzeros"] for r in part]
        slope = np.polyfit(np.log(x), np.log([r["seconds"] for r in part]), 1)[0]
        for r in part:
            r["excess"] = ""
        part[-1]["note"] = f"slope {slope:.2f} against {'columns' if axis == 'columns' else 'nonzeros'}"
        found += part
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="200 000 x 47 000 and cvxpy at 2000 x 1000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    table = rows(options.full, options.repeats)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "ground_truth.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(table)
    lines = [
        "# Time to a certified solution",
        "",
        f"`python benchmarks/ground_truth.py{' --full' if options.full else ''} --repeats {options.repeats}`; "
        f"{platform.machine()}, {', '.join(f'{name} {version(name)}' for name in PACKAGES)}. CPU seconds on one "
        "thread, best of the repeats; ratio is the time over ours; the residual of every row is computed by the same "
        "certificate.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + " --- |" * len(COLUMNS),
        *("| " + " | ".join(str(r[c]) for c in COLUMNS) + " |" for r in table),
    ]
    (options.out / "ground_truth.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
