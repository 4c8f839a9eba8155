"""Runs for the covariance on the face: correlated quadratics on the nonnegative orthant, a box and the simplex."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.synthetic import gaussian, states
from manifold_id.methods import RMDA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.regularizers import Box, Simplex
from manifold_id.regularizers.base import Regularizer
from manifold_id.theory.asymptotic_normality import ASYMPTOTIC_NORMALITY, face_covariance
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold

Array = np.ndarray
FACES = ("orthant", "box", "simplex")
STEP, POWER = 1.0, 0.55  # a window of n steps shortens the variance by a share of about 1 / (mu a_n n): a large a
STEPS = 3000


@dataclass(frozen=True, eq=False)
class _Correlated:
    """f(w) = (w - w*)^T H (w - w*) / 2 - <u, w>; the projector is that onto the directions of the face of w*."""

    regularizer: Regularizer
    w: Array
    dual: Array
    hessian: Array
    projector: Array
    sigma: float

    def gradient(self, w: Array) -> Array:
        return (w - self.w) @ self.hessian - self.dual

    @property
    def margin(self) -> float:
        return float(np.min(self.regularizer.margin(self.w, -self.dual)))


def _instance(kind: str, seed: int) -> _Correlated:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((12, 5))
    H = A.T @ A / 12 + 0.5 * np.eye(5)
    if kind == "simplex":  # the noise must be small beside w* > 0, and the multiplier of the sum is 0.2
        free = np.array([1.0, 1, 1, 0, 0])
        projector = np.diag(free) - np.outer(free, free) / free.sum()
        star, dual = np.array([0.3, 0.3, 0.4, 0, 0]), 0.2 - np.array([0, 0, 0, 0.04, 0.06])
        return _Correlated(Simplex(1.0), star, dual, H, projector, 0.05)
    projector = np.diag([1.0, 1, 1, 0, 0])
    if kind == "orthant":
        star, dual = np.array([3.0, 4, 5, 0, 0]), np.array([0.0, 0, 0, -0.4, -0.6])
        return _Correlated(Box(0.0, float("inf")), star, dual, H, projector, 0.5)
    star, dual = np.array([0.0, 0.5, -0.5, -3, 3]), np.array([0.0, 0, 0, -0.4, 0.6])
    return _Correlated(Box(-3.0, 3.0), star, dual, H, projector, 0.5)


def run(kind: str, method: Method, size: Size, seed: int, steps: int = STEPS) -> Verdict:
    """Average the second half of the run; the start is the solution, the centre of dual averaging."""
    seed = len(FACES) * seed + FACES.index(kind)
    problem = _instance(kind, seed)
    seeds, steps = 6 * size.seeds, size.steps(steps)
    total = np.zeros((seeds, 5))
    for state in states(problem, method, gaussian(problem.sigma), problem.w, steps, seeds=seeds, seed=seed):
        if state.t > steps // 2:
            total += state.w - problem.w
    P = problem.projector
    inverse = np.linalg.pinv(P @ problem.hessian @ P)
    samples = total / np.sqrt(steps - steps // 2)
    return face_covariance(samples, P, problem.sigma**2 * inverse @ P @ inverse, margin=problem.margin)


def check(size: Size, seed: int) -> Verdict:
    """Test dual averaging with steps a k^-b: s_k = k^-b and beta = 1."""
    method = RMDA(lr=STEP, decay=0.5 + POWER, damping=0.0)  # s_k = a k^(1/2 - decay) = a k^-b
    return all_hold(*((kind, run(kind, method, size, seed)) for kind in FACES))


def control(size: Size, seed: int) -> Verdict:
    """Run projected SGD with the same steps."""
    return all_fail(
        *((kind, run(kind, ProxSGD(lr=STEP, decay=POWER), size, seed, STEPS // 3)) for kind in ("orthant", "simplex"))
    )


CHECK = Check(ASYMPTOTIC_NORMALITY, check, control)
