"""Runs for the one-step certificate: noisy proximal SGD, started at the solution, with noise about the margin."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.synthetic import Quadratic, gaussian, states
from manifold_id.methods import ProxSGD
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.one_step import ONE_STEP, one_step

KINDS = ("l1", "nonnegative", "groups", "box")
MARGIN = 0.3


def _norms(v: np.ndarray, atoms: int) -> np.ndarray:
    return np.linalg.norm(v.reshape(*v.shape[:-1], atoms, -1), axis=-1)


def run(problem: Quadratic, size: Size, seed: int, factor: float) -> Verdict:
    """Return the verdict for one regularizer; the step sizes cycle through three orders of magnitude."""
    codes, atoms = problem.codes, len(problem.codes)
    off = codes <= 0
    margin = problem.regularizer.margin(problem.w, -problem.dual)[off]
    left, held = [], []
    for lr in (1.0, 0.1, 0.01):
        before = np.broadcast_to(problem.w, (size.seeds, *problem.w.shape))
        run_of = states(
            problem, ProxSGD(lr), gaussian(MARGIN / 2), problem.w, size.steps(150), seeds=size.seeds, seed=seed
        )
        for state in run_of:
            distance = _norms(before - problem.w, atoms) / lr + _norms(state.d + problem.dual, atoms)
            left.append(distance[:, off])
            held.append((problem.regularizer.structure(state.w) == codes)[:, off])
            before = state.w
    return one_step(np.concatenate(left), margin, np.concatenate(held), seeds=size.seeds, margin_factor=factor)


def check(size: Size, seed: int) -> Verdict:
    """Test the certificate at every step for four regularizers."""
    return all_hold(*((kind, run(INSTANCES[kind](MARGIN, seed), size, seed, 1.0)) for kind in KINDS))


def control(size: Size, seed: int) -> Verdict:
    """Test the same steps against twice the margin."""
    return all_fail(*((kind, run(INSTANCES[kind](MARGIN, seed), size, seed, 2.0)) for kind in KINDS))


CHECK = Check(ONE_STEP, check, control)
