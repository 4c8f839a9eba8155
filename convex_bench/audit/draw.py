"""Random problems of every loss, penalty, storage, scaling and degeneracy, each by its number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from convex_bench.problem import Problem
from manifold_id.regularizers import L1, ElasticNet, GroupLasso, NonnegativeL1, SparseGroupLasso

Array = np.ndarray
LOSSES = ("squared", "logistic", "multinomial")
PENALTIES = ("l1", "group", "weighted group", "elastic net", "sparse group", "nonnegative", "free columns", "lam = 0")
SCALINGS = ("plain", "columns 1e-6 to 1e6", "all 1e-8", "all 1e-5", "all 1e5", "years", "far from zero")
SHAPES = ("plain", "n < d", "duplicate columns", "separable", "at lambda_max")


@dataclass(frozen=True, eq=False)
class Case:
    """A drawn problem, and its psi in words of its own: sum_g lam_g |w_g| + l1 |w|_1 + ridge |w|^2 / 2 on features.

    groups : the flat coordinates of each group; weights, lam : of each; nonnegative : whether w >= 0 is asked.
    unattained : True or False where it is known by construction whether no minimizer exists, else None.
    """

    seed: int
    kind: dict[str, str]
    problem: Problem
    groups: list[Array]
    weights: list[float]
    lam: list[float]
    l1: float
    ridge: float
    nonnegative: bool
    unattained: bool | None


def draw(seed: int) -> Case:
    """Return the problem of a seed."""
    rng = np.random.default_rng(seed)
    kind = {
        "loss": str(rng.choice(LOSSES)), "penalty": str(rng.choice(PENALTIES)), "scaling": str(rng.choice(SCALINGS)),
        "shape": str(rng.choice(SHAPES, p=[0.6, 0.1, 0.1, 0.1, 0.1])),
        "storage": str(rng.choice(["dense", "CSR", "float32"], p=[0.6, 0.25, 0.15])),
    }  # fmt: skip
    intercept = bool(rng.random() < 0.5)
    n, d = int(rng.integers(12, 50)), int(rng.integers(2, 9))
    if kind["shape"] == "n < d":
        n, d = 8, 12
    Z = rng.standard_normal((n, d))
    if kind["storage"] == "CSR":
        Z *= rng.random((n, d)) < 0.6
    if kind["shape"] == "duplicate columns":
        Z[:, -1] = Z[:, 0]
    score = Z @ (rng.standard_normal(d) * (rng.random(d) < 0.6)) + rng.standard_normal(n)
    separable = kind["shape"] == "separable" and kind["loss"] == "logistic"
    if separable:
        score = np.where(Z[:, 0] == 0, 1.0, Z[:, 0])
        Z[:, 0] = score
    X, shifted = _scaled(rng, Z, kind["scaling"])
    X = X.astype(np.float32) if kind["storage"] == "float32" else sparse.csr_array(X) if kind["storage"] == "CSR" else X
    y: Any = score
    if kind["loss"] == "logistic":
        y = score > (0.0 if separable else np.median(score))
    elif kind["loss"] == "multinomial":
        y = np.digitize(score, np.quantile(score, [0.35, 0.7]))
    K = 3 if kind["loss"] == "multinomial" else 1
    penalty, parts = _penalty(rng, kind["penalty"], d, K)
    problem = Problem(X, y, kind["loss"], penalty, intercept=intercept)
    ratio = 1.0 if kind["shape"] == "at lambda_max" else float(10.0 ** rng.uniform(-2.5, -0.1))
    lam = 0.0
    if kind["penalty"] != "lam = 0":
        lam = ratio * problem.lambda_max()
        lam = lam if np.isfinite(lam) and lam > 0 else 1e-3
        problem = problem.with_lam(lam)
    groups, weights, l1, ridge, nonnegative = parts
    free = kind["penalty"] == "lam = 0" or (kind["penalty"] == "free columns")
    # the separating column is free, and with columns moved from zero an intercept is needed to follow
    known = True if separable and free and (intercept or not shifted) else None
    if kind["shape"] == "n < d" and kind["penalty"] == "lam = 0" and np.linalg.matrix_rank(Z) == n:
        known = True  # any labels are separated by some direction
    if kind["loss"] == "squared" or not free:
        known = False
    return Case(seed, kind, problem, groups, weights, [lam * a for a in weights], lam * l1, ridge, nonnegative, known)


def _scaled(rng: np.random.Generator, Z: Array, scaling: str) -> tuple[Array, bool]:
    """Return (X, whether its columns are moved)."""
    d = Z.shape[1]
    if scaling == "columns 1e-6 to 1e6":
        return Z * 10.0 ** rng.uniform(-6, 6, d), False
    if scaling.startswith("all"):
        return Z * float(scaling[4:]), False
    if scaling == "years":
        X = Z.copy()
        X[:, -1] = np.round(2000 + 5 * Z[:, -1])
        return X, True
    if scaling == "far from zero":
        return Z + 10.0 ** rng.uniform(1, 6, d), True
    return Z, False


def _penalty(rng: np.random.Generator, name: str, d: int, K: int) -> tuple[Any, Any]:
    """Return (regularizer of lam 1, (groups, weights, l1, ridge, nonnegative)) for d features of K coordinates."""
    coordinates = np.arange(d * K).reshape(d, K)
    entries = [np.array([j]) for j in range(d * K)]
    ones = [1.0] * (d * K)
    labels = rng.integers(0, max(2, d // 2), d)
    labels = np.unique(labels, return_inverse=True)[1]
    groups = [coordinates[labels == g].ravel() for g in range(labels.max() + 1)]
    sizes = [float(np.sqrt(len(g))) for g in groups]
    rows = [coordinates[j] for j in range(d)]
    if name in ("l1", "lam = 0"):
        return L1(1.0 if name == "l1" else 0.0), (entries, ones, 0.0, 0.0, False)
    if name == "group":
        return GroupLasso(1.0, groups=labels), (groups, sizes, 0.0, 0.0, False)
    if name == "weighted group":
        weights = np.exp(rng.uniform(-12, 4, len(groups))).tolist()
        return GroupLasso(1.0, groups=labels, weights=weights), (groups, weights, 0.0, 0.0, False)
    if name == "free columns":
        weights = [0.0] + [1.0] * (d - 1)
        return GroupLasso(1.0, groups=np.arange(d), weights=weights), (rows, weights, 0.0, 0.0, False)
    if name == "elastic net":
        ridge = float(10.0 ** rng.uniform(-4, 1))
        return ElasticNet(1.0, ridge), (entries, ones, 0.0, ridge, False)
    if name == "sparse group":
        return SparseGroupLasso(1.0, groups=labels), (groups, [0.5 * s for s in sizes], 0.5, 0.0, False)
    return NonnegativeL1(1.0), (entries, ones, 0.0, 0.0, True)
