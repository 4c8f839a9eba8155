"""Runs for the inclusion of dual averaging: RMDA and RDA on five kinds of structure."""

from __future__ import annotations

from typing import Any

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.synthetic import Quadratic, gaussian, states
from manifold_id.methods import RDA, RMDA
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_hold
from manifold_id.theory.dual_averaging import DUAL_AVERAGING, dual_averaging

ENTRYWISE = ("l1", "nonnegative", "box")  # atoms are coordinates: the criterion is read off the residual at w*
NOISE = 0.05


def run(kind: str, problem: Quadratic, method: Any, size: Size, seed: int, steps: int) -> Verdict:
    """Run one method on one problem, off the solution by 3 in every coordinate at the start."""
    psi, star, codes = problem.regularizer, problem.w, problem.codes
    seeds, zero = max(10, size.seeds // 5), problem.codes <= 0
    w0 = star + 3.0
    axes = tuple(range(1, star.ndim + 1))
    inclusion, stationarity, ratios, differ, compared = [], [], [], 0, 0
    for state in states(problem, method, gaussian(NOISE), w0, steps, seeds=seeds, seed=seed):
        if isinstance(method, RMDA):
            ratio, centre = state.t**method.damping / state.weight, w0
        else:
            ratio, centre = method.gamma / np.sqrt(state.t), 0.0 * w0
        u = state.d + ratio * (state.z - centre)
        scale = np.abs(state.d).max(axis=axes) + ratio * np.abs(state.z - centre).max(axis=axes) + 1.0
        if kind == "nuclear norm":
            off = np.abs(state.z - psi.prox(state.z - u, 1.0)).max(axis=axes)
        else:
            off = psi.residual(state.z, u).max(axis=-1)
        inclusion.append(off / scale)
        stationarity.append(
            np.linalg.norm((state.z - psi.prox(state.z - problem.gradient(state.z), 1.0)).reshape(seeds, -1), axis=1)
        )
        ratios.append(ratio)
        if kind in ENTRYWISE:
            there = np.broadcast_to(star, state.z.shape)
            depth = psi.margin(there, state.d - ratio * (centre - star))[:, zero]
            clear = np.abs(depth) > 1e-10
            held = (psi.structure(state.z) == codes)[:, zero]
            differ += int((((depth > 0) != held) & clear).sum())
            compared += int(clear.sum())
    return dual_averaging(np.array(inclusion), differ, compared, np.array(stationarity), np.array(ratios))


def check(size: Size, seed: int) -> Verdict:
    """Test RMDA and RDA."""
    parts = []
    for kind in ("l1", "nonnegative", "groups", "box", "total variation", "nuclear norm"):
        steps = size.steps(300 if kind == "nuclear norm" else 600)
        problem = INSTANCES[kind](0.3, seed)
        parts.append((f"RMDA, {kind}", run(kind, problem, RMDA(lr=0.3), size, seed, steps)))
    parts.append(("RDA, l1", run("l1", INSTANCES["l1"](0.3, seed), RDA(gamma=0.5), size, seed, size.steps(600))))
    return all_hold(*parts)


def control(size: Size, seed: int) -> Verdict:
    """Let beta grow like alpha."""
    return run("l1", INSTANCES["l1"](0.3, seed), RMDA(lr=0.3, damping=1.5), size, seed, size.steps(600))


CHECK = Check(DUAL_AVERAGING, check, control)
