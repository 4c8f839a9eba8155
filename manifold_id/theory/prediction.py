"""Predicted against observed: margin and error curve say from which step identification must hold."""

from __future__ import annotations

import numpy as np

from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, no_violations

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
    measured="For every seed of RMDA on l1 and group problems, the prediction from margin and error curve "
    "beside the observed step. The prediction is certain, so that no seed may be observed later than predicted.",
    control="The margin overstated fourfold: predictions come before the last false positive.",
)


def prediction(left: Array, margin: Array, last: Array, factor: float = 1.0) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    left
        The left side at every step, (steps, seeds, atoms), over the off atoms.
    margin
        delta_i, (atoms,); `factor` multiplies it, 1 is the theorem.
    last
        The last false positive of every seed, (seeds,).
    """
    fails = np.asarray((left > factor * margin * (1 - 1e-12)).any(axis=2))
    predicted = np.where(fails.any(axis=0), len(fails) - fails[::-1].argmax(axis=0), 0)
    early = int((last > predicted).sum())
    order = np.argsort(predicted)
    x = predicted[order] + 1.0
    points = Curve("seeds", x, last[order] + 1.0, kind="points")
    figure = Evidence("Step of identification", "predicted", "observed", (points, Curve("equal", x, x)), "log", "log")
    return no_violations(
        early,
        len(last),
        f"predictions earlier than observed (medians {np.median(predicted):.0f} and {np.median(last):.0f})",
        seeds=len(last),
        assumptions=(Assumption("smallest margin", float(margin.min()), bool(margin.min() > 0)),),
        evidence=(figure,),
    )
