"""Runs for the convergence of the normalized dual average, and for the estimators that do not converge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.rows import logistic
from convex_bench.theorems.synthetic import Noise, gaussian, states
from manifold_id.methods import RMDA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.variance_reduction import (
    HALF,
    PLATEAU,
    VARIANCE_REDUCTION,
    WIDTH,
    Conditions,
    error_slope,
    momentum_plateau,
)

Array = np.ndarray
SIGMA, DECAY = 0.3, 0.8
ETAS = np.array([0.02, 0.04, 0.08, 0.16])


@dataclass(frozen=True)
class Errors:
    """At `steps`: errors off the support and on it, (k, seeds), and the conditions."""

    steps: Array
    off: Array
    on: Array
    conditions: Conditions | None


def last_decades(steps: int) -> Array:
    """Return 24 steps, evenly spaced in log over the last 1.5 decades of a run."""
    return np.unique(np.geomspace(steps / 10**1.5, steps, 24).astype(int))


def errors(problem: Any, noise: Noise | None, method: Method, marks: Array, seeds: int, seed: int) -> Errors:
    """Run from the solution: the slow pull to the centre is then no part of the error. The last mark ends it."""
    off, steps = problem.codes <= 0, int(marks[-1])
    rows, before = [], np.broadcast_to(problem.w, (seeds, len(problem.w)))
    for state in states(problem, method, noise, problem.w, steps, seeds=seeds, seed=seed):
        if state.t in marks:
            e = state.d - problem.gradient(state.w)
            share = np.nan  # s_t / alpha_t
            if isinstance(method, RMDA):
                share = method.lr * state.t ** (0.5 - method.decay) / state.weight
            moved = np.linalg.norm(state.w - before, axis=1).mean()
            distance = np.linalg.norm(state.w - problem.w, axis=1).mean()
            rows.append((np.linalg.norm(e[:, off], axis=1), np.linalg.norm(e[:, ~off], axis=1), share, moved, distance))
        before = state.w
    z, s, *measured = (np.array(a) for a in zip(*rows, strict=True))
    return Errors(marks, z, s, Conditions(marks, *measured) if isinstance(method, RMDA) else None)


def quadratic(method: Method, size: Size, seed: int, marks: Array | None = None) -> Errors:
    """Run on a separable quadratic with Gaussian noise."""
    marks = last_decades(size.steps(2500)) if marks is None else marks
    return errors(l1_quadratic(0.5, seed), gaussian(SIGMA), method, marks, size.seeds, seed)


def check(size: Size, seed: int) -> Verdict:
    """Test the three exponents, the dual average on data rows, and the plateau of a momentum average."""
    near = (-DECAY / 2 - WIDTH, -DECAY / 2 + WIDTH)
    plain, falling = quadratic(RMDA(lr=0.05), size, seed), quadratic(RMDA(lr=2.0, decay=DECAY), size, seed)
    heights = np.array([np.sqrt((quadratic(RMDA(lr=eta), size, seed).on[-8:] ** 2).mean(axis=0)) for eta in ETAS])
    data = errors(logistic(seed), None, RMDA(lr=4.0, decay=DECAY), last_decades(size.steps(2500)), size.seeds, seed)
    both = np.hypot(data.off, data.on)
    parts = [
        ("off the support, a = 0", error_slope(plain.steps, plain.off, HALF, "off the support", plain.conditions)),
        (
            f"on the support, a = {DECAY}",
            error_slope(falling.steps, falling.on, near, "on the support", falling.conditions, converges=True),
        ),
        ("plateau in eta", error_slope(ETAS, heights, PLATEAU, "plateau on the support")),
        (
            f"logistic rows, a = {DECAY}",
            error_slope(
                data.steps, both, (HALF[0], near[1]), "all coordinates, data rows", data.conditions, converges=True
            ),
        ),
    ]
    later = np.arange(size.steps(500), size.steps(2500) + 1, 25)  # the average starts from 0
    for rho in (0.03, 0.1, 0.3):
        flat = quadratic(ProxSGD(lr=0.002, momentum=rho), size, seed, later)
        atoms = int((l1_quadratic(0.5, seed).codes <= 0).sum())
        parts.append((f"momentum {rho:g}", momentum_plateau(flat.off, rho, SIGMA * np.sqrt(atoms))))
    return all_hold(*parts)


def control(size: Size, seed: int) -> Verdict:
    """Test estimators with s_t / alpha_t constant by the law of the dual average: exponent -1/2 off the support."""
    parts = []
    for name, momentum in (("single gradient", 1.0), ("momentum 0.1, which is s_t = 0.9^-t", 0.1)):
        flat = quadratic(ProxSGD(lr=0.05, momentum=momentum), size, seed)
        parts.append((name, error_slope(flat.steps, flat.off, HALF, "off the support")))
    rows = errors(logistic(seed), None, ProxSGD(lr=0.05), last_decades(size.steps(2500)), size.seeds, seed)
    parts.append(("single row, logistic", error_slope(rows.steps, np.hypot(rows.off, rows.on), HALF, "data rows")))
    return all_fail(*parts)


CHECK = Check(VARIANCE_REDUCTION, check, control)
