"""Runs for the equivalence of vanishing subgradients and the manifold, and for the sensitivity of the solution."""

from __future__ import annotations

from typing import Any

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import gaussian, states
from manifold_id.methods import ProxSGD
from manifold_id.regularizers import L1, GroupLasso
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.partial_smoothness import PARTIAL_SMOOTHNESS, equivalence, sensitivity

Array = np.ndarray
MARGIN = 0.3


def near(size: Size, seed: int, margin: float) -> Verdict:
    """Judge the steps of proximal SGD near the solution against a claimed margin of 0.3."""
    problem = l1_quadratic(margin, seed)
    L, rows = float(np.max(problem.curvature)), []
    for lr in (0.02, 0.1):
        run = states(problem, ProxSGD(lr), gaussian(MARGIN), problem.w, size.steps(300), seeds=20, seed=seed)
        for state in run:
            on = (problem.regularizer.structure(state.w) == problem.codes).all(axis=1)
            residual = np.linalg.norm(problem.regularizer.residual(state.w, problem.gradient(state.w)), axis=1)
            rows.append((on, residual, np.linalg.norm(state.w - problem.w, axis=1)))
    on, residual, distance = (np.concatenate(a) for a in zip(*rows, strict=True))
    close = distance < min(MARGIN / L, 0.5)
    return equivalence(on[close], residual[close], distance[close], MARGIN, L)


def _minimize(H: Array, linear: Array, psi: Any, w: Array) -> Array:
    """Return argmin w^T H w / 2 + <linear, w> + psi(w) for a batch of `linear`, to rounding."""
    L = float(np.linalg.eigvalsh(H)[-1])
    for _ in range(3000):
        w = psi.prox(w - (w @ H + linear) / L, 1 / L)
    return w


def differences(seed: int, psi: Any, size: int, margin: float, h: float = 1e-4) -> Verdict:
    """Compare one-sided differences with (P H P)^+; atoms of `size` coordinates, two of four active."""
    rng = np.random.default_rng(seed)
    p = 4 * size
    A = rng.standard_normal((3 * p, p))
    H = A.T @ A / (3 * p) + 0.3 * np.eye(p)
    unit = rng.standard_normal((4, size))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    star = (unit * np.array([1.0, 1.5, 0, 0])[:, None]).ravel()
    dual = (unit * np.array([1.0, 1.0, 1 - margin, 0.2])[:, None]).ravel()
    linear = -dual - H @ star
    v = rng.standard_normal((6, p))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    forward, backward = (
        (_minimize(H, linear - s * h * v, psi, np.tile(star, (6, 1))) - star) / (s * h) for s in (1.0, -1.0)
    )
    along = H.copy()
    for g, length in ((0, 1.0), (1, 1.5)):
        block = slice(g * size, (g + 1) * size)
        along[block, block] += (np.eye(size) - np.outer(unit[g], unit[g])) / length
    active = np.arange(p) < 2 * size
    P = np.diag(active.astype(float))
    return sensitivity(forward, backward, v @ np.linalg.pinv(P @ along @ P))


def check(size: Size, seed: int) -> Verdict:
    """Test the inequalities and the derivative."""
    return all_hold(
        ("equivalence", near(size, seed, MARGIN)),
        ("sensitivity, l1", differences(seed, L1(1.0), 1, MARGIN)),
        ("sensitivity, groups", differences(seed, GroupLasso(1.0, groups=3, weights=None), 3, MARGIN)),
    )


def control(size: Size, seed: int) -> Verdict:
    """Judge degenerate instances as if they had the margin."""
    return all_fail(
        ("equivalence", near(size, seed, 0.0)),
        ("sensitivity, l1", differences(seed, L1(1.0), 1, 0.0)),
        ("sensitivity, groups", differences(seed, GroupLasso(1.0, groups=3, weights=None), 3, 0.0)),
    )


CHECK = Check(PARTIAL_SMOOTHNESS, check, control)
