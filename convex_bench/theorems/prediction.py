"""Runs for the prediction of each run's identification step: quadratics, and rows of a logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.rows import logistic
from convex_bench.theorems.synthetic import Noise, gaussian, states
from manifold_id.methods import RMDA
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.prediction import PREDICTION, prediction, scatter

MARGIN, SIGMA = 0.3, 0.5


def run(problem: Any, noise: Noise | None, w0: Any, seeds: int, steps: int, seed: int, factor: float) -> Verdict:
    """Run RMDA and judge the predictions made for `factor` times the margins."""
    method, atoms, off = RMDA(lr=0.1), len(problem.codes), problem.codes <= 0
    pull = np.linalg.norm((w0 - problem.w).reshape(atoms, -1), axis=-1)[off]
    left, last = [], np.zeros(seeds, dtype=np.int64)
    for state in states(problem, method, noise, w0, steps, seeds=seeds, seed=seed):
        error = np.linalg.norm((state.d + problem.dual).reshape(seeds, atoms, -1)[:, off], axis=-1)
        left.append(error + state.t**method.damping / state.weight * pull)
        last[(problem.regularizer.structure(state.z)[:, off] > 0).any(axis=1)] = state.t
    margin = problem.regularizer.margin(problem.w, -problem.dual)[off]
    return prediction(np.array(left), margin, last, factor)


def _parts(size: Size, seed: int, factor: float, shorter: int = 1) -> tuple[tuple[str, Verdict], ...]:
    """Return the four verdicts: starts one away from the solution with additive noise, from zero with data rows."""
    parts = []
    for kind in ("l1", "groups"):
        problem = INSTANCES[kind](MARGIN, seed)
        parts.append(
            (kind, run(problem, gaussian(SIGMA), problem.w + 1.0, size.seeds, size.steps(800) // shorter, seed, factor))
        )
    for name, group_size in (("logistic rows, l1", 1), ("logistic rows, groups", 3)):
        rows, few = logistic(seed, group_size=group_size), max(40, size.seeds // 2)
        parts.append((name, run(rows, None, 0 * rows.w, few, size.steps(2400) // shorter, seed, factor)))
    return tuple(parts)


def check(size: Size, seed: int) -> Verdict:
    """Predict with the true margins."""
    return scatter(all_hold(*_parts(size, seed, 1.0)))


def control(size: Size, seed: int) -> Verdict:
    """Predict with eight times the margins, which is refuted early in the run."""
    return scatter(all_fail(*_parts(size, seed, 8.0, shorter=4)))


CHECK = Check(PREDICTION, check, control)
