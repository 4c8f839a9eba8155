"""Runs for the two-sided bound at degenerate solutions."""

from __future__ import annotations

import numpy as np
from scipy.fft import dct

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.synthetic import Quadratic, gaussian, states
from manifold_id.methods import RDA, RMDA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.regularizers import L1
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.sandwich import SANDWICH, sandwich, settled_supports


def run(method: Method, size: Size, seed: int) -> Verdict:
    """Run on a decoupled problem with two margins of exactly 0 and two of 1/2."""
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], 6)
    problem = Quadratic(L1(1.0), sign * [1, 2, 0, 0, 0, 0], sign * [1, 1, 1, 1, 0.5, 0.5], 1.0)
    lower, upper = problem.w != 0, np.abs(problem.dual) == 1
    steps = size.steps(2000)
    below, above = np.zeros((2, steps, size.seeds), dtype=bool)
    changes = np.zeros(size.seeds, dtype=np.int64)
    previous = np.zeros((size.seeds, 6), dtype=bool)
    for i, state in enumerate(states(problem, method, gaussian(0.5), problem.w, steps, seeds=size.seeds, seed=seed)):
        active = state.z != 0
        below[i], above[i] = (lower & ~active).any(axis=1), (active & ~upper).any(axis=1)
        if i >= steps * 3 // 4:
            changes += (active != previous).any(axis=1)
        previous = active
    return sandwich(below, above, changes)


def cosine(seed: int, step: float = 0.1) -> Verdict:
    """Run forward-backward on min |A x - y|^2 / 2 + |x|_1 / 2 with an orthogonal A, where seven margins are 0.

    As x* = A^T y softened at 1/2, every degenerate coordinate converges geometrically from one side: from above it is
    never exactly zero, from the other side it is. Active means above 1e-13, three orders below its size at the end.
    """
    rng = np.random.default_rng(seed)
    A = dct(np.eye(16), norm="ortho")
    c = rng.uniform(-0.25, 0.25, 16)
    c[[4, 10]] = 3.0, -3.0
    up, down = [0, 3, 8, 13], [6, 11, 15]
    c[up], c[down] = 0.5, -0.5
    y = A @ c
    star = np.sign(c) * np.maximum(np.abs(c) - 0.5, 0)
    upper = np.abs(c) >= 0.5
    boundary = np.zeros(16)
    boundary[up], boundary[down] = 1.0, -1.0
    x = np.stack([star + boundary, star + boundary * (np.arange(16) % 2), star - boundary])
    psi = L1(0.5)
    for _ in range(240):
        x = psi.prox(x - step * (x @ A.T - y) @ A, step)
    return settled_supports(np.abs(x) > 1e-13, star != 0, upper, float(np.abs(x - star).max()))


def check(size: Size, seed: int) -> Verdict:
    """Test two dual averaging methods and the deterministic example."""
    return all_hold(
        ("RMDA", run(RMDA(lr=0.1), size, seed)),
        ("RDA", run(RDA(gamma=1.0), size, seed)),
        ("forward-backward", cosine(seed)),
    )


def control(size: Size, seed: int) -> Verdict:
    """Run proximal SGD, with a constant and a vanishing step."""
    return all_fail(*((str(m), run(m, size, seed)) for m in (ProxSGD(0.1), ProxSGD(0.5, decay=0.5))))


CHECK = Check(SANDWICH, check, control)
