"""The average of dual averaging's iterates on the face: its covariance, and no variance normal to the face."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import beta, kstest

from convex_bench.theorems.case import last_decades
from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.synthetic import gaussian, states
from manifold_id.methods import RMDA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.regularizers import Box, Simplex
from manifold_id.regularizers.base import Regularizer
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.exponent import exponent_near, rms
from manifold_id.theory.power import rejected

Array = np.ndarray

ASYMPTOTIC_NORMALITY = Theorem(
    name="face-covariance",
    title="The mean iterate is asymptotically normal along the face; normal to it dual averaging leaves nothing",
    statement="Linear constraints, strict complementarity, steps a_k = a k^-b, 1/2 < b < 1, P the projector onto the "
    "active face's directions: sqrt(k) (mean of x_1 .. x_k - x*) -> N(0, (P H P)^+ Sigma (P H P)^+), for dual "
    "averaging and for projected SGD alike. Off the face dual averaging is exactly 0 from some step on; projected SGD "
    "leaves the face for ever, with means of size k^-b, so that sqrt(k) times them falls like k^(1/2 - b).",
    latex=r"\sqrt k(\bar x_k-x^*)\to\mathcal N\big(0,(PHP)^+P\Sigma P(PHP)^+\big),\qquad"
    r"\sqrt k\,\|(I-P)(\bar x_k-x^*)\|\sim k^{1/2-b}\ \text{(projected SGD)}",
    source="Duchi and Ruan, Annals of Statistics 49 (2021): dual averaging. Davis, Drusvyatskiy and Jiang, arXiv "
    "2301.06632: the same law for projected SGD, without identification. The covariance is derived: along the face "
    "x_{k+1} - x* = (I - a_k P H P)(x_k - x*) - a_k P xi_k, and the mean of such a sequence has the covariance (P H "
    "P)^+ P Sigma P (P H P)^+ (Polyak and Juditsky 1992). The normal part of projected SGD is derived: x_i <- max(0, "
    "x_i - a_k (delta_i + noise)) scales with a_k, as its stationary law at a constant step does.",
    measured="Mean iterates over the last half of the run (after identification), of many seeds, on quadratics with "
    "correlated coordinates over the nonnegative orthant, a box and the simplex. Along the face: relative Frobenius "
    "error of the covariance against the prediction, with the sampling error of the estimate added to the limit; and "
    "normality: squared Mahalanobis distances with the observed covariance against their beta law by a "
    "Kolmogorov-Smirnov test. Normal to the face: dual averaging 0 at every seed, exactly for bounds, to rounding for "
    "the sum; projected SGD not 0, and with b = 3/4 the exponent of sqrt(k) times the normal part of the mean over the "
    "steps k/2 .. k within 0.1 of -1/4.",
    control="Margin 0 in place of strict complementarity, on the same steps, seeds and starts: the normal part of dual "
    "averaging's mean is not 0, and projected SGD's does not fall.",
)

LEVEL = 1e-3  # of the test of normality
ROUNDING = 1e-12


def face_covariance(
    samples: Array, projector: Array, predicted: Array, *, margin: float, exact: bool = True, control: bool = False
) -> Verdict:
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
        Of strict complementarity; assumed positive, but for a `control`.
    exact
        Whether the part normal to the face must be 0, as dual averaging's; else, as projected SGD's, it must not be.
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
        error <= limit and (off <= ROUNDING) == exact and p >= LEVEL,
        (
            Assumption("dimension of the face", rank, rank > 0),
            Assumption("margin", margin, margin > 0, "strict complementarity", broken=control),
        ),
        f"covariance on the face off by {error:.1%} (limit {limit:.1%}), Kolmogorov-Smirnov p {p:.2g}, "
        f"largest deviation normal to the face {off:.2g}",
        f"relative Frobenius error <= 10 % + 2 standard errors; KS p >= {LEVEL:g}; "
        f"{'at most' if exact else 'more than'} {ROUNDING:g} normal to the face",
        error,
        (0.0, limit),
        seeds,
        samples.size,
        evidence=(figure,),
        figures={"normal deviation": off, "KS p": p},
    )


def fading(steps: Array, parts: Array, power: float, *, margin: float, control: bool = False) -> Verdict:
    """Return the verdict on projected SGD's normal part: sqrt(k) |mean over the steps k/2 .. k|, (k, seeds), at `steps`
    falls like k^(1/2 - power)."""
    curve = Curve("root mean square over seeds", steps.astype(float), rms(parts), kind="points")
    figure = Evidence("Normal part of the mean", "step", "sqrt(k) |normal part|", (curve,), "log", "log")
    assumed = Assumption("margin", margin, margin > 0, "strict complementarity", broken=control)
    return exponent_near(steps, parts, 0.5 - power, NEAR, assumed, evidence=(figure,))


NEAR = 0.1
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


def _instance(kind: str, seed: int, margin: float = 0.4) -> _Correlated:
    """Return an instance with the margins `margin` and 1.5 times that (a tenth of both on the simplex)."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((12, 5))
    H = A.T @ A / 12 + 0.5 * np.eye(5)
    held = margin * np.array([0, 0, 0, 1.0, 1.5])
    if kind == "simplex":  # the noise must be small beside w* > 0, and the multiplier of the sum is 0.2
        free = np.array([1.0, 1, 1, 0, 0])
        projector = np.diag(free) - np.outer(free, free) / free.sum()
        return _Correlated(Simplex(1.0), np.array([0.3, 0.3, 0.4, 0, 0]), 0.2 - held / 10, H, projector, 0.05)
    projector = np.diag([1.0, 1, 1, 0, 0])
    if kind == "orthant":
        return _Correlated(Box(0.0, float("inf")), np.array([3.0, 4, 5, 0, 0]), -held, H, projector, 0.5)
    star, side = np.array([0.0, 0.5, -0.5, -3, 3]), np.array([0, 0, 0, -1.0, 1])
    return _Correlated(Box(-3.0, 3.0), star, side * held, H, projector, 0.5)


