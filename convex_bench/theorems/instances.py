"""Random quadratics with a planted solution and margin, one for each kind of manifold, and Poon's 3-d example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convex_bench.problem import Problem
from convex_bench.theorems.synthetic import Quadratic
from manifold_id.regularizers import L1, Box, GroupLasso, LHalf, NonnegativeL1, NuclearNorm, TotalVariation

Array = np.ndarray


def l1_quadratic(margin: float, seed: int, *, active: int = 3, off: int = 5, regularizer: Any = None) -> Quadratic:
    """l1, or another entrywise penalty with subdifferential [-1, 1] at 0; the first off coordinate has the margin."""
    rng = np.random.default_rng(seed)
    regularizer = L1(1.0) if regularizer is None else regularizer
    sign = np.ones(active) if isinstance(regularizer, NonnegativeL1) else rng.choice([-1.0, 1.0], active)
    w = np.concatenate([sign * rng.uniform(1, 2, active), np.zeros(off)])
    dual = np.concatenate([sign, rng.choice([-1.0, 1.0], off) * rng.uniform(0, 1 - margin, off)])
    dual[active] = 1 - margin
    return Quadratic(regularizer, w, dual, rng.uniform(0.5, 1, len(w)))


def nonnegative_quadratic(margin: float, seed: int) -> Quadratic:
    """l1 on nonnegative variables."""
    return l1_quadratic(margin, seed, regularizer=NonnegativeL1(1.0))


def group_quadratic(margin: float, seed: int, *, size: int = 3) -> Quadratic:
    """Group lasso, two active groups of three coordinates and three off, all of weight 1."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((5, size))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = np.concatenate([rng.uniform(1.5, 2.5, 2), np.zeros(3)])[:, None]
    length = np.concatenate([np.ones(2), [1 - margin], rng.uniform(0, 1 - margin, 2)])[:, None]
    regularizer = GroupLasso(1.0, groups=size, weights=None)
    return Quadratic(regularizer, (radius * directions).ravel(), (length * directions).ravel(), rng.uniform(0.5, 1))


def box_quadratic(margin: float, seed: int) -> Quadratic:
    """The box [0, 1]^6: two coordinates at each bound, two between; u <= 0 at the lower bound, >= 0 at the upper."""
    rng = np.random.default_rng(seed)
    w = np.concatenate([[0.0, 0.0, 1.0, 1.0], rng.uniform(0.4, 0.6, 2)])
    size = margin * np.array([1.0, rng.uniform(1, 3), rng.uniform(1, 3), rng.uniform(1, 3)])
    dual = np.concatenate([-size[:2], size[2:], np.zeros(2)])
    return Quadratic(Box(0.0, 1.0), w, dual, rng.uniform(0.5, 1, 6))


def variation_quadratic(margin: float, seed: int) -> Quadratic:
    """Total variation with lam = 1: three pieces of four entries; the running sums of -u are the dual variables."""
    rng = np.random.default_rng(seed)
    up = rng.choice([-1.0, 1.0], 2)
    w = np.repeat(np.cumsum([0.0, *(up * rng.uniform(1.5, 2.5, 2))]), 4)
    running = rng.uniform(-(1 - margin), 1 - margin, 13)  # of g: y_i = sum_{j<=i} g_j
    running[2] = 1 - margin
    running[[0, 12]] = 0.0
    running[[4, 8]] = up
    return Quadratic(TotalVariation(1.0), w, -np.diff(running), rng.uniform(0.5, 1))


def nuclear_quadratic(margin: float, seed: int, *, size: int = 6) -> Quadratic:
    """Nuclear norm with lam = 1 on square matrices: rank 1, the largest normal singular value of u is 1 - margin."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(2))
    s = np.concatenate([[1.0, 1 - margin], np.sort(rng.uniform(0, 1 - margin, size - 2))[::-1]])
    return Quadratic(NuclearNorm(1.0), 3.0 * np.outer(u[:, 0], v[:, 0]), (u * s) @ v.T, 1.0)


def nonconvex_quadratic(margin: float, seed: int, regularizer: Any) -> Quadratic:
    """Three active coordinates in [4, 5], five off. MCP with gamma lam <= 4 and l0 with lam <= 1 are flat there."""
    rng = np.random.default_rng(seed)
    w = np.concatenate([rng.choice([-1.0, 1.0], 3) * rng.uniform(4, 5, 3), np.zeros(5)])
    dual = np.concatenate([np.zeros(3), rng.uniform(margin - 1, 1 - margin, 5)])
    if isinstance(regularizer, LHalf):
        dual[:3] = regularizer.lam * np.sign(w[:3]) / (2 * np.sqrt(np.abs(w[:3])))
    return Quadratic(regularizer, w, dual, 1.0)


INSTANCES: dict[str, Callable[[float, int], Quadratic]] = {
    "l1": l1_quadratic,
    "nonnegative": nonnegative_quadratic,
    "groups": group_quadratic,
    "box": box_quadratic,
    "total variation": variation_quadratic,
    "nuclear norm": nuclear_quadratic,
}


def poon(margins: tuple[float, float] = (1 / 9, 1 / 12)) -> Problem:
    """Return the three-dimensional lasso of Poon, Liang and Schoenlieb (ICML 2018): A = diag(1, sqrt 2, sqrt 3),
    min |A w - y|^2 / 6 + |w|_1 / 3, solution (1, 0, 0).

    y = (2, a, b) with a, b such that the off coordinates have the given margins; 1/9 and 1/12 are the authors'.
    """
    scale = np.sqrt([1.0, 2.0, 3.0])
    y = np.array([2.0, *(3 * (1 / 3 - np.array(margins)) / scale[1:])])
    return Problem(np.diag(scale), y, "squared", L1(1 / 3))


POON_SOLUTION = np.array([1.0, 0.0, 0.0])
