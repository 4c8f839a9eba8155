"""Runs for S-PStorm."""

from __future__ import annotations

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.synthetic import gaussian, watch
from manifold_id.methods import SPStorm
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.identification import identification
from manifold_id.theory.stabilized_storm import STABILIZED_STORM

MARGIN, SIGMA = 0.3, 0.3


def run(kind: str, size: Size, seed: int, point: str) -> Verdict:
    """Run from a start one away from the solution and judge y ("z" of the state) or x ("w")."""
    problem = INSTANCES[kind](MARGIN, seed)
    method, noise = SPStorm(lr=0.5, c=4.0, zeta=1.0), gaussian(SIGMA)
    record = watch(problem, method, noise, problem.w + 1.0, size.steps(1500), seeds=size.seeds, seed=seed, point=point)
    return identification(record, problem.margin, SIGMA)


def check(size: Size, seed: int) -> Verdict:
    """Judge the proximal points."""
    return all_hold(*((kind, run(kind, size, seed, "z")) for kind in ("l1", "groups")))


def control(size: Size, seed: int) -> Verdict:
    """Judge the iterates."""
    return all_fail(*((kind, run(kind, size, seed, "w")) for kind in ("l1", "groups")))


CHECK = Check(STABILIZED_STORM, check, control)
