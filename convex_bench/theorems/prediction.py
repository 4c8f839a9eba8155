"""Runs for the prediction of each run's identification step."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.synthetic import gaussian, states
from manifold_id.methods import RMDA
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.prediction import PREDICTION, prediction

MARGIN, SIGMA = 0.3, 0.5


def run(kind: str, size: Size, seed: int, factor: float) -> Verdict:
    """Run RMDA from a start one away from the solution."""
    problem, seeds, method = INSTANCES[kind](MARGIN, seed), size.seeds, RMDA(lr=0.1)
    atoms, off, w0 = len(problem.codes), problem.codes <= 0, problem.w + 1.0
    pull = np.linalg.norm((w0 - problem.w).reshape(atoms, -1), axis=-1)
    left, last = [], np.zeros(seeds, dtype=np.int64)
    for state in states(problem, method, gaussian(SIGMA), w0, size.steps(800), seeds=seeds, seed=seed):
        error = np.linalg.norm((state.d + problem.dual).reshape(seeds, atoms, -1), axis=-1)
        left.append((error + state.t**method.damping / state.weight * pull)[:, off])
        last[(problem.regularizer.structure(state.z)[:, off] > 0).any(axis=1)] = state.t
    margin = problem.regularizer.margin(problem.w, -problem.dual)[off]
    return prediction(np.array(left), margin, last, factor)


def check(size: Size, seed: int) -> Verdict:
    """Predict with the true margins."""
    return all_hold(*((kind, run(kind, size, seed, 1.0)) for kind in ("l1", "groups")))


def control(size: Size, seed: int) -> Verdict:
    """Predict with four times the margins."""
    return all_fail(*((kind, run(kind, size, seed, 4.0)) for kind in ("l1", "groups")))


CHECK = Check(PREDICTION, check, control)
