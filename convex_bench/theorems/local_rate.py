"""Runs for the local linear rate, on planted lasso problems."""

from __future__ import annotations

import numpy as np

from convex_bench.engine import run as run_engine
from convex_bench.ground_truth import solve
from convex_bench.planting import planted
from convex_bench.problem import Problem
from convex_bench.theorems.check import Check, Size
from manifold_id.methods import FISTA, ProxGradient, ProxSAGA
from manifold_id.regularizers import L1
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.local_rate import LOCAL_RATE, local_rate, oscillates, within_bound

Array = np.ndarray
FLOOR = 1e-12


class _Gram:
    """The exact gradient H w + c of a squared loss, for a batch of points."""

    def __init__(self, problem: Problem) -> None:
        self.hessian = problem.X.T @ problem.X / problem.n
        self._linear = problem.gradient(np.zeros(problem.shape))

    def full(self, w: Array) -> Array:
        return w @ self.hessian + self._linear


def _trajectory(problem: Problem, method: ProxGradient, steps: int, starts: Array) -> Array:
    """Return the points of every start, (steps, starts, p)."""
    state, points, oracle = method.init(starts), [], _Gram(problem)
    for _ in range(steps):
        points.append(state.w)
        state = method.update(oracle, state, problem.regularizer)  # type: ignore[arg-type]
    return np.array(points)


def _settled(points: Array, star: Array) -> int:
    """Return the first step from which the support is that of `star`."""
    wrong = ((points != 0) != (star != 0)).any(axis=1)
    return len(wrong) - int(wrong[::-1].argmax()) if wrong.any() else 0


def _instance(seed: int) -> Problem:
    return planted(
        n=60, groups=80, group_size=1, active=8, margin=0.1, loss="squared", noise=0.3, correlation=0.5, seed=seed
    ).problem


def _plain(problem: Problem, seed: int, twin: int | None = None, steps: int = 1500) -> tuple[Array, float, int, int]:
    """Return (distance, rho, identified at, where the distance falls below the floor) of forward-backward.

    Of ten random starts the slowest one is returned, as the rate is an upper limit: a start without a component
    along the slowest eigenvector is faster. The last column starts like the column `twin`, and stays equal if it is.
    """
    L = problem.lipschitz()
    method, starts = ProxGradient(1 / L), np.random.default_rng(seed).standard_normal((10, *problem.shape))
    if twin is not None:
        starts[:, -1] = starts[:, twin]
    points = _trajectory(problem, method, steps, starts)
    ends = _trajectory(problem, method, 2 * steps, points[-1])[-1]
    distances = np.linalg.norm(points - ends, axis=2)
    slowest = int((distances > FLOOR).sum(axis=0).argmax())
    star = ends[slowest]
    eigen = np.linalg.eigvalsh(problem.hessian(star, np.flatnonzero(star)))
    stop = int((distances[:, slowest] > FLOOR).sum())
    rho = float(max(abs(1 - eigen[0] / L), abs(1 - eigen[-1] / L)))
    return distances[:, slowest], rho, _settled(points[:, slowest], star), stop


def check(size: Size, seed: int) -> Verdict:
    """Test forward-backward on three problems, FISTA and SAGA on one."""
    parts = []
    for i in range(3 * size.factor):
        problem = _instance(100 * seed + i)
        distance, rho, start, stop = _plain(problem, 100 * seed + i)
        parts.append((f"forward-backward {i}", local_rate(distance, start, stop, rho)))
        if i == 0:
            star = solve(problem).w
            fast = _trajectory(problem, FISTA(1 / problem.lipschitz()), 1500, np.zeros((1, *problem.shape)))[:, 0]
            d = np.linalg.norm(fast[_settled(fast, star) :] - star, axis=1)
            parts.append(("FISTA", oscillates(d[d > FLOOR], distance[start:stop])))
    problem = _instance(100 * seed)
    solution = solve(problem)
    marks = np.arange(1, 13) * 4000
    runs = run_engine(problem, ProxSAGA(), range(8), int(marks[-1]), reference=solution, checkpoints=marks)
    distances = np.array([r.curves["distance"] for r in runs]).T
    keep = (distances > FLOOR).all(axis=1) & (marks > max(r.trace.settled_at(solution.codes) or 0 for r in runs))
    eigen = np.linalg.eigvalsh(problem.hessian(solution.w, np.flatnonzero(solution.w)))
    bound = np.sqrt(1 - min(1 / (4 * problem.n), eigen[0] / (3 * problem.row_lipschitz().max())))
    return all_hold(*parts, ("SAGA", within_bound(marks[keep], distances[keep], float(bound))))


def control(size: Size, seed: int) -> Verdict:
    """Compare before identification, and with two equal active columns."""
    problem = _instance(100 * seed)
    distance, rho, start, _ = _plain(problem, seed)
    parts = [("before identification", local_rate(distance, 0, start, rho))]
    active = int(np.flatnonzero(solve(problem).w)[0])
    X = np.hstack([problem.X, problem.X[:, [active]]])
    twice = Problem(X, problem.y, "squared", L1(problem.penalty.lam))  # type: ignore[attr-defined]
    distance, rho, start, stop = _plain(twice, seed, active)
    return all_fail(*parts, ("two equal columns", local_rate(distance, start, stop, min(rho, 1.0))))


CHECK = Check(LOCAL_RATE, check, control)
