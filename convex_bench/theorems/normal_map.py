"""Runs for normal-map SGD."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import gaussian, states, watch
from manifold_id.methods import NormalMapSGD
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.identification import identification
from manifold_id.theory.normal_map import NORMAL_MAP, radius

MARGIN, SIGMA = 0.3, 0.5


def identify(method: NormalMapSGD, size: Size, seed: int) -> Verdict:
    """Judge identification, from a start one away from the solution."""
    problem = l1_quadratic(MARGIN, seed)
    noise, steps = gaussian(SIGMA), size.steps(2000)
    record = watch(problem, method, noise, problem.w + 1.0, steps, seeds=size.seeds, seed=seed)
    return identification(record, problem.margin, SIGMA)


def within(method: NormalMapSGD, size: Size, seed: int, factor: float) -> Verdict:
    """Judge the radius at every step of runs whose step is large enough to leave it."""
    problem, p = l1_quadratic(MARGIN, seed), method.prox_step
    off, target = problem.codes <= 0, problem.w + p * problem.dual
    distance, held = [], []
    for state in states(problem, method, gaussian(SIGMA), problem.w, size.steps(300), seeds=size.seeds, seed=seed):
        distance.append(np.abs(state.normal - target)[:, off])
        held.append((state.w == 0)[:, off])
    reach = p * problem.regularizer.margin(problem.w, -problem.dual)[off]
    return radius(np.concatenate(distance), np.concatenate(held), reach=reach, seeds=size.seeds, factor=factor)


def check(size: Size, seed: int) -> Verdict:
    """Test the radius, and identification for two exponents and two prox parameters."""
    return all_hold(
        ("radius", within(NormalMapSGD(0.5, 1.0, 0.0), size, seed, 1.0)),
        ("exponent 3/4", identify(NormalMapSGD(1.0, 1.0, 0.75), size, seed)),
        ("exponent 1", identify(NormalMapSGD(2.0, 1.0, 1.0), size, seed)),
        ("p = 0.5", identify(NormalMapSGD(0.5, 0.5, 0.75), size, seed)),
    )


def control(size: Size, seed: int) -> Verdict:
    """Use a large constant step, and twice the radius."""
    constant = NormalMapSGD(0.5, 1.0, 0.0)
    return all_fail(
        ("constant step", identify(constant, size, seed)), ("radius doubled", within(constant, size, seed, 2.0))
    )


CHECK = Check(NORMAL_MAP, check, control)
