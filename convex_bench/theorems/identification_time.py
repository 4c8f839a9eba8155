"""Runs for the identification time against the margin, on Poon's 3-d example, compiled."""

from __future__ import annotations

import numpy as np

from convex_bench.engine import run as run_engine
from convex_bench.ground_truth import solve
from convex_bench.problem import Problem
from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.compiled import watch_compiled
from convex_bench.theorems.instances import POON_SOLUTION, poon
from manifold_id.methods import RDA, RMDA, ProxSAGA, ProxSGD, ProxSVRG
from manifold_id.methods.base import Method
from manifold_id.regularizers import L1
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.identification import identification
from manifold_id.theory.identification_time import IDENTIFICATION_TIME, example, logarithmic, power
from manifold_id.theory.structure_record import LastErrors

Array = np.ndarray
CODES = (POON_SOLUTION != 0).astype(np.int8)
START = np.full(3, 5.0)


def published() -> Verdict:
    """Solve the authors' problem from their A and y, and compare solution and margins with what they state."""
    problem = Problem(np.diag(np.sqrt([1.0, 2.0, 3.0])), [2.0, np.sqrt(2) / 3, np.sqrt(3) / 4], "squared", L1(1 / 3))
    solution = solve(problem)
    return example(solution.w, solution.margin[1:], solution.smallest_active, POON_SOLUTION, np.array([1 / 9, 1 / 12]))


def original(method: Method, size: Size, seed: int) -> Verdict:
    """Judge identification on the authors' example."""
    problem = poon()
    solution, seeds = solve(problem), range(1000 * seed, 1000 * seed + size.seeds)
    record = watch_compiled(problem, method, solution.codes, seeds, size.steps(2000), w0=START)
    return identification(record, solution.min_margin, float(problem.atom_noise(solution.w).max()))


def times(method: Method, deltas: Array, steps: int, seeds: range) -> LastErrors:
    """Return the last steps with wrong structure, (levels, seeds)."""
    positive, negative = [], []
    for delta in deltas:
        runs = run_engine(poon((delta, delta)), method, seeds, steps, w0=START, checkpoints=np.array([1]))
        positive.append([r.trace.last_false_positive(CODES) or 0 for r in runs])
        negative.append([r.trace.last_false_negative(CODES) or 0 for r in runs])
    return LastErrors(np.array(positive), np.array(negative))


def check(size: Size, seed: int) -> Verdict:
    """Test both laws, and the original example."""
    seeds = range(1000 * seed, 1000 * seed + size.seeds // 3)
    many = range(1000 * seed, 1000 * seed + size.seeds)  # medians of times with heavy tails
    small, large, steps = 0.2 * 0.5 ** np.arange(9), 0.2 * 0.5 ** np.arange(4), 8000
    return all_hold(
        ("the example", published()),
        ("SAGA, original", original(ProxSAGA(1 / 9), size, seed)),
        ("SVRG, original", original(ProxSVRG(1 / 9, epoch=9), size, seed)),
        ("SAGA", logarithmic(small, times(ProxSAGA(1 / 9), small, 1000, seeds))),
        ("SVRG", logarithmic(small, times(ProxSVRG(1 / 9, epoch=9), small, 1000, seeds))),
        ("RDA", power(large, times(RDA(1.0), large, steps, many), steps)),
        ("RMDA", power(large, times(RMDA(0.1), large, steps, many), steps)),
    )


def control(size: Size, seed: int) -> Verdict:
    """Judge proximal SGD on the same example, and RDA by the logarithmic law."""
    seeds = range(1000 * seed, 1000 * seed + size.seeds // 3)
    large = 0.2 * 0.5 ** np.arange(5)  # five levels: the least that a law is judged on
    return all_fail(
        ("ProxSGD, step 1/9", original(ProxSGD(1 / 9), size, seed)),
        ("ProxSGD, step k^-0.51", original(ProxSGD(1.0, decay=0.51), size, seed)),
        ("RDA by the logarithmic law", logarithmic(large, times(RDA(1.0), large, 8000, seeds))),
    )


CHECK = Check(IDENTIFICATION_TIME, check, control)
