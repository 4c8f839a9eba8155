"""Runs for S-PStorm."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.synthetic import Quadratic, gaussian, watch
from manifold_id.methods import SPStorm
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.stabilized_storm import STABILIZED_STORM, coverage, error_bounds, promised_step

MARGIN, SIGMA = 0.3, 0.2
METHOD = SPStorm(lr=0.5, c=4.0, zeta=1.0)  # lr = mu / L^2 for curvatures in [1/2, 1]


def promised(problem: Quadratic, start: np.ndarray, steps: int) -> int:
    """Return the step from which the theorem's argument promises the support of this problem."""
    atoms, off = len(problem.codes), problem.codes <= 0
    b = np.minimum(0.5, METHOD.c / np.arange(2.0, steps + 2))
    return promised_step(
        error_bounds(b, SIGMA, problem.w.size // atoms, atoms),
        b,
        METHOD.lr,
        METHOD.zeta,
        start=np.linalg.norm((start - problem.w).reshape(atoms, -1), axis=1),
        curvature=np.broadcast_to(problem.curvature, problem.w.shape).reshape(atoms, -1)[:, 0],
        margin=np.where(off, problem.regularizer.margin(problem.w, -problem.dual), np.inf),
        size=np.where(off, np.inf, np.linalg.norm(problem.w.reshape(atoms, -1), axis=1)),
    )


def run(kind: str, size: Size, seed: int, point: str) -> Verdict:
    """Run from a start one away from the solution and judge y ("z" of the state) or x ("w")."""
    problem, steps = INSTANCES[kind](MARGIN, seed), size.steps(2000)
    start = problem.w + 1.0
    record = watch(problem, METHOD, gaussian(SIGMA), start, steps, seeds=size.seeds, seed=seed, point=point)
    return coverage(record, promised(problem, start, steps), problem.margin)


def check(size: Size, seed: int) -> Verdict:
    """Judge the proximal points."""
    return all_hold(*((kind, run(kind, size, seed, "z")) for kind in ("l1", "groups")))


def control(size: Size, seed: int) -> Verdict:
    """Judge the iterates."""
    return all_fail(*((kind, run(kind, size, seed, "w")) for kind in ("l1", "groups")))


CHECK = Check(STABILIZED_STORM, check, control)
