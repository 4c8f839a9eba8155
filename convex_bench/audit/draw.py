"""Random problems of every loss, penalty, storage, scaling and degeneracy, each by its number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from convex_bench.problem import Problem
from manifold_id.regularizers import (
    L1,
    Box,
    ElasticNet,
    GroupLasso,
    NonnegativeL1,
    NuclearNorm,
    Simplex,
    SparseGroupLasso,
    TotalVariation,
)
from manifold_id.regularizers.base import Regularizer

Array = np.ndarray
LOSSES = ("squared", "logistic", "multinomial")
PENALTIES = (
    "l1", "group", "weighted group", "elastic net", "sparse group", "nonnegative", "free columns", "lam = 0",
    "box", "simplex", "total variation", "nuclear norm",
)  # fmt: skip
OTHERS = PENALTIES[-4:]
SCALINGS = ("plain", "columns 1e-6 to 1e6", "all 1e-8", "all 1e-5", "all 1e5", "years", "far from zero")
SHAPES = ("plain", "n < d", "duplicate columns", "separable", "at lambda_max", "unequal classes")


@dataclass(frozen=True, eq=False)
class Norms:
    """psi in words of its own: sum_g lam_g |w_g| + l1 |w|_1 + ridge |w|^2 / 2 on the features.

    groups : the flat coordinates of each group; weights, lam : of each; nonnegative : whether w >= 0 is asked.
    """

    groups: list[Array]
    weights: list[float]
    lam: list[float]
    l1: float
    ridge: float
    nonnegative: bool


@dataclass(frozen=True)
class Other:
    """psi that is no sum of norms: its name, with lam (total variation, nuclear norm), radius (simplex) or bounds."""

    name: str
    lam: float = 0.0
    lower: float = 0.0
    upper: float = 0.0


@dataclass(frozen=True, eq=False)
class Case:
    """A drawn problem; unattained: True or False where it is known by construction whether no minimizer exists."""

    seed: int
    kind: dict[str, str]
    problem: Problem
    psi: Norms | Other
    unattained: bool | None


def draw(seed: int) -> Case:
    """Return the problem of a seed."""
    rng = np.random.default_rng(seed)
    kind = {
        "loss": str(rng.choice(LOSSES)), "penalty": str(rng.choice(PENALTIES)), "scaling": str(rng.choice(SCALINGS)),
        "shape": str(rng.choice(SHAPES, p=[0.55, 0.1, 0.1, 0.1, 0.1, 0.05])),
        "storage": str(rng.choice(["dense", "CSR", "float32"], p=[0.6, 0.25, 0.15])),
    }  # fmt: skip
    intercept = bool(rng.random() < 0.5)
    if kind["penalty"] == "nuclear norm":
        kind["loss"] = "multinomial"  # psi of matrices
    elif kind["penalty"] in OTHERS and kind["loss"] == "multinomial":
        kind["loss"] = "logistic"  # psi of vectors
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
        rare = kind["shape"] == "unequal classes"
        y = score > (0.0 if separable else np.quantile(score, 0.85) if rare else np.median(score))
    elif kind["loss"] == "multinomial":
        y = np.digitize(score, np.quantile(score, [0.1, 0.2] if kind["shape"] == "unequal classes" else [0.35, 0.7]))
    K = 3 if kind["loss"] == "multinomial" else 1
    if kind["penalty"] in OTHERS:
        return _other(rng, seed, kind, X, y, intercept)
    penalty, make = _penalty(rng, kind["penalty"], d, K)
    problem = Problem(X, y, kind["loss"], penalty, intercept=intercept)
    ratio = 1.0 if kind["shape"] == "at lambda_max" else float(10.0 ** rng.uniform(-2.5, -0.1))
    lam = 0.0
    if kind["penalty"] != "lam = 0":
        lam = ratio * problem.lambda_max()
        lam = lam if np.isfinite(lam) and lam > 0 else 1e-3
        problem = problem.with_lam(lam)
    free = kind["penalty"] == "lam = 0" or (kind["penalty"] == "free columns")
    # the separating column is free, and with columns moved from zero an intercept is needed to follow
    known = True if separable and free and (intercept or not shifted) else None
    if kind["shape"] == "n < d" and kind["penalty"] == "lam = 0" and np.linalg.matrix_rank(Z) == n:
        known = True  # any labels are separated by some direction
    if kind["loss"] == "squared" or not free:
        known = False
    return Case(seed, kind, problem, make(lam), known)


def _other(rng: np.random.Generator, seed: int, kind: dict[str, str], X: Any, y: Any, intercept: bool) -> Case:
    """Return the problem of a psi that is no sum of norms, strong enough to be felt."""
    name = kind["penalty"]
    p = Problem(X, y, kind["loss"], L1(0.0) if kind["loss"] != "multinomial" else NuclearNorm(0.0), intercept=intercept)
    size = 1.0 / float(np.sqrt(p.column_squares() / p.n).max())  # of a coordinate that is felt
    gradient = np.abs(p.gradient(p.null_model()))[: p.n_features]
    strength = float(10.0 ** rng.uniform(-2.0, -0.3)) * float(np.sqrt((gradient**2).sum()))
    psi: Regularizer
    if name == "box":
        lower, upper = sorted((rng.uniform(-1.0, 1.0, 2) * size).tolist())
        psi, words = Box(lower, upper), Other(name, lower=lower, upper=upper)
    elif name == "simplex":
        radius = float(rng.uniform(0.1, 3.0) * size)
        psi, words = Simplex(radius), Other(name, upper=radius)
    elif name == "total variation":
        psi, words = TotalVariation(strength), Other(name, lam=strength)
    else:
        psi, words = NuclearNorm(strength), Other(name, lam=strength)
    bounded = kind["loss"] == "squared" or name != "total variation"
    return Case(seed, kind, p.with_regularizer(psi), words, False if bounded else None)


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


def _penalty(rng: np.random.Generator, name: str, d: int, K: int) -> tuple[Any, Callable[[float], Norms]]:
    """Return (regularizer of lam 1, the same in words as a function of lam) for d features of K coordinates."""

    def norms(
        groups: list[Array], weights: list[float], l1: float = 0.0, ridge: float = 0.0, nonnegative: bool = False
    ) -> Callable[[float], Norms]:
        return lambda lam: Norms(groups, weights, [lam * a for a in weights], lam * l1, ridge, nonnegative)

    coordinates = np.arange(d * K).reshape(d, K)
    entries = [np.array([j]) for j in range(d * K)]
    ones = [1.0] * (d * K)
    labels = rng.integers(0, max(2, d // 2), d)
    labels = np.unique(labels, return_inverse=True)[1]
    groups = [coordinates[labels == g].ravel() for g in range(labels.max() + 1)]
    sizes = [float(np.sqrt(len(g))) for g in groups]
    rows = [coordinates[j] for j in range(d)]
    if name in ("l1", "lam = 0"):
        return L1(1.0 if name == "l1" else 0.0), norms(entries, ones)
    if name == "group":
        return GroupLasso(1.0, groups=labels), norms(groups, sizes)
    if name == "weighted group":
        weights = np.exp(rng.uniform(-12, 4, len(groups))).tolist()
        return GroupLasso(1.0, groups=labels, weights=weights), norms(groups, weights)
    if name == "free columns":
        weights = [0.0] + [1.0] * (d - 1)
        return GroupLasso(1.0, groups=np.arange(d), weights=weights), norms(rows, weights)
    if name == "elastic net":
        ridge = float(10.0 ** rng.uniform(-4, 1))
        return ElasticNet(1.0, ridge), norms(entries, ones, ridge=ridge)
    if name == "sparse group":
        return SparseGroupLasso(1.0, groups=labels), norms(groups, [0.5 * s for s in sizes], l1=0.5)
    return NonnegativeL1(1.0), norms(entries, ones, nonnegative=True)
