"""Runs for RMDA's identification, on five kinds of manifold; the controls break one assumption each."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import INSTANCES, nonconvex_quadratic
from convex_bench.theorems.synthetic import gaussian, watch
from manifold_id.methods import RMDA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.regularizers import L0, MCP
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.identification import IDENTIFICATION, identification

MARGIN, SIGMA = 0.3, 0.3
KINDS = {"l1": 1000, "groups": 1000, "nuclear norm": 400, "total variation": 1000, "box": 2000}


def run(kind: str, method: Method, size: Size, seed: int, steps: int, point: str = "z") -> Verdict:
    """Run from a start about one away from the solution, where every atom is active."""
    problem = INSTANCES[kind](MARGIN, seed)
    start = problem.w + np.linspace(0.5, 1.5, problem.w.size).reshape(problem.w.shape)
    seeds = max(size.seeds // 2, 50)
    record = watch(problem, method, gaussian(SIGMA), start, steps, seeds=seeds, seed=seed, point=point)
    return identification(record, problem.margin, SIGMA)


def check(size: Size, seed: int) -> Verdict:
    """Test five kinds of manifold, and l1 once more at twice the length."""
    parts = [(kind, run(kind, RMDA(lr=0.05), size, seed, size.steps(steps))) for kind, steps in KINDS.items()]
    return all_hold(*parts, ("l1, twice as long", run("l1", RMDA(lr=0.05), size, seed, size.steps(2 * KINDS["l1"]))))


def control(size: Size, seed: int) -> Verdict:
    """Break one assumption at a time."""
    steps = size.steps(1000)
    parts = [
        ("ProxSGD", run("l1", ProxSGD(lr=0.5, decay=0.5), size, seed, steps)),
        ("c = 0.1, averaged iterate", run("l1", RMDA(lr=0.05, momentum=0.1), size, seed, steps, "w")),
        ("beta like alpha", run("l1", RMDA(lr=0.05, damping=1.5), size, seed, steps)),
    ]
    for name, penalty in (("MCP", MCP(1.0, gamma=3.0)), ("l0", L0(1.0))):
        problem = nonconvex_quadratic(MARGIN, seed, penalty)
        record = watch(problem, RMDA(lr=0.3), gaussian(SIGMA), problem.w, steps, seeds=50, seed=seed)
        parts.append((name, identification(record, MARGIN, SIGMA)))
    return all_fail(*parts)


CHECK = Check(IDENTIFICATION, check, control)
