"""Runs for the two certificates: proximal gradient on planted problems, the solution from the solver."""

from __future__ import annotations

import numpy as np

from convex_bench.ground_truth import gap_safe_off, solve
from convex_bench.problem import Problem
from convex_bench.problem.planting import planted
from convex_bench.theorems.check import Check, Size
from manifold_id.theory.base import Verdict
from manifold_id.theory.certificates import CERTIFICATES, certificates
from manifold_id.theory.combine import all_fail, all_hold

Array = np.ndarray


ROUNDING = (
    1e-12  # added to the radius: at the solution itself |grad_i f| = lam_i to rounding, and the step is exactly 0
)


def _points(problem: Problem, hessian: Array, lipschitz: float, count: int = 25) -> list[Array]:
    """Return points of proximal gradient, with more and more steps between them."""
    w, points, linear = np.zeros(problem.shape), [], problem.gradient(np.zeros(problem.shape))
    for k in range(count):
        for _ in range(2 + k * k // 4):
            w = problem.regularizer.prox(w - (hessian @ w + linear) / lipschitz, 1 / lipschitz)
        points.append(w)
    return points


def run(problem: Problem, w: Array) -> Verdict:
    """Compare the certificates along proximal gradient with the nonzero groups of w."""
    hessian = problem.X.T @ problem.X / problem.n
    mu, L = np.linalg.eigvalsh(hessian)[[0, -1]]
    psi, form = problem.regularizer, problem.separable
    assert form is not None
    norms = lambda v: np.sqrt(np.bincount(form.labels, weights=v * v))  # noqa: E731
    rows = []
    for point in _points(problem, hessian, L):
        after = psi.prox(point - problem.gradient(point) / L, 1 / L)
        radius = L / mu * np.linalg.norm(point - after) + ROUNDING
        zero = norms(problem.gradient(after)) + L * radius < form.lam
        rows.append((zero, norms(after) > radius, gap_safe_off(problem, after, slack=1e-15)))
    zero, nonzero, gap = (np.array(a) for a in zip(*rows, strict=True))
    return certificates(zero, nonzero, gap, norms(w) > 0, curvature=float(mu))


def _instances(size: Size, seed: int) -> list[tuple[str, Problem]]:
    count = 3 * size.factor
    return [
        (
            f"groups of {group}, {i}",
            planted(n=120, groups=15, group_size=group, active=3, loss="squared", seed=100 * seed + i).problem,
        )
        for group in (1, 3)
        for i in range(count)
    ]


def check(size: Size, seed: int) -> Verdict:
    """Compare with the certified solution."""
    return all_hold(*((name, run(problem, solve(problem).w)) for name, problem in _instances(size, seed)))


def control(size: Size, seed: int) -> Verdict:
    """Compare with the solution perturbed by 1e-3."""
    rng = np.random.default_rng(seed)
    return all_fail(
        *(
            (name, run(problem, solve(problem).w + 1e-3 * rng.standard_normal(problem.shape)))
            for name, problem in _instances(size, seed)[:2]
        )
    )


CHECK = Check(CERTIFICATES, check, control)
