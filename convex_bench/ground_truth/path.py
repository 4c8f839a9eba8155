"""The regularization path: certified solutions for falling lam, each started from the one before."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from convex_bench.ground_truth import Solution
from convex_bench.ground_truth.driver import solve_checked
from convex_bench.ground_truth.form import form_of
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.threads import one_thread
from convex_bench.problem import Problem
from convex_bench.storage import Entry, Store
from manifold_id.certificate import STATIONARY
from manifold_id.validation import integer, real

Array = np.ndarray
MOST = 1_000_000  # solutions of a path
NAME = "path"  # of its files
MEASURED = "seconds"  # the field that differs when it is computed again


@dataclass(frozen=True, eq=False)
class RegularizationPath:
    """Certified solutions at falling lam; every array has one entry for each of them.

    Attributes
    ----------
    lam, ratio : the strength, and lam / lambda_max.
    active : number of active atoms.
    margin : smallest margin relative to its scale, +inf where no atom is off.
    smallest_active : smallest norm of an active penalized atom, +inf where none is.
    value, gap : F(w) and the duality gap; +inf where none is known.
    residual : largest relative residual.
    status : "certified", "degenerate", "unattained" or "failed", see `Solution`.
    seconds, iterations : wall time and Newton (or prox-gradient) steps from the warm start.
    coefficients : (count, *shape) float64, w with the intercept, where there is one, as its last row.
    """

    lam: Array
    ratio: Array
    active: Array
    margin: Array
    smallest_active: Array
    value: Array
    gap: Array
    residual: Array
    status: Array
    seconds: Array
    iterations: Array
    coefficients: Array

    def __len__(self) -> int:
        return len(self.lam)

    def frame(self) -> pd.DataFrame:
        """Return one row for each lam, without the coefficients."""
        return pd.DataFrame({f.name: getattr(self, f.name) for f in fields(self) if f.name != "coefficients"})

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write everything to path.npz of a folder and return its path; beside it the frame as path.parquet.

        Both are the same bytes at every repetition: seconds lie in path.measured. path.json has their sha256.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != MEASURED}
        files = {
            "npz": lambda part: np.savez_compressed(part, allow_pickle=False, **arrays),
            "parquet": self.frame().drop(columns=MEASURED).to_parquet,
        }
        store = Store(target)
        store.save([Entry(NAME, {}, files, {MEASURED: self.seconds})])
        return store.path(NAME, "npz")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Return what `save` wrote to a folder.

        Raises
        ------
        FileNotFoundError
            If there is no path.
        StoredFileError
            If a file is missing or damaged; it names the file.
        """
        store = Store(Path(folder))
        if NAME not in store:
            raise FileNotFoundError(f"{os.fspath(folder)!r} holds no path.json: name the folder of a path")
        record = store.load(NAME, thorough=False)
        with np.load(io.BytesIO(store.read(record, "npz")), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return cls(**arrays, seconds=np.array(record["measured"][MEASURED]))


def regularization_path(
    problem: Problem,
    ratios: Sequence[float] | None = None,
    *,
    count: int = 50,
    min_ratio: float = 0.01,
    tol: float = STATIONARY,
) -> RegularizationPath:
    """Return the certified solutions at lam = ratio * lambda_max for each ratio, largest first.

    Parameters
    ----------
    problem : with a convex psi that has a strength lam and a lambda_max; its own lam does not matter.
    ratios : distinct, in (0, 1]. By default `count` of them, geometrically spaced from just below 1 to `min_ratio`.
    tol : the largest relative residual that is certified, at most 1e-12.

    Raises
    ------
    TypeError, ValueError
        If the problem is not one, psi is not convex or has no lam or no lambda_max, or a number is out of its range.

    Notes
    -----
    The solutions are those that `solve` returns from any other start, up to their certificate. Gap-Safe screening is
    left out: with 50 lam from lambda_max to lambda_max / 100 on sparse text-like data the gap at the warm start
    excludes nearly all columns while few are active and the solve is cheap anyway, and fewer than 1 % at the dense end,
    where the time goes; and the working set already leaves out what is off.
    """
    grid = check_ratios(ratios, count, min_ratio)
    top = check_path(problem, tol)
    solutions = walk(problem, grid * top, tol)
    return collect([path_row(top * ratio, ratio, solution) for ratio, solution in zip(grid, solutions, strict=True)])


def check_ratios(ratios: Sequence[float] | None, count: int, min_ratio: float) -> Array:
    """Return the ratios in falling order; raises TypeError or ValueError where they are none."""
    if ratios is None:
        count, low = integer("count", count, 1, MOST), real("min_ratio", min_ratio, 0.0, open_low=True)
        if low >= 1.0:
            raise ValueError(f"min_ratio={low:g} must be below 1: the solution is zero from lam = lambda_max on")
        return low ** (np.arange(1, count + 1) / count)
    if not np.iterable(ratios) or isinstance(ratios, str):
        raise TypeError(f"ratios={ratios!r} must be a list of numbers in (0, 1], such as [0.5, 0.1]")
    given = [real("ratios", ratio, 0.0, 1.0, open_low=True) for ratio in ratios]
    if not given or len(set(given)) < len(given):
        raise ValueError(f"ratios={given} must be distinct and at least one")
    return np.sort(given)[::-1]


def check_path(problem: Any, tol: float) -> float:
    """Return lambda_max; raises TypeError or ValueError where the problem has no path of certified solutions."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem={problem!r} must be a convex_bench.Problem")
    real("tol", tol, 0.0, STATIONARY, open_low=True)
    penalty = problem.penalty
    if not penalty.convex:
        raise ValueError(f"regularizer={penalty!r} is not convex: its solutions have no certificate, use a convex one")
    try:
        if not hasattr(penalty, "lam"):
            raise NotImplementedError
        top = problem.lambda_max()
    except NotImplementedError:
        raise ValueError(f"regularizer={penalty!r} has no lam with a lambda_max, so it has no path") from None
    if not 0.0 < top < np.inf:
        raise ValueError(f"lambda_max={top:g}: the null model is the solution for every lam > 0, there is no path")
    return top


def walk(problem: Problem, lams: Array, tol: float, start: Array | None = None) -> Iterator[Solution]:
    """Yield the solution at each lam, started from the one before; what depends on the data alone is made once."""
    smooth = Smooth(problem) if form_of(problem) is not None else None
    for lam in lams:
        with one_thread(problem.n * problem.n_features, issparse(problem.X)):
            solution = solve_checked(problem.with_lam(float(lam)), "auto", tol, start, smooth)
        yield solution
        start = solution.w


def path_row(lam: float, ratio: float, solution: Solution) -> dict[str, Any]:
    """Return one entry of each of the arrays of a RegularizationPath."""
    return {
        "lam": float(lam),
        "ratio": float(ratio),
        "active": solution.active,
        "margin": solution.relative_margin,
        "smallest_active": solution.smallest_active,
        "value": solution.value,
        "gap": solution.gap,
        "residual": float(solution.residual.max(initial=0.0)),
        "status": solution.status,
        "seconds": solution.seconds,
        "iterations": solution.iterations,
        "coefficients": solution.w,
    }


def collect(rows: Sequence[dict[str, Any]]) -> RegularizationPath:
    """Return the path of these rows."""
    return RegularizationPath(**{f.name: np.array([row[f.name] for row in rows]) for f in fields(RegularizationPath)})
