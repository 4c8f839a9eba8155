"""Cyclic coordinate descent identifies in finitely many passes, and then has the rate of Gauss-Seidel on the "
"support."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convex_bench.ground_truth import solve
from convex_bench.problem import Problem
from convex_bench.problem.planting import planted
from convex_bench.theorems.check import Check, Size
from manifold_id.regularizers import L1
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.intervals import every
from manifold_id.theory.power import of_interval

Array = np.ndarray

COORDINATE_DESCENT = Theorem(
    name="coordinate-descent",
    title="Cyclic coordinate descent identifies, then converges at the spectral radius of Gauss-Seidel on the support",
    statement="Lasso with a nondegenerate unique solution, H = X^T X / n, S its support: after finitely many passes "
    "the support is S, and from then on w_S - w*_S is multiplied by M = I - (D + L)^{-1} H_SS in every pass, D + L "
    "the lower triangle of H_SS, so that |w - w*| falls at the rate rho(M) < 1.",
    latex=r"w_S\leftarrow w^*_S+\big(I-(D+L)^{-1}H_{SS}\big)(w_S-w^*_S),\qquad\lim|w_k-w^*|^{1/k}=\rho\big(I-(D+L)^{-1}"
    r"H_{SS}\big)",
    source="Klopfenstein, Bertrand, Gramfort, Salmon and Vaiter, arXiv 2010.11825, for coordinate descent; for the "
    "lasso derived in a line: with fixed signs the pass is Gauss-Seidel on H_SS w_S = b_S.",
    measured="Planted lasso problems with correlated columns, random starts. The last pass with a wrong support; the "
    "slope of log |w_k - w*| over the last half of the passes from there to 1e-12 against log rho(M), within 2 %; and "
    "single passes after identification against M, to 1e-9.",
    control="Two equal active columns: H_SS is singular and rho(M) = 1, while the passes still converge, to one of "
    "many solutions, at another rate.",
)

TOLERANCE, FLOOR, PASS = 0.02, 1e-12, 1e-9


@dataclass(frozen=True, eq=False)
class Passes:
    """The points after every pass, (passes, p), their limit, and the pass from which the support is the limit's."""

    points: Array
    limit: Array
    settled: int


def descend(problem: Problem, start: Array, passes: int) -> Passes:
    """Run cyclic coordinate descent; the limit is the point after twice as many passes."""
    H, c = problem.hessian(np.zeros(problem.shape)), problem.gradient(np.zeros(problem.shape))
    lam = problem.penalty.lam  # type: ignore[attr-defined]
    psi, w, points = L1(lam), start.copy(), []
    diagonal = np.diag(H)
    for _ in range(2 * passes):
        points.append(w.copy())
        for j in range(len(w)):
            v = w[j] - (H[j] @ w + c[j]) / diagonal[j]
            w[j] = psi.prox(np.array([v]), 1 / diagonal[j])[0]
    wrong = ((np.array(points[:passes]) != 0) != (w != 0)).any(axis=1)
    settled = passes - int(wrong[::-1].argmax()) if wrong.any() else 0
    return Passes(np.array(points[:passes]), w, settled)


def gauss_seidel(problem: Problem, support: Array) -> Array:
    """Return M on the support."""
    H = problem.hessian(np.zeros(problem.shape))[np.ix_(support, support)]
    return np.eye(len(support)) - np.linalg.solve(np.tril(H), H)


