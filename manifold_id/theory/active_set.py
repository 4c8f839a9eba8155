"""Active-set complexity: proximal gradient identifies within kappa log(2 L |x_0 - x*| / delta) steps."""

from __future__ import annotations

import numpy as np

from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
from manifold_id.theory.structure_record import LastErrors

Array = np.ndarray

ACTIVE_SET = Theorem(
    name="active-set-complexity",
    title="Proximal gradient identifies within an explicit number of steps",
    statement="f mu-strongly convex and L-smooth, psi separable convex, step 1/L, kappa = L/mu, delta the "
    "smallest margin: x_{k,Z} = x*_Z for all k > kappa log(2 L |x_0 - x*| / delta).",
    latex=r"x_{k,Z}=x^*_Z\quad\forall k>\kappa\log\frac{2L\|x_0-x^*\|}{\delta}",
    source="Nutini, Schmidt and Hare (2019); derived anew from the linear rate |x_k - x*| <= (1 - 1/kappa)^k "
    "|x_0 - x*| and the one-step certificate, which holds once |x - x*| <= delta / (2 L).",
    measured="At least 200 random ridge lasso instances, starts from delta/(2L) to 10^4 times that far from the "
    "solution, at every step: a false positive beyond the bound is a violation. Besides, the observed step "
    "against log(1/delta) on one design (affine, slope at most kappa).",
    control="The margin overstated by a factor of 20: starts that lie within the false radius claim "
    "identification at once, and are not identified.",
)


def active_set(last: LastErrors, bound: Array, slopes: Array, kappa: Array, r_squared: Array) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    last
        The last steps with wrong structure of every instance, (instances,); -1 = never, not even at the start. Judged
        are the false positives, of which alone the bound speaks.
    bound
        kappa log(2 L |x_0 - x*| / delta), (instances,).
    slopes, kappa, r_squared
        Fits of the observed step against log(1/delta), one for each design: slope, condition number, R^2;
        empty to leave that part out.
    """
    observed = last.false_positive
    late = int((observed > np.maximum(bound, 0)).sum())
    affine = bool((slopes <= kappa).all() and (r_squared > 0.9).all())
    positive = bound > 0
    ratio = observed[positive] / bound[positive]
    order = np.argsort(bound)
    figure = Evidence(
        "Last false positive of proximal gradient",
        "bound on the step",
        "observed step",
        (
            Curve("instances", bound[order], observed[order].astype(float), kind="points"),
            Curve("observed = bound: none may lie above", bound[order], bound[order]),
        ),
    )
    return decide(
        late == 0 and affine,
        (Assumption("instances", len(observed), len(observed) >= 200),),
        f"{late} violations in {len(observed)} instances, observed / bound at most {ratio.max():.2f}"
        + (
            f"; slope in log(1/delta) at most {np.max(slopes / kappa):.2f} kappa, R^2 >= {r_squared.min():.3f}"
            if len(slopes)
            else ""
        ),
        "0 violations; slope <= kappa and R^2 > 0.9",
        float(late),
        seeds=len(observed),
        samples=len(observed),
        evidence=(figure,),
        figures={"largest observed / bound": float(ratio.max()), **last.figures()},
    )
