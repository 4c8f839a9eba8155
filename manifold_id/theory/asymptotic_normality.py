"""The average of dual averaging's iterates on the face: its covariance, and no variance normal to the face."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, kstest

from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide

Array = np.ndarray

ASYMPTOTIC_NORMALITY = Theorem(
    name="face-covariance",
    title="On the face the mean iterate is asymptotically normal, with no variance normal to it",
    statement="Dual averaging with steps a_k = a k^-b, 1/2 < b < 1, linear constraints, strict complementarity, "
    "P the projector onto the active face's directions: sqrt(k) (mean of x_1 .. x_k - x*) -> N(0, (P H P)^+ "
    "Sigma (P H P)^+). Off the face the sum of the errors stays finite.",
    latex=r"\sqrt k(\bar x_k-x^*)\to\mathcal N\big(0,(PHP)^+P\Sigma P(PHP)^+\big)",
    source="Duchi and Ruan, Annals of Statistics 49 (2021), from the abstract; form of the covariance from memory.",
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
