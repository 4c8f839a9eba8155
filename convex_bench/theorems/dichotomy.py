"""Runs for the dichotomy of proximal SGD: uniform noise on both sides of the margin, three step schedules."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import states, uniform
from manifold_id.methods import ProxSGD
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.dichotomy import DICHOTOMY, dichotomy, predicted_rate

MARGIN = 0.2
METHODS = {"constant": ProxSGD(0.1), "1/sqrt t": ProxSGD(0.5, decay=0.5), "1/t": ProxSGD(1.0, decay=1.0)}


def run(method: ProxSGD, amplitude: float, size: Size, seed: int, stated: float = 1.0) -> Verdict:
    """Run at one amplitude; the prediction is made for `stated` times the true margins."""
    problem = l1_quadratic(MARGIN, seed)
    off, steps, seeds = problem.codes <= 0, size.steps(1000), size.seeds
    leaves, visits = np.zeros((2, 2, off.sum()), dtype=np.int64)
    last = np.zeros(seeds, dtype=np.int64)
    zero = np.ones((seeds, off.sum()), dtype=bool)
    start = problem.w + 0.0
    for state in states(problem, method, uniform(amplitude), start, steps, seeds=seeds, seed=seed):
        now = state.w[:, off] == 0
        half = int(state.t > steps // 2)
        visits[half] += zero.sum(axis=0)
        leaves[half] += (zero & ~now).sum(axis=0)
        last[~now.all(axis=1)] = state.t
        zero = now
    margin = stated * problem.regularizer.margin(problem.w, -problem.dual)[off]
    return dichotomy(leaves, visits, predicted_rate(amplitude, margin, 1.0), last, steps, seeds=seeds)


def check(size: Size, seed: int) -> Verdict:
    """Test two amplitudes below the smallest margin and two above it."""
    levels = (0.5, 0.95, 1.2, 2.0)
    return all_hold(
        *(
            (f"{name}, {level:g} margin", run(method, level * MARGIN, size, seed))
            for name, method in METHODS.items()
            for level in levels
        )
    )


def control(size: Size, seed: int) -> Verdict:
    """Claim flicker just below the margin."""
    return all_fail(*((name, run(method, 0.95 * MARGIN, size, seed, 0.8)) for name, method in METHODS.items()))


CHECK = Check(DICHOTOMY, check, control)
