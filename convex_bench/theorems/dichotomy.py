"""Runs for the dichotomy of proximal SGD: uniform noise and single data rows, on both sides of the margin."""

from __future__ import annotations

from typing import Any

import numpy as np

from convex_bench.problem import Problem
from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.rows import Rows, logistic
from convex_bench.theorems.synthetic import Noise, states, uniform
from manifold_id.methods import ProxSGD
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.dichotomy import DICHOTOMY, Departures, dichotomy, empirical_rate, one_figure, predicted_rate
from manifold_id.theory.structure_record import LastErrors

Array = np.ndarray
MARGIN = 0.2
METHODS = {"constant": ProxSGD(0.1), "1/sqrt t": ProxSGD(0.5, decay=0.5), "1/t": ProxSGD(1.0, decay=1.0)}
LEVELS = (0.8, 1.5, 3.0)  # of the largest row gradient off the support, in lam
SMALL = {"constant": ProxSGD(0.002), "1/sqrt t": ProxSGD(0.02, decay=0.5)}  # the iterate must stay near the solution


def departures(problem: Any, noise: Noise | None, method: ProxSGD, steps: int, seeds: int, seed: int) -> Departures:
    """Run from the solution and count, in each half of the run, how often an off coordinate leaves zero."""
    off = problem.codes <= 0
    leaves, visits = np.zeros((2, 2, seeds, off.sum()), dtype=np.int64)
    last = LastErrors(*np.zeros((2, seeds), dtype=np.int64))
    zero = np.ones((seeds, off.sum()), dtype=bool)
    for state in states(problem, method, noise, problem.w, steps, seeds=seeds, seed=seed):
        now = state.w[:, off] == 0
        half = int(state.t > steps // 2)
        visits[half] += zero
        leaves[half] += zero & ~now
        last.false_positive[~now.all(axis=1)] = state.t
        last.false_negative[(state.w[:, ~off] == 0).any(axis=1)] = state.t
        zero = now
    return Departures(leaves, visits, last, steps)


def additive(method: ProxSGD, amplitude: float, size: Size, seed: int, stated: float = 1.0) -> Verdict:
    """Judge one amplitude of uniform noise; the prediction is made for `stated` times the true margins."""
    problem = l1_quadratic(MARGIN, seed)
    counts = departures(problem, uniform(amplitude), method, size.steps(1000), size.seeds, seed)
    margin = stated * problem.regularizer.margin(problem.w, -problem.dual)[problem.codes <= 0]
    return dichotomy(counts, predicted_rate(amplitude, margin, 1.0))


def scaled_rows(seed: int, level: float) -> Rows:
    """Return a logistic problem whose off columns are scaled so that the largest row gradient there is level lam.

    The solution stays the same, as its off coordinates are zero; their gradients and noise shrink or grow together.
    """
    base = logistic(seed)
    off, gradients = base.codes <= 0, base.row_gradients_at_solution()
    scale = np.where(off, level * base.problem.penalty.lam / np.abs(gradients).max(axis=0), 1.0)  # type: ignore[attr-defined]
    problem = Problem(base.problem.X * scale, base.problem.y, "logistic", base.regularizer)
    return Rows(problem, base.w, base.dual * scale)


def rows(method: ProxSGD, level: float, size: Size, seed: int, stated: float = 1.0) -> Verdict:
    """Judge single rows of a logistic problem: the prediction is the share of rows beyond lam at the solution, moved
    there to `stated` times the margins."""
    problem = scaled_rows(seed, level)
    off, lam = problem.codes <= 0, problem.problem.penalty.lam  # type: ignore[attr-defined]
    counts = departures(problem, None, method, size.steps(600), max(40, size.seeds // 2), seed)
    gradients = problem.row_gradients_at_solution()[:, off]
    return dichotomy(counts, empirical_rate(gradients, lam, stated), tolerance=0.1)


def check(size: Size, seed: int) -> Verdict:
    """Test two amplitudes below the smallest margin and two above it; data rows below and above."""
    uniform_noise = [
        (f"{name}, {level:g} margin", additive(method, level * MARGIN, size, seed))
        for name, method in METHODS.items()
        for level in (0.5, 0.95, 1.2, 2)
    ]
    data = [
        (f"rows, {name}, largest {level:g} lam", rows(method, level, size, seed))
        for name, method in SMALL.items()
        for level in LEVELS
    ]
    kinds = {"uniform noise": [v for _, v in uniform_noise], "data rows": [v for _, v in data]}
    return one_figure(all_hold(*uniform_noise, *data), kinds)


def control(size: Size, seed: int) -> Verdict:
    """Claim flicker just below the margin; claim too much of it for data rows, from half the margin."""
    return all_fail(
        *((name, additive(m, 0.95 * MARGIN, size, seed, 0.8)) for name, m in METHODS.items()),
        *((f"rows, constant, {level:g} lam", rows(SMALL["constant"], level, size, seed, 0.5)) for level in LEVELS),
    )


CHECK = Check(DICHOTOMY, check, control)
