"""Runs for the regret bound: linear losses with signs that hurt, and logistic losses from random starts."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from convex_bench.theorems.check import Check, Size
from manifold_id.methods import RDA, RMDA
from manifold_id.methods.base import Method
from manifold_id.regularizers import L1
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.regret import REGRET, regret, regret_bound

Array = np.ndarray


class _Given:
    """An oracle that returns the gradients it is given."""

    def __init__(self) -> None:
        self.g: Any = None

    def __call__(self, w: Array) -> Array:
        return self.g(w)


def linear(method: Method, gamma: float, signs: Array, radius: float) -> Verdict:
    """Run on f_t(w) = s_t w in one dimension, G = 1, against the best w with |w| <= radius; signs (steps, seeds)."""
    steps, seeds = signs.shape
    oracle, state = _Given(), method.init(np.zeros((seeds, 1)))
    loss = np.zeros((steps, seeds))
    for t in range(steps):
        loss[t] = signs[t] * state.w[:, 0]
        oracle.g = lambda w, t=t: signs[t][:, None] + 0 * w
        state = method.update(oracle, state, L1(0.0))  # type: ignore[arg-type]
    best = -radius * np.abs(np.cumsum(signs, axis=0))
    observed = np.cumsum(loss, axis=0) - best
    return regret(observed, regret_bound(steps, gamma, radius, 1.0), what="regret", largest_gradient=1.0, gradient=1.0)


def logistic(start: float, size: Size, seed: int) -> list[tuple[str, Verdict]]:
    """Run RDA on logistic losses with |x_i| <= 1 = G from w_1 uniform on [-start, start]: regret, and suboptimality."""
    rng = np.random.default_rng(seed)
    n, p, lam, gamma, seeds, steps = 200, 8, 0.02, 0.5, max(20, size.seeds // 4), size.steps(1000)
    X = rng.standard_normal((n, p))
    X /= np.linalg.norm(X, axis=1).max()
    y = np.where(X @ np.array([4.0, -4, 3, 0, 0, 0, 0, 0]) + 0.3 * rng.logistic(size=n) > 0, 1.0, -1.0)
    psi, rows = L1(lam), rng.integers(0, n, (steps, seeds))

    def objective(w: Array) -> Array:
        return np.asarray(np.logaddexp(0, -y * (w @ X.T)).mean(axis=-1) + psi.value(w))

    best = np.zeros(p)  # proximal gradient to rounding: L <= 1/4 as the rows have norm at most 1
    for _ in range(4000):
        best = psi.prox(best + 4 * X.T @ (y * expit(-y * (X @ best))) / n, 4.0)
    w1 = rng.uniform(-start, start, (seeds, p))
    oracle, state, method = _Given(), RDA(gamma).init(w1), RDA(gamma)
    gap, mean, total, largest = np.zeros((steps, seeds)), np.zeros((steps, seeds)), np.zeros((seeds, p)), 0.0
    for t in range(steps):
        x, label, w = X[rows[t]], y[rows[t]], state.w
        gap[t] = np.logaddexp(0, -label * (x * w).sum(axis=1)) + psi.value(w)
        gap[t] -= np.logaddexp(0, -label * (x @ best)) + psi.value(best)
        g = -(label * expit(-label * (x * w).sum(axis=1)))[:, None] * x
        largest = max(largest, float(np.linalg.norm(g, axis=1).max()))
        oracle.g = lambda w, g=g: g
        total += w
        mean[t] = objective(total / (t + 1)) - objective(best)
        state = method.update(oracle, state, psi)  # type: ignore[arg-type]
    extra = np.linalg.norm(w1, axis=1) + psi.value(w1)
    radius = float(np.linalg.norm(best))
    bound = regret_bound(steps, gamma, radius, 1.0)[:, None] + extra
    expected = bound.mean(axis=1) / np.arange(1, steps + 1)
    about: dict[str, Any] = {"largest_gradient": largest, "gradient": 1.0}
    return [
        (f"logistic, start {start:g}", regret(np.cumsum(gap, axis=0), bound, what="regret", **about)),
        (
            f"mean iterate, start {start:g}",
            regret(mean.mean(axis=1)[:, None], expected, what="mean suboptimality", **about),
        ),
    ]


def _signs(kind: str, size: Size, seed: int) -> Array:
    steps, rng = size.steps(1000), np.random.default_rng(seed)
    if kind == "random":
        return rng.choice([-1.0, 1.0], (steps, size.seeds))
    return np.where(np.arange(steps) % 2, -1.0, 1.0)[:, None] * np.ones(2)


def check(size: Size, seed: int) -> Verdict:
    """Test RDA with three gammas on linear losses, and on logistic losses from four kinds of start."""
    parts = [
        (f"{kind} signs, gamma {gamma:g}", linear(RDA(gamma), gamma, _signs(kind, size, seed), radius))
        for kind in ("random", "alternating")
        for gamma, radius in ((1.0, 1.0), (0.3, 3.0), (3.0, 0.5))
    ]
    for start in (0.0, 0.1, 1.0, 10.0):
        parts += logistic(start, size, seed)
    return all_hold(*parts)


def control(size: Size, seed: int) -> Verdict:
    """Keep beta constant: RMDA with s = 1 and beta = t^0 is dual averaging with beta = 1."""
    return all_fail(
        ("constant beta", linear(RMDA(1.0, decay=0.5, damping=0.0), 1.0, _signs("alternating", size, seed), 1.0))
    )


CHECK = Check(REGRET, check, control)
