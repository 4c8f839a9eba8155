"""Runs for the local linear rate, on planted lasso problems."""

from __future__ import annotations

import numpy as np

from convex_bench.engine import run as run_engine
from convex_bench.ground_truth import solve
from convex_bench.problem import Problem
from convex_bench.problem.planting import planted
from convex_bench.theorems.check import Check, Size
from manifold_id.methods import FISTA, ProxGradient, ProxSAGA, ProxSVRG
from manifold_id.methods.base import Method
from manifold_id.regularizers import L1
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.local_rate import (
    LOCAL_RATE,
    last_half,
    local_rate,
    oscillation,
    svrg_factor,
    within_bound,
)
from manifold_id.theory.structure_record import LastErrors, last_true

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


def _slowest(problem: Problem) -> tuple[float, Array]:
    """Return rho of forward-backward with step 1/L at the solution, and its eigenvector, (p,), zero off the support."""
    star, vector = solve(problem).w, np.zeros(problem.shape)
    active = np.flatnonzero(star)
    eigen, vectors = np.linalg.eigh(problem.hessian(star, active))
    vector[active] = vectors[:, 0]
    return float(1 - eigen[0] / problem.lipschitz()), vector


def _plain(problem: Problem, starts: Array, steps: int = 1500) -> tuple[Array, LastErrors, tuple[int, int]]:
    """Return (distance, last points with wrong structure, window of the fit) of forward-backward.

    Of the starts the slowest one is returned, as the rate is an upper limit.
    """
    method = ProxGradient(1 / problem.lipschitz())
    points = _trajectory(problem, method, steps, starts)
    ends = _trajectory(problem, method, 2 * steps, points[-1])[-1]
    distances = np.linalg.norm(points - ends, axis=2)
    slowest = int((distances > FLOOR).sum(axis=0).argmax())
    stop = int((distances[:, slowest] > FLOOR).sum())
    active, star = points[:, slowest] != 0, ends[slowest] != 0
    last = LastErrors(*(last_true(wrong.any(axis=1)[:, None]) for wrong in (active & ~star, ~active & star)))
    return distances[:, slowest], last, last_half(_settled(points[:, slowest], ends[slowest]), stop)


def _random_starts(problem: Problem, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((10, *problem.shape))


def _forward_backward(problem: Problem, seed: int) -> Verdict:
    """Judge starts with a large component along the slowest eigenvector: without one they would be faster than rho."""
    rho, vector = _slowest(problem)
    distance, last, window = _plain(problem, _random_starts(problem, seed) + 10 * vector)
    return local_rate(distance, window, rho, last)


def _twins(problem: Problem, seed: int) -> Verdict:
    """Judge a problem whose first active column occurs twice, both copies started alike: they stay equal."""
    active = int(np.flatnonzero(solve(problem).w)[0])
    X = np.hstack([problem.X, problem.X[:, [active]]])
    twice = Problem(X, problem.y, "squared", L1(problem.penalty.lam))  # type: ignore[attr-defined]
    starts = _random_starts(twice, seed)
    starts[:, -1] = starts[:, active]
    distance, last, window = _plain(twice, starts)
    return local_rate(distance, window, 1.0, last)


def _fista(problem: Problem, steps: int = 3000) -> Verdict:
    """Judge FISTA and forward-backward from zero."""
    step, zero = 1 / problem.lipschitz(), np.zeros((1, *problem.shape))
    plain = _trajectory(problem, ProxGradient(step), steps, zero)[:, 0]
    fast = _trajectory(problem, FISTA(step), steps, zero)[:, 0]
    star, (rho, vector) = plain[-1], _slowest(problem)
    near, far = (int(np.flatnonzero(np.linalg.norm(x - star, axis=1) > FLOOR)[-1]) + 1 for x in (plain, fast))
    return oscillation((fast - star)[_settled(fast, star) : far] @ vector, rho, (far, near))


def _far(problem: Problem, seed: int, steps: int = 600) -> Verdict:
    """Judge forward-backward from afar, on the steps with more active coordinates than rows."""
    start = 100 * _random_starts(problem, seed)[:1]
    points = _trajectory(problem, ProxGradient(1 / problem.lipschitz()), steps, start)[:, 0]
    many = (points != 0).sum(axis=1) > problem.n
    stop = steps if many.all() else int(np.argmin(many))
    return local_rate(np.linalg.norm(points - solve(problem).w, axis=1), last_half(0, stop), _slowest(problem)[0])


def _bounded(problem: Problem, method: Method, every: int, marks: int, unit: int, bound: float) -> Verdict:
    """Judge a stochastic method's distances at `marks` multiples of `every` steps, counted in units of steps."""
    solution, at = solve(problem), np.arange(1, marks + 1) * every
    runs = run_engine(problem, method, range(8), int(at[-1]), reference=solution, checkpoints=at)
    distances = np.array([r.curves["distance"] for r in runs]).T
    keep = (distances > FLOOR).all(axis=1) & (at > max(r.trace.settled_at(solution.codes) or 0 for r in runs))
    return within_bound(at[keep] / unit, distances[keep], bound)


def _variance_reduced(problem: Problem) -> tuple[tuple[str, Verdict], ...]:
    """Judge SAGA a step, and prox-SVRG an epoch: with g = 1/(20 L) and P = 50 L / lam_min its factor is 3/4."""
    L, curvature = float(problem.row_lipschitz().max()), (1 - _slowest(problem)[0]) * problem.lipschitz()
    saga = float(np.sqrt(1 - min(1 / (4 * problem.n), curvature / (3 * L))))
    step, epoch = 0.05 / L, int(np.ceil(50 * L / curvature))
    svrg = float(np.sqrt(svrg_factor(L, curvature, step, epoch)))  # of the distance
    return (
        ("SAGA", _bounded(problem, ProxSAGA(), 4000, 12, 1, saga)),
        ("SVRG, an epoch", _bounded(problem, ProxSVRG(step, epoch=epoch), epoch, 9, epoch, svrg)),
    )


def check(size: Size, seed: int) -> Verdict:
    """Test forward-backward on three problems, FISTA, SAGA and SVRG on one."""
    seeds, first = range(100 * seed, 100 * seed + 3 * size.factor), _instance(100 * seed)
    parts = ((f"forward-backward {i}", _forward_backward(_instance(s), s)) for i, s in enumerate(seeds))
    return all_hold(*parts, ("FISTA", _fista(first)), *_variance_reduced(first))


def control(size: Size, seed: int) -> Verdict:
    """Compare before identification, and with two equal active columns."""
    problem = _instance(100 * seed)
    return all_fail(("before identification", _far(problem, seed)), ("two equal columns", _twins(problem, seed)))


CHECK = Check(LOCAL_RATE, check, control)
