"""Runs for the convergence of the normalized dual average, and for the estimators that do not converge."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import gaussian, states
from manifold_id.methods import RMDA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.variance_reduction import HALF, PLATEAU, VARIANCE_REDUCTION, WIDTH, error_slope

SIGMA, DECAY = 0.3, 0.8
ETAS = np.array([0.02, 0.04, 0.08, 0.16])


def errors(method: Method, size: Size, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (steps, errors off the support, on it, ratio of the third condition), at steps of the last 1.5 decades.

    The start is the solution: the slow pull to the centre is then no part of the error.
    """
    problem = l1_quadratic(0.5, seed)
    off, steps = problem.codes <= 0, size.steps(2500)
    marks = np.unique(np.geomspace(steps / 10**1.5, steps, 24).astype(int))
    rows, before = [], np.broadcast_to(problem.w, (size.seeds, len(problem.w)))
    for state in states(problem, method, gaussian(SIGMA), problem.w, steps, seeds=size.seeds, seed=seed):
        if state.t in marks:
            e = state.d - problem.gradient(state.w)
            ratio = np.linalg.norm(state.w - before, axis=1).mean()
            if isinstance(method, RMDA):
                ratio *= state.weight / (method.lr * state.t ** (0.5 - method.decay))
            rows.append((np.linalg.norm(e[:, off], axis=1), np.linalg.norm(e[:, ~off], axis=1), ratio))
        before = state.w
    z, s, ratio = zip(*rows, strict=True)
    return marks, np.array(z), np.array(s), np.array(ratio)


def check(size: Size, seed: int) -> Verdict:
    """Test the three exponents."""
    t, off, _, third = errors(RMDA(lr=0.05), size, seed)
    parts = [("off the support, a = 0", error_slope(t, off, HALF, "off the support", third))]
    t, _, on, third = errors(RMDA(lr=1.0, decay=DECAY), size, seed)
    near = (-DECAY / 2 - WIDTH, -DECAY / 2 + WIDTH)
    parts.append((f"on the support, a = {DECAY}", error_slope(t, on, near, "on the support", third)))
    heights = np.array([np.sqrt((errors(RMDA(lr=eta), size, seed)[2][-8:] ** 2).mean(axis=0)) for eta in ETAS])
    parts.append(("plateau in eta", error_slope(ETAS, heights, PLATEAU, "plateau on the support")))
    return all_hold(*parts)


def control(size: Size, seed: int) -> Verdict:
    """Test a single gradient and a momentum average off the support, where the dual average has exponent -1/2."""
    parts = []
    for name, momentum in (("single gradient", 1.0), ("momentum 0.1", 0.1)):
        t, off, _, _ = errors(ProxSGD(lr=0.05, momentum=momentum), size, seed)
        parts.append((name, error_slope(t, off, HALF, "off the support")))
    return all_fail(*parts)


CHECK = Check(VARIANCE_REDUCTION, check, control)
