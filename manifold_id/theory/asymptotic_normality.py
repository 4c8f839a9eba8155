"""The average of dual averaging's iterates on the face: its covariance, and no variance normal to the face."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

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
    measured="Mean iterates over the last half of the run (after identification), of many seeds, on nonnegative "
    "and box constrained quadratics with correlated coordinates. Covariance along the face: relative Frobenius "
    "error against the prediction, with the sampling error of the estimate added to the limit; normal to the "
    "face: exactly 0 at every seed.",
    control="Projected SGD with the same steps: the constraint is left whenever noise exceeds the margin, and "
    "the variance normal to the face is not 0.",
)


def face_covariance(samples: Array, projector: Array, predicted: Array) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    samples
        sqrt(k) (mean iterate - x*) of every seed, (seeds, p).
    projector
        P, (p, p), diagonal for coordinate faces.
    predicted
        The covariance, (p, p).
    """
    seeds = len(samples)
    normal = samples @ (np.eye(len(projector)) - projector)
    off = float(np.abs(normal).max())
    on = samples @ projector
    covariance = on.T @ on / seeds
    scale = float(np.linalg.norm(predicted))
    error = float(np.linalg.norm(covariance - predicted)) / scale
    sampling = float(np.sqrt((np.trace(predicted) ** 2 + scale**2) / seeds)) / scale  # of a Wishart matrix
    limit = 0.1 + 2 * sampling
    d = np.flatnonzero(np.diag(projector) > 0)
    z = np.sort(on[:, d[0]] / np.sqrt(predicted[d[0], d[0]]))
    curve = Curve("first free coordinate", norm.ppf((np.arange(seeds) + 0.5) / seeds), z, kind="points")
    figure = Evidence("Normal quantiles", "standard normal", "observed / predicted deviation", (curve,))
    return Verdict(
        decide(error <= limit and off == 0, (Assumption("free directions", len(d), len(d) > 0),)),
        f"covariance on the face off by {error:.1%} (limit {limit:.1%}), largest deviation normal to it {off:.2g}",
        "relative Frobenius error <= 10 % + 2 standard errors; exactly 0 normal to the face",
        error,
        (0.0, limit),
        seeds,
        samples.size,
        evidence=(figure,),
        figures={"normal deviation": off},
    )
