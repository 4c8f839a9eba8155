"""The average of dual averaging's iterates on the face: its covariance, and no variance normal to the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, kstest

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.synthetic import gaussian, states
from manifold_id.methods import RMDA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.regularizers import Box, Simplex
from manifold_id.regularizers.base import Regularizer
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
from manifold_id.theory.combine import all_fail, all_hold

Array = np.ndarray

ASYMPTOTIC_NORMALITY = Theorem(
    name="face-covariance",
    title="On the face the mean iterate is asymptotically normal, with no variance normal to it",
    statement="Dual averaging with steps a_k = a k^-b, 1/2 < b < 1, linear constraints, strict complementarity, "
    "P the projector onto the active face's directions: sqrt(k) (mean of x_1 .. x_k - x*) -> N(0, (P H P)^+ "
    "Sigma (P H P)^+). Off the face the sum of the errors stays finite.",
    latex=r"\sqrt k(\bar x_k-x^*)\to\mathcal N\big(0,(PHP)^+P\Sigma P(PHP)^+\big)",
    source="Duchi and Ruan, Annals of Statistics 49 (2021), whose abstract states finite identification and "
    "asymptotic optimality of dual averaging. The covariance is derived: once the face is identified the sum "
    "of the steps' gradients moves x along the face alone, x_{k+1} - x* = (I - a_k P H P)(x_k - x*) - a_k P "
    "xi_k, and the mean of such a sequence has the covariance (P H P)^+ P Sigma P (P H P)^+ (Polyak and "
    "Juditsky 1992).",
    measured="Mean iterates over the last half of the run (after identification), of many seeds, on quadratics with "
    "correlated coordinates over the nonnegative orthant, a box and the simplex. Along the face: relative Frobenius "
    "error of the covariance against the prediction, with the sampling error of the estimate added to the limit; and "
    "normality: squared Mahalanobis distances with the observed covariance against their beta law by a "
    "Kolmogorov-Smirnov test. Normal to the face: 0 at every seed, exactly for bounds, to rounding for the sum.",
    control="Projected SGD with the same steps: the constraint is left whenever noise exceeds the margin, and "
    "the variance normal to the face is not 0.",
)

LEVEL = 1e-3  # of the test of normality
ROUNDING = 1e-12


def face_covariance(samples: Array, projector: Array, predicted: Array, *, margin: float) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    samples
        sqrt(k) (mean iterate - x*) of every seed, (seeds, p).
    projector
        P, (p, p), onto the directions of the face.
    predicted
        The covariance, (p, p), of the rank of P.
    margin
        Of strict complementarity; assumed positive.
    """
    seeds = len(samples)
    on = samples @ projector
    off = float(np.abs(samples - on).max())
    covariance = on.T @ on / seeds
    scale = float(np.linalg.norm(predicted))
    error = float(np.linalg.norm(covariance - predicted)) / scale
    sampling = float(np.sqrt((np.trace(predicted) ** 2 + scale**2) / seeds)) / scale  # of a Wishart matrix
    limit = 0.1 + 2 * sampling
    rank = round(float(np.trace(projector)))
    # the samples' own covariance: what it is off by is judged above, and normal samples follow a scaled beta law
    squared = np.sort(np.einsum("si,ij,sj->s", on, np.linalg.pinv(covariance, rcond=1e-9), on))
    normal = beta(rank / 2, (seeds - rank) / 2, scale=seeds)
    p = float(kstest(squared, normal.cdf).pvalue)
    law = normal.ppf((np.arange(seeds) + 0.5) / seeds)
    figure = Evidence(
        f"Squared Mahalanobis distances on a face of dimension {rank}",
        "quantile of the law for normal samples",
        "observed quantile",
        (Curve("seeds", law, squared, kind="points"), Curve("equal", law, law)),
    )
    return decide(
        error <= limit and off <= ROUNDING and p >= LEVEL,
        (Assumption("dimension of the face", rank, rank > 0), Assumption("margin", margin, margin > 0)),
        f"covariance on the face off by {error:.1%} (limit {limit:.1%}), Kolmogorov-Smirnov p {p:.2g}, "
        f"largest deviation normal to the face {off:.2g}",
        f"relative Frobenius error <= 10 % + 2 standard errors; KS p >= {LEVEL:g}; <= {ROUNDING:g} normal to the face",
        error,
        (0.0, limit),
        seeds,
        samples.size,
        evidence=(figure,),
        figures={"normal deviation": off, "KS p": p},
    )


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


def run(kind: str, method: Method, size: Size, seed: int) -> Verdict:
    """Average the second half of the run; the start is the solution, the centre of dual averaging."""
    seed = len(FACES) * seed + FACES.index(kind)
    problem = _instance(kind, seed)
    seeds, steps = 6 * size.seeds, size.steps(STEPS)
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
    return all_fail(*((kind, run(kind, ProxSGD(lr=STEP, decay=POWER), size, seed)) for kind in ("orthant", "simplex")))


SPECIAL = "quadratics with a known covariance of the noise on a face of linear constraints"
CHECK = Check(ASYMPTOTIC_NORMALITY, check, control, SPECIAL)
