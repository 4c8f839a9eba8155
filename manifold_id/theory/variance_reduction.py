"""The normalized dual average: its error falls off the support; on the support it follows the step size."""

from __future__ import annotations

import numpy as np

from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
from manifold_id.theory.intervals import bootstrap, log_slope

Array = np.ndarray

VARIANCE_REDUCTION = Theorem(
    name="variance-reduction",
    title="The normalized dual average converges to the gradient",
    statement="e_t = |V_t / alpha_t - grad f(z_t)| -> 0 almost surely on the event that z_t converges, if "
    "alpha_t -> inf and sum (s_t / alpha_t)^2 < inf. With s_t = eta t^{1/2-a}, beta_t = sqrt t: e_t ~ t^{-1/2} "
    "off the support; on the support dual averaging is SGD with step eta t^{-a}, so that e_t ~ sigma sqrt(mu eta "
    "/ 2) t^{-a/2}: a plateau for a = 0.",
    latex=r"V_t/\alpha_t-\nabla f(z_t)\to0;\quad e_{t,Z}\sim t^{-1/2},\quad "
    r"e_{t,S}\sim\sigma\sqrt{\mu\eta/2}\,t^{-a/2}",
    source="Derived: sum (s_t/alpha_t) xi_t is an L2 martingale; Kronecker's and Toeplitz' lemmas. The lemma "
    "of Huang and Lee (ICLR 2022, Lemma 1; worded from memory) asks for |W^{t+1} - W^t| / (s_t/alpha_t) -> 0 "
    "instead of convergence.",
    measured="Slopes of the mean squared error's root in log-log over the last 1.5 decades: off the support for "
    "a = 0, on the support for a = 0.8; and the exponent of the plateau in eta for a = 0. The published lemma's "
    "own third condition is measured too, |w_{t+1} - w_t| alpha_t / s_t: with constant step and persistent noise "
    "it grows, so that those runs are evidence for the derived statement, and none for the lemma.",
    control="A single stochastic gradient (its error does not fall), and a momentum average with constant "
    "weight rho (plateau sigma sqrt(rho / (2 - rho)), whatever the step).",
)

HALF = (-0.6, -0.4)  # off the support, exponent -1/2
PLATEAU = (0.4, 0.6)  # exponent of the plateau in eta, 1/2
WIDTH = 0.1  # about the exponent -a/2 on the support


def error_slope(
    steps: Array, errors: Array, interval: tuple[float, float], what: str, third: Array | None = None
) -> Verdict:
    """Return the verdict on the exponent of the root mean square over seeds of an error.

    Parameters
    ----------
    steps
        (k,) where the errors were taken (or step sizes, for the exponent of a plateau).
    errors
        (k, seeds).
    interval
        The exponent must lie in it.
    what
        Names the error.
    third
        The published third condition's ratio at `steps`, (k,), to be reported.
    """
    mean = np.sqrt((errors**2).mean(axis=1))
    fit = bootstrap(lambda i: log_slope(steps, np.sqrt((errors[:, i] ** 2).mean(axis=1))), errors.shape[1])
    figures = {"error at the end": float(mean[-1])}
    note = ""
    if third is not None:
        figures["third condition, exponent"] = log_slope(steps, third)
        note = f", |dw| alpha / s ~ t^{figures['third condition, exponent']:.2f}"
    curve = Curve("root mean square over seeds", np.asarray(steps, float), mean, kind="points")
    return Verdict(
        decide(
            interval[0] <= fit.value <= interval[1],
            (Assumption("errors > 0", float(mean.min()), bool(mean.min() > 0)),),
        ),
        f"exponent {fit.value:.3f} [{fit.low:.3f}, {fit.high:.3f}]{note}",
        f"{what}: exponent in [{interval[0]:g}, {interval[1]:g}]",
        fit.value,
        (fit.low, fit.high),
        errors.shape[1],
        errors.size,
        evidence=(Evidence(what, "step", "error", (curve,), "log", "log"),),
        figures=figures,
    )