def run(kind: str, method: Method, size: Size, seed: int, *, exact: bool = True, control: bool = False) -> Verdict:
    """Average the second half of the run; the start is the solution, the centre of dual averaging."""
    seed = len(FACES) * seed + FACES.index(kind)
    problem = _instance(kind, seed, 0.0 if control else 0.4)
    seeds, steps = 12 * size.seeds, size.steps(STEPS)
    total = np.zeros((seeds, 5))
    for state in states(problem, method, gaussian(problem.sigma), problem.w, steps, seeds=seeds, seed=seed):
        if state.t > steps // 2:
            total += state.w - problem.w
    P = problem.projector
    inverse = np.linalg.pinv(P @ problem.hessian @ P)
    samples = total / np.sqrt(steps - steps // 2)
    predicted = problem.sigma**2 * inverse @ P @ inverse

    def judged(factor: float) -> Verdict:
        return face_covariance(samples, P, factor * predicted, margin=problem.margin, exact=exact, control=control)

    wrong = np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
    power = rejected("factor on the covariance", 1.0, judged, below=1 - wrong, above=1 + wrong)
    return replace(judged(1.0), power=(power,))


def normal_part(kind: str, size: Size, seed: int, *, control: bool = False) -> Verdict:
    """Follow the part of projected SGD's mean that is normal to the face."""
    seed = len(FACES) * seed + FACES.index(kind)
    problem = _instance(kind, seed, 0.0 if control else 0.4)
    method, seeds, steps = ProxSGD(lr=STEP, decay=STEEP), 2 * size.seeds, size.steps(STEPS)
    marks = 2 * (last_decades(steps, 12) // 2)
    sums, total = {0: np.zeros((seeds, 5))}, np.zeros((seeds, 5))
    wanted = set(marks) | set(marks // 2)
    for state in states(problem, method, gaussian(problem.sigma), problem.w, steps, seeds=seeds, seed=seed):
        total = total + (state.w - problem.w) @ (np.eye(5) - problem.projector)
        if state.t in wanted:
            sums[state.t] = total
    parts = [np.linalg.norm(sums[k] - sums[k // 2], axis=1) * np.sqrt(k) / (k // 2) for k in marks]
    return fading(marks, np.array(parts), STEEP, margin=problem.margin, control=control)


STEEP = 0.75  # b of the runs whose exponent is fitted: 1/2 - b is far from 0
AVERAGING = RMDA(lr=STEP, decay=0.5 + POWER, damping=0.0)  # s_k = a k^(1/2 - decay) = a k^-b, beta = 1
SINGLE = ProxSGD(lr=STEP, decay=POWER)


def check(size: Size, seed: int) -> Verdict:
    """Test dual averaging and projected SGD with the same steps."""
    return all_hold(
        *((kind, run(kind, AVERAGING, size, seed)) for kind in FACES),
        *((f"projected SGD, {kind}", run(kind, SINGLE, size, seed, exact=False)) for kind in ("orthant", "simplex")),
        *((f"projected SGD, normal part, {kind}", normal_part(kind, size, seed)) for kind in ("orthant", "box")),
    )


def control(size: Size, seed: int) -> Verdict:
    """Take the margin away."""
    return all_fail(
        *((f"{kind}, margin 0", run(kind, AVERAGING, size, seed, control=True)) for kind in FACES),
        *((f"projected SGD, {k}, margin 0", normal_part(k, size, seed, control=True)) for k in ("orthant", "box")),
    )


SPECIAL = "quadratics with a known covariance of the noise on a face of linear constraints"
CHECK = Check(ASYMPTOTIC_NORMALITY, check, control, SPECIAL)
