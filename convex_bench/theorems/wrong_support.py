"""Runs for RDA's wrong support and for RDA+."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import Quadratic, gaussian, states
from manifold_id.methods import RDA
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_hold
from manifold_id.theory.wrong_support import WRONG_SUPPORT, falling, switches

Array = np.ndarray
TAU, LOCAL = 60, 150


def _runs(problem: Quadratic, seeds: int, steps: int, seed: int) -> Array:
    """Return the iterates of RDA, (steps, seeds, p)."""
    run = states(problem, RDA(1.0), gaussian(1.0), 0 * problem.w, steps, seeds=seeds, seed=seed)
    return np.array([state.w for state in run])


def _local(problem: Quadratic, w: Array) -> tuple[bool, float]:
    """Descend on the manifold of w with step 1/L; return (limit optimal for the whole problem, largest gap ratio)."""
    active, sign = w != 0, np.sign(w)
    L = float(np.max(problem.curvature))
    target = np.where(
        active, problem.w + (problem.dual - sign) / problem.curvature, 0.0
    )  # the minimizer on the manifold
    ratio, gap = 0.0, float((problem.curvature * (w - target) ** 2).sum())
    for _ in range(LOCAL):
        w = np.where(active, w - (problem.gradient(w) + sign) / L, 0.0)
        new = float((problem.curvature * (w - target) ** 2).sum())
        if new > 1e-24:  # above rounding
            ratio = max(ratio, new / gap)
        gap = new
    optimal = float(np.max(problem.regularizer.residual(w, problem.gradient(w)))) < 1e-6 and bool(
        (np.sign(w) == sign).all()
    )
    return optimal, ratio


def plus(size: Size, seed: int, tau: int) -> Verdict:
    """Run RDA+ with patience tau."""
    problem, seeds = l1_quadratic(0.3, seed), max(60, size.seeds // 2)
    points = _runs(problem, seeds, size.steps(1200), seed)
    first, ends, factor = [], [], []
    for s in range(seeds):
        active = points[:, s] != 0
        changed = np.concatenate([[True], (active[1:] != active[:-1]).any(axis=1)])
        stay, right, ratio = 0, False, 0.0
        tried: list[bool] = []
        for t in range(len(active)):
            stay = 0 if changed[t] else stay + 1
            if stay >= tau:
                tried.append(bool((active[t] == (problem.w != 0)).all()))
                right, ratio = _local(problem, points[t, s])
                if right or len(tried) == 50:
                    break
                stay = 0  # back to RDA
        first.append(bool(tried) and tried[0])
        ends.append(right and tried[-1])
        factor.append(ratio if right else 0.0)
    curvature = problem.curvature * np.ones(len(problem.w))
    rate = 1 - float(curvature[problem.w != 0].min() / curvature.max())
    return switches(np.array(first), np.array(ends), np.array(factor), rate)


def exponent(size: Size, seed: int) -> Verdict:
    """Estimate the probability of a wrong support on a log grid."""
    problem, steps = l1_quadratic(0.1, seed), size.steps(2500)
    marks = np.unique(np.geomspace(20, steps, 16).astype(int))
    wrong = (_runs(problem, 2 * size.seeds, steps, seed) != 0) != (problem.w != 0)
    return falling(marks, wrong[marks - 1].any(axis=2))


def check(size: Size, seed: int) -> Verdict:
    """Test the exponent and RDA+."""
    return all_hold(("RDA", exponent(size, seed)), ("RDA+", plus(size, seed, TAU)))


def control(size: Size, seed: int) -> Verdict:
    """Switch as soon as the support repeats once."""
    return plus(size, seed, 1)


CHECK = Check(WRONG_SUPPORT, check, control)
