"""Runs for the covariance on the face: correlated quadratics on the nonnegative orthant and on a box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.synthetic import gaussian, states
from manifold_id.methods import RMDA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.regularizers import Box
from manifold_id.theory.asymptotic_normality import ASYMPTOTIC_NORMALITY, face_covariance
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_hold

Array = np.ndarray
SIGMA = 0.5


@dataclass(frozen=True, eq=False)
class _Correlated:
    """f(w) = (w - w*)^T H (w - w*) / 2 - <u, w>."""

    regularizer: Box
    w: Array
    dual: Array
    hessian: Array

    def gradient(self, w: Array) -> Array:
        return (w - self.w) @ self.hessian - self.dual


def _instance(kind: str, seed: int) -> _Correlated:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((12, 5))
    H = A.T @ A / 12 + 0.5 * np.eye(5)
    if kind == "orthant":
        return _Correlated(Box(0.0, float("inf")), np.array([3.0, 4, 5, 0, 0]), np.array([0.0, 0, 0, -0.4, -0.6]), H)
    return _Correlated(Box(-3.0, 3.0), np.array([0.0, 0.5, -0.5, -3, 3]), np.array([0.0, 0, 0, -0.4, 0.6]), H)


def run(kind: str, method: Method, size: Size, seed: int) -> Verdict:
    """Average the second half of the run; the start is the solution, the centre of dual averaging."""
    problem = _instance(kind, seed)
    seeds, steps = 6 * size.seeds, size.steps(3000)
    total = np.zeros((seeds, 5))
    for state in states(problem, method, gaussian(SIGMA), problem.w, steps, seeds=seeds, seed=seed):
        if state.t > steps // 2:
            total += state.w - problem.w
    free = np.diag((problem.dual == 0).astype(float))
    inverse = np.linalg.pinv(free @ problem.hessian @ free)
    samples = total / np.sqrt(steps - steps // 2)
    return face_covariance(samples, free, SIGMA**2 * inverse @ inverse)


def check(size: Size, seed: int) -> Verdict:
    """Test dual averaging with steps a k^-b: s_k = k^-b and beta = 1."""
    method = RMDA(lr=0.5, decay=1.1, damping=0.0)  # s_k = k^(1/2 - decay) = k^-0.6
    return all_hold(*((kind, run(kind, method, size, seed)) for kind in ("orthant", "box")))


def control(size: Size, seed: int) -> Verdict:
    """Run projected SGD with the same steps."""
    return run("orthant", ProxSGD(lr=0.5, decay=0.6), size, seed)


CHECK = Check(ASYMPTOTIC_NORMALITY, check, control)
