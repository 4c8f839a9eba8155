"""Predicted against observed: margin and error curve say from which step identification must hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr

from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, no_violations
from manifold_id.theory.structure_record import LastErrors

Array = np.ndarray

PREDICTION = Theorem(
    name="predicted-identification",
    title="The certificate predicts each run's identification step",
    statement="Dual averaging is right on the off atoms at step t if |V_t / alpha_t - grad f(w*)|_i + (beta_t / "
    "alpha_t) |w_0 - w*|_i <= delta_i for each of them. The step after the last one at which this fails is "
    "therefore never earlier than the step after the last false positive.",
    latex=r"\|V_t/\alpha_t-\nabla f(w^*)\|_i+\tfrac{\beta_t}{\alpha_t}\|w_0-w^*\|_i\le\delta_i\ \Rightarrow\ "
    r"z_{t,i}=w_i^*",
    source="Derived from the optimality condition of the subproblem and the triangle inequality; entries, and "
    "groups with norms.",
    measured="For every seed of RMDA the prediction from margin and measured error beside the observed step: l1 and "
    "groups on quadratics with Gaussian noise, and on logistic regression with one data row a step, where the error "
    "also holds the drift of the gradient along the run. And from the error curve of the estimator itself, curvature "
    "and distance, |V_t / alpha_t - grad f(w_t)|_i + L_i |w_t - w*|, which bounds the same error; with data rows the "
    "distance has to fall, and the step with it. Every prediction is certain, so that no seed may be observed "
    "later than predicted; seeds whose condition still fails at the end of the run have none and are counted apart. "
    "How sharp it is: the rank correlation of the two and their ratio.",
    control="The margin overstated eightfold: predictions come before the last false positive.",
)


def prediction(left: Array, margin: Array, last: LastErrors, factor: float = 1.0) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    left
        The left side at every step, (steps, seeds, atoms), over the off atoms.
    margin
        delta_i, (atoms,); `factor` multiplies it, 1 is the theorem.
    last
        The last steps with wrong structure of every seed; judged are the false positives.
    """
    fails = np.asarray((left > factor * margin * (1 - 1e-12)).any(axis=2))
    predicted = np.where(fails.any(axis=0), len(fails) - fails[::-1].argmax(axis=0), 0)
    known = predicted < len(fails)  # else the condition still fails at the last step: no prediction
    observed = last.false_positive
    early = int((observed > predicted)[known].sum())
    x, y = predicted[known] + 1.0, observed[known] + 1.0
    varies = known.any() and min(np.ptp(x), np.ptp(y)) > 0
    rank = float(spearmanr(x, y).statistic) if varies else np.nan
    middle = [float(np.median(v)) if known.any() else np.nan for v in (x, y, y / x)]
    figure = Evidence(
        "Step from which the off atoms are right",
        "step predicted from margin and error",
        "step observed",
        (Curve("seeds", x, y, kind="points"),),
        "log",
        "log",
    )
    return no_violations(
        early,
        int(known.sum()),
        f"predictions earlier than observed (medians {middle[0]:.0f} and {middle[1]:.0f}, rank correlation "
        f"{rank:.2f}, {int((~known).sum())} seeds without a prediction; {last})",
        seeds=len(observed),
        assumptions=(
            Assumption("smallest margin", float(margin.min()), bool(margin.min() > 0)),
            Assumption("share of seeds with a prediction", float(known.mean()), bool(known.mean() > 0.5)),
        ),
        evidence=(figure,),
        figures={"rank correlation": rank, "median observed / predicted": middle[2], **last.figures()},
    )


def scatter(verdict: Verdict) -> Verdict:
    """Return a verdict whose parts have one figure each with all points in one, beside the line of equal steps."""
    points = [replace(e.curves[0], label=p.name) for p, e in zip(verdict.parts, verdict.evidence, strict=True)]
    low = min(float(min(c.x.min(initial=1e9), c.y.min(initial=1e9))) for c in points)
    ends = np.array([low, max(float(max(c.x.max(initial=1), c.y.max(initial=1))) for c in points)])
    equal = Curve("observed = predicted: none may lie above", ends, ends)
    figure = replace(verdict.evidence[0], title="Step from which the off atoms are right", curves=(*points, equal))
    return replace(verdict, evidence=(figure,))
