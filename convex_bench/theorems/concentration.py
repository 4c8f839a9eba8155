"""Runs for the bound on the last false positive: RMDA on a quadratic whose off atoms have different margins."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.synthetic import Quadratic, gaussian, states
from manifold_id.methods import RMDA
from manifold_id.regularizers import L1
from manifold_id.theory.base import Verdict
from manifold_id.theory.concentration import CONCENTRATION, concentration

SIGMA = 0.5


def run(size: Size, seed: int, understated: float) -> Verdict:
    """Run, with the bound computed for sigma / understated."""
    margins = 0.8 * 0.5 ** np.arange(5 if size.factor == 1 else 6)
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], len(margins))
    problem = Quadratic(L1(1.0), np.append(0 * margins, 1.5), np.append(sign * (1 - margins), 1.0), 1.0)
    seeds, steps = 8 * size.seeds, size.steps(2500)
    last, missed = np.zeros((seeds, len(margins)), dtype=np.int64), np.zeros(seeds, dtype=np.int64)
    for state in states(problem, RMDA(lr=0.1), gaussian(SIGMA), problem.w, steps, seeds=seeds, seed=seed):
        last[state.z[:, :-1] != 0] = state.t
        missed[state.z[:, -1] == 0] = state.t
    return concentration(last, margins, SIGMA / understated, steps, missed)


def check(size: Size, seed: int) -> Verdict:
    """Test the bound with the true noise."""
    return run(size, seed, 1.0)


def control(size: Size, seed: int) -> Verdict:
    """Test the bound with a quarter of the noise."""
    return run(size, seed, 4.0)


CHECK = Check(CONCENTRATION, check, control)
