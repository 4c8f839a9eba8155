"""Proximal SGD: the noise amplitude against the margin decides between flicker for ever and identification."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binom

from manifold_id.statistics import Estimate
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
from manifold_id.theory.intervals import bootstrap, clopper_pearson
from manifold_id.theory.structure_record import LastErrors

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
    measured="Additive noise, separable curvature: g_i = grad_i f(w*) + noise whenever w_i = 0, so that the leaving "
    "rate is predicted from the noise distribution and the margin alone; departures from zero are compared with the "
    "binomial law of the predicted rate, in the first half of the run and in the second (a hazard that does not "
    "decay). Data rows: one row of a logistic regression a step, the off columns scaled so that the largest row "
    "gradient there is 0.8, 1.5 or 3 lam; predicted is the share of rows with |g_i| > lam at the solution; as the "
    "iterate moves a little, the interval over seeds of the observed rate must meet the prediction within 10 %. "
    "'Infinitely often' is measured by departures in the second half of a finite run.",
    control="An amplitude of 0.95 times the margin under the same prediction, computed for a margin "
    "understated by a fifth: departures are predicted, and none happens. Data rows with the margin halved, which "
    "moves every row's gradient to the boundary: too many departures are predicted, whether or not rows reach it.",
)

LEVEL = 1e-4  # a dozen runs are judged together: 1e-3 for all of them


@dataclass(frozen=True)
class Departures:
    """Departures from zero and steps begun at zero in each half of the runs, (2, seeds, atoms) both; the last steps
    with wrong structure of every seed; and the number of steps."""

    leaves: Array
    visits: Array
    last: LastErrors
    steps: int


def empirical_rate(gradients: Array, lam: float, stated: float = 1.0) -> Array:
    """Return the share of rows with |g_i| > lam, (atoms,), from the rows' gradients at the solution, (n, atoms).

    `stated` multiplies the margins lam - |grad_i|, 1 is the truth: the noise stays, the mean moves with the margin.
    """
    mean = gradients.mean(axis=0)
    shift = np.sign(mean) * (1 - stated) * (lam - np.abs(mean))
    return np.asarray((np.abs(gradients + shift) > lam).mean(axis=0))


def predicted_rate(amplitude: float, margin: Array, lam: float) -> Array:
    """Return P(|g_i| > lam) for noise uniform on [-amplitude, amplitude] and |grad_i f(w*)| = lam - margin_i."""
    upper = np.clip(amplitude - margin, 0, None) + np.clip(amplitude - (2 * lam - margin), 0, None)
    return upper / (2 * amplitude)


def dichotomy(counts: Departures, rate: Array, *, tolerance: float = 0.0) -> Verdict:
    """Return the verdict of one noise and step schedule.

    Parameters
    ----------
    counts
        Of all runs.
    rate
        The predicted probability of a departure, (atoms,).
    tolerance
        0: the counts must follow the binomial law of `rate` exactly. Else the prediction is made at the solution, and
        the 99 % interval over seeds of each half's rate must meet (1 - tolerance, 1 + tolerance) times the predicted.
    """
    leaves, visits = counts.leaves.sum(axis=1), counts.visits.sum(axis=1)
    seeds, flickers = counts.leaves.shape[1], bool((rate > 0).any())
    late = float((counts.last.false_positive > counts.steps // 2).mean())
    predicted = [float(rate @ v) / max(v.sum(), 1) for v in visits]
    observed = [_rate(counts, half) for half in (0, 1)]
    if tolerance:
        agrees = all(o.low <= (1 + tolerance) * p and o.high >= (1 - tolerance) * p
                     for o, p in zip(observed, predicted, strict=True))  # fmt: skip
        note, rule = "", f"rate within {tolerance:.0%} of the prediction by its 99 % interval"
    else:
        expected = np.broadcast_to(rate, leaves.shape)
        tails = np.minimum(binom.cdf(leaves, visits, expected), binom.sf(leaves - 1, visits, expected))
        p = float(np.minimum(2 * tails, 1).min())
        agrees = p * leaves.size >= LEVEL
        note, rule = f"(smallest p {p:.2g})", f"binomial p >= {LEVEL:g} after Bonferroni"
    passed = agrees and (late == 1.0 if flickers else late == 0.0)
    bands = [clopper_pearson(int(k), int(n)) for k, n in zip(leaves[1], visits[1], strict=True)]
    low, high = (np.array(b) for b in zip(*bands, strict=True))
    top = np.array([0.0, float(rate.max())])
    figure = Evidence(
        "Departures from zero, second half",
        "predicted rate",
        "observed rate",
        (
            Curve("atoms, 99 % limits", rate, leaves[1] / np.maximum(visits[1], 1), low, high, kind="points"),
            Curve("equal", top, top),
        ),
    )
    second = observed[1]
    return decide(
        passed,
        (Assumption("steps begun at zero", float(visits.min()), bool(visits.min() > 0)),),
        f"departure rate {second.value:.4f} [{second.low:.4f}, {second.high:.4f}] observed, "
        f"{predicted[1]:.4f} predicted {note}, {late:.0%} of the runs flicker in the second half".replace(" ,", ","),
        f"{rule}; all runs flicker late if the predicted rate is positive, else none",
        second.value,
        (second.low, second.high),
        seeds,
        int(visits.sum()),
        evidence=(figure,) if flickers else (),
        figures={"predicted rate": predicted[1], "late share": late, **counts.last.figures()},
    )


def _rate(counts: Departures, half: int) -> Estimate:
    """Return the rate of departures in one half of the runs, resampled over the seeds."""
    leaves, visits = counts.leaves[half].sum(axis=1), counts.visits[half].sum(axis=1)
    return bootstrap(lambda i: float(leaves[i].sum() / max(visits[i].sum(), 1)), len(leaves))


def one_figure(verdict: Verdict, parts: dict[str, list[Verdict]]) -> Verdict:
    """Return the verdict of all parts with their rates in one figure, a curve for each kind of noise."""
    curves = []
    for kind, verdicts in parts.items():
        points = [v.evidence[0].curves[0] for v in verdicts if v.evidence]
        x, y, low, high = (np.concatenate([getattr(c, k) for c in points]) for k in ("x", "y", "low", "high"))
        curves.append(Curve(f"{kind}: each atom and step size, 99 % limits", x, y, low, high, kind="points"))
    top = np.array([0.0, max(float(c.x.max()) for c in curves)])
    figure = replace(verdict.evidence[0], title="Departures from zero, second half",
                     curves=(*curves, Curve("observed = predicted", top, top)))  # fmt: skip
    return replace(verdict, evidence=(figure,))
