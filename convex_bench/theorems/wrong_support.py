"""Runs for RDA's wrong support and for RDA+, with gradient steps and with reduced Newton as local phase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.rows import Rows, logistic
from convex_bench.theorems.synthetic import Noise, Quadratic, gaussian, states
from manifold_id.methods import RDA
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.wrong_support import WRONG_SUPPORT, Switches, falling, linear, newton, returns, switches

Array = np.ndarray
Local = Callable[[Any, Array], tuple[bool, Array]]  # (problem, w) -> (limit optimal for the whole problem, its figures)
TAU, LOCAL, ATTEMPTS = 60, 150, 50


def _runs(problem: Any, noise: Noise | None, gamma: float, seeds: int, steps: int, seed: int) -> Array:
    """Return the iterates of RDA from zero, (steps, seeds, p)."""
    run = states(problem, RDA(gamma), noise, 0 * problem.w, steps, seeds=seeds, seed=seed)
    return np.array([state.w for state in run])


def _optimal(problem: Any, w: Array, sign: Array) -> bool:
    residual = float(np.max(problem.regularizer.residual(w, problem.gradient(w))))
    return residual < 1e-6 * problem.regularizer.lam and bool((np.sign(w) == sign).all())


def gradient_steps(problem: Quadratic, w: Array) -> tuple[bool, Array]:
    """Descend on the manifold of w with step 1/L; the figure is the largest ratio of successive gaps."""
    active, sign, L = w != 0, np.sign(w), float(np.max(problem.curvature))
    # the minimizer on the manifold
    target = np.where(active, problem.w + (problem.dual - sign) / problem.curvature, 0.0)
    ratio, gap = 0.0, float((problem.curvature * (w - target) ** 2).sum())
    for _ in range(LOCAL):
        w = np.where(active, w - (problem.gradient(w) + sign) / L, 0.0)
        new = float((problem.curvature * (w - target) ** 2).sum())
        if new > 1e-24:  # above rounding
            ratio = max(ratio, new / gap)
        gap = new
    return _optimal(problem, w, sign), np.array([ratio])


def reduced_newton(problem: Rows, w: Array) -> tuple[bool, Array]:
    """Minimize F on the manifold of w by Newton's method with backtracking; the figures are |reduced gradient| / lam,
    at the start and after each of 8 steps."""
    S, sign = np.flatnonzero(w), np.sign(w)
    lam = float(problem.regularizer.lam)  # type: ignore[attr-defined]

    def value(v: Array) -> float:
        return float(problem.problem.smooth_value(v)) + lam * float(sign @ v)

    norms = []
    for _ in range(9):
        g = problem.gradient(w)[S] + lam * sign[S]
        norms.append(float(np.linalg.norm(g)) / lam)
        direction = np.zeros_like(w)
        direction[S] = -np.linalg.lstsq(problem.problem.hessian(w, S), g, rcond=None)[0]
        step, slope = 1.0, float(g @ direction[S])
        while step > 1e-10 and value(w + step * direction) > value(w) + 0.25 * step * slope + 1e-15:
            step /= 2
        w = w + step * direction
    return _optimal(problem, w, sign), np.array(norms)


def plus(problem: Any, points: Array, local: Local, tau: int) -> Switches:
    """Run RDA+ with patience tau on the iterates of RDA, (steps, seeds, p): switch, and go back where it fails."""
    reference = problem.w != 0
    first, ends, accepted, rejected, figures = [], [], [], [], []
    for s in range(points.shape[1]):
        active = points[:, s] != 0
        changed = np.concatenate([[True], (active[1:] != active[:-1]).any(axis=1)])
        stay, tried, figure, failed = 0, [], None, None
        for t in range(len(active)):
            stay = 0 if changed[t] else stay + 1
            if stay < tau or (failed is not None and (active[t] == failed).all()):
                continue  # a support that has failed is not tried again
            tried.append(bool((active[t] == reference).all()))
            optimal, figure = local(problem, points[t, s])
            if optimal or len(tried) == ATTEMPTS:
                break
            stay, failed = 0, active[t]  # back to RDA
        first.append(bool(tried) and tried[0])
        right = bool(tried) and optimal and tried[-1]
        ends.append(right)
        accepted.append(sum(not r for r in tried[-1:]) if tried and optimal else 0)
        rejected.append(sum(not r for r in tried) - accepted[-1])
        figures.append(figure if right and figure is not None else None)
    return Switches(np.array(first), np.array(ends), np.array(accepted), np.array(rejected), figures)


def exponent(size: Size, seed: int) -> Verdict:
    """Estimate the probability of a wrong support on a log grid."""
    problem, steps = l1_quadratic(0.1, seed), size.steps(2500)
    marks = np.unique(np.geomspace(20, steps, 16).astype(int))
    wrong = (_runs(problem, gaussian(1.0), 1.0, 2 * size.seeds, steps, seed) != 0) != (problem.w != 0)
    return falling(marks, wrong[marks - 1].any(axis=2))


def quadratic_runs(size: Size, seed: int) -> tuple[Quadratic, Array]:
    """Return a quadratic with margin 0.3 and the iterates of RDA under Gaussian noise."""
    problem = l1_quadratic(0.3, seed)
    return problem, _runs(problem, gaussian(1.0), 1.0, max(60, size.seeds // 2), size.steps(1200), seed)


def check(size: Size, seed: int) -> Verdict:
    """Test the exponent; RDA+ with gradient steps, patient and impatient; RDA+ with reduced Newton on data rows."""
    problem, points = quadratic_runs(size, seed)
    patient = plus(problem, points, gradient_steps, TAU)
    curvature = problem.curvature[problem.w != 0]
    rate = 1 - float(curvature.min() / problem.curvature.max())
    rows, seeds = logistic(seed), max(60, size.seeds // 2)
    walks = _runs(rows, None, 1.0, seeds, size.steps(3000), seed)
    reduced = plus(rows, walks, reduced_newton, 5 * TAU)
    return all_hold(
        ("RDA", exponent(size, seed)),
        ("RDA+ first switches", switches(patient)),
        ("RDA+ local phase", linear(patient, rate)),
        ("RDA+ with tau = 2 goes back", returns(plus(problem, points, gradient_steps, 2))),
        ("reduced Newton, logistic rows", newton(reduced)),
        ("reduced Newton goes back", returns(plus(rows, walks, reduced_newton, 5))),
    )


def control(size: Size, seed: int) -> Verdict:
    """Switch as soon as the support repeats once, and judge the first switches."""
    rows = logistic(seed)
    walks = _runs(rows, None, 1.0, 30, 300, seed)
    return all_fail(
        ("tau = 1", switches(plus(*quadratic_runs(size, seed), gradient_steps, 1))),
        ("tau = 1, logistic rows", switches(plus(rows, walks, reduced_newton, 1))),
    )


CHECK = Check(WRONG_SUPPORT, check, control)