def rate(found: Passes, M: Array, support: Array, margin: float, *, control: bool = False) -> Verdict:
    """Return the verdict on the passes after identification; a `control` breaks rho(M) < 1."""
    distance = np.linalg.norm(found.points - found.limit, axis=1)
    stop = int((distance > FLOOR).sum())
    window = np.arange(found.settled + (stop - found.settled) // 2, stop)
    values, vectors = np.linalg.eig(M.T)
    slowest = int(np.abs(values).argmax())
    rho = float(np.abs(values[slowest]))
    e = (found.points - found.limit)[:, support]
    # of a complex pair the distance oscillates; the component along its left eigenvector does not
    size = np.abs(e @ vectors[:, slowest]) if rho < 1 - 1e-9 else distance
    enough = Assumption("passes fitted", len(window), len(window) >= 10)
    positive = Assumption("margin", margin, margin > 0)
    regular = Assumption("rho(M)", rho, rho < 1 - 1e-9, "below 1: H_SS is regular", broken=control)
    if not enough.met:
        return decide(None, (enough, positive, regular), "too few passes", "log rate within 2 %", np.nan)
    slope = float(np.polyfit(window, np.log(size[window]), 1)[0])
    stated = float(np.log(rho))
    error = abs(slope - stated) / max(abs(stated), 1e-3)  # where rho = 1, any rate that differs by 1e-3
    near = np.arange(found.settled, stop - 1)
    slips = np.linalg.norm(e[near + 1] - e[near] @ M.T, axis=1) / np.linalg.norm(e[near], axis=1)
    slip = float(slips[distance[near] > 1e-4].max(initial=0.0))
    k = np.arange(stop, dtype=float)
    curves = (
        Curve("coordinate descent", k, size[:stop]),
        Curve("predicted rate", k, size[window[0]] * rho ** (k - window[0])),
    )
    return decide(
        every(error <= TOLERANCE, slip <= PASS),
        (enough, positive, regular),
        f"rate {np.exp(slope):.6f} observed, {rho:.6f} predicted (log rates differ by {error:.1%}), a pass off by "
        f"{slip:.1e}; support right from pass {found.settled} on",
        f"log rate within 2 %, passes to {PASS:g}",
        error,
        seeds=1,
        samples=len(window),
        evidence=(Evidence("Slowest component of w - w*", "pass", "|slowest component|", curves, yscale="log"),),
        figures={"identified from pass": float(found.settled)},
        power=(of_interval("log rate", stated, (slope, slope), factor=-TOLERANCE),) if stated < 0 else (),
    )


def _instance(seed: int) -> Problem:
    return planted(
        n=60, groups=20, group_size=1, active=8, margin=0.2, loss="squared", noise=0.3, correlation=0.9, seed=seed
    ).problem


def run(problem: Problem, seed: int, passes: int = 500) -> Verdict:
    """Judge one problem from a random start with a large component along the slowest eigenvector of M."""
    solution = solve(problem)
    support = np.flatnonzero(solution.w)
    M = gauss_seidel(problem, support)
    values, vectors = np.linalg.eig(M)
    start = np.random.default_rng(seed).standard_normal(problem.shape)
    start[support] += 10 * vectors[:, np.abs(values).argmax()].real
    return rate(descend(problem, start, passes), M, support, solution.min_margin)


def twins(problem: Problem, seed: int, passes: int = 500) -> Verdict:
    """Judge a problem whose first active column occurs twice, from near a solution that has both copies."""
    solution = solve(problem)
    star = solution.w
    first = int(np.flatnonzero(star)[0])
    X = np.hstack([problem.X, problem.X[:, [first]]])
    twice = Problem(X, problem.y, "squared", L1(problem.penalty.lam))  # type: ignore[attr-defined]
    start = np.append(star, star[first] / 2)
    start[first] /= 2
    start += 0.05 * np.abs(star[first]) * np.random.default_rng(seed).standard_normal(len(start)) * (start != 0)
    found = descend(twice, start, passes)
    support = np.flatnonzero(found.limit)
    return rate(found, gauss_seidel(twice, support), support, solution.min_margin, control=True)


def check(size: Size, seed: int) -> Verdict:
    """Judge three problems."""
    seeds = range(100 * seed, 100 * seed + 3 * size.factor)
    return all_hold(*((f"problem {i}", run(_instance(s), s)) for i, s in enumerate(seeds)))


def control(size: Size, seed: int) -> Verdict:
    """Double an active column."""
    seeds = range(100 * seed, 100 * seed + 3 * size.factor)
    return all_fail(*((f"two equal columns, {i}", twins(_instance(s), s)) for i, s in enumerate(seeds)))


CHECK = Check(COORDINATE_DESCENT, check, control, "cyclic coordinate descent on planted lasso problems")
