"""Proximal SGD: the noise amplitude against the margin decides between flicker for ever and identification."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
from manifold_id.theory.intervals import clopper_pearson

Array = np.ndarray

DICHOTOMY = Theorem(
    name="prox-sgd-dichotomy",
    title="Noise beyond the margin makes proximal SGD flicker for ever, whatever the step size",
    statement="w+ = prox_{a psi}(w - a g), psi = lam |.|_1. From w_i = 0 the coordinate leaves with probability "
    "P(|g_i| > lam), in which a does not occur. If the noise exceeds the margin with positive probability, zero "
    "is left infinitely often for every step schedule; if it never does and the steps are not summable, w_i = 0 "
    "from some step on.",
    latex=r"\Pr(w^+_i\ne0\mid w_i=0)=\Pr(|g_i|>\lambda)\quad\text{for every step size } a>0",
    source="Derived from the prox of l1: S_{a lam}(-a g_i) = 0 iff |g_i| <= lam; second Borel-Cantelli lemma.",
    measured="With separable curvature g_i = grad_i f(w*) + noise whenever w_i = 0, so that the leaving rate is "
    "predicted from the noise distribution and the margin alone. The count of departures from zero is compared "
    "with the binomial law of the predicted rate, in the first half of the run and in the second (a hazard that "
    "does not decay). 'Infinitely often' is measured by departures in the second half of a finite run.",
    control="An amplitude of 0.95 times the margin under the same prediction, computed for a margin "
    "understated by a fifth: departures are predicted, and none happens.",
)

LEVEL = 1e-3


def predicted_rate(amplitude: float, margin: Array, lam: float) -> Array:
    """Return P(|g_i| > lam) for noise uniform on [-amplitude, amplitude] and |grad_i f(w*)| = lam - margin_i."""
    upper = np.clip(amplitude - margin, 0, None) + np.clip(amplitude - (2 * lam - margin), 0, None)
    return upper / (2 * amplitude)


def dichotomy(leaves: Array, visits: Array, rate: Array, last: Array, steps: int, *, seeds: int) -> Verdict:
    """Return the verdict of one amplitude and step schedule.

    Parameters
    ----------
    leaves, visits
        Departures from zero and steps begun at zero, summed over the seeds, in each half of the run: (2, atoms).
    rate
        The predicted probability of a departure, (atoms,).
    last
        The last step with a false positive, (seeds,).
    steps, seeds
        Length and number of the runs.
    """
    expected = np.broadcast_to(rate, leaves.shape)
    tails = np.minimum(binom.cdf(leaves, visits, expected), binom.sf(leaves - 1, visits, expected))
    p = float(np.minimum(2 * tails, 1).min())
    flickers = bool((rate > 0).any())
    late = float((last > steps // 2).mean())
    passed = p * leaves.size >= LEVEL and (late == 1.0 if flickers else late == 0.0)
    total, at_zero = leaves[1].sum(), visits[1].sum()
    expected_rate = float(rate @ visits[1]) / max(at_zero, 1)
    figure = Evidence(
        "Departures from zero, second half",
        "predicted rate",
        "observed rate",
        (Curve("atoms", rate, leaves[1] / np.maximum(visits[1], 1), kind="points"), Curve("equal", rate, rate)),
    )
    return Verdict(
        decide(passed, (Assumption("steps begun at zero", float(visits.min()), bool(visits.min() > 0)),)),
        f"departure rate {total / max(at_zero, 1):.4f} observed, {expected_rate:.4f} predicted "
        f"(smallest p {p:.2g}), {late:.0%} of the runs flicker in the second half",
        f"binomial p >= {LEVEL:g} after Bonferroni; all runs flicker late if the rate is positive, else none",
        float(total / max(at_zero, 1)),
        clopper_pearson(int(total), int(at_zero)),
        seeds,
        int(visits.sum()),
        evidence=(figure,),
        figures={"p": p, "late share": late},
    )
