"""RDA's probability of a wrong support falls, and a switch to a local phase after a long enough stay is safe."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide, no_violations
from manifold_id.theory.curves import limits
from manifold_id.theory.intervals import bootstrap, clopper_pearson, log_slope

Array = np.ndarray

WRONG_SUPPORT = Theorem(
    name="rda-local-phase",
    title="RDA's probability of a wrong support falls; a late switch to a local phase is safe",
    statement="For RDA with beta_t = gamma sqrt t, P(w_t not in M) <= C t^{-1/4} on most steps. RDA+: once the "
    "support has stayed the same for tau steps, switch to a method on the manifold with its linear rate, and go "
    "back if its limit is not optimal.",
    latex=r"\Pr(w_t\notin\mathcal M)\le C\,t^{-1/4}",
    source="Lee and Wright, JMLR 13 (2012), from the abstract; constants from memory, so that only the "
    "exponent is tested.",
    measured="The slope of log P(wrong support at t) over seeds on a log grid, at most -1/4 + 0.05 (faster "
    "decay passes: the statement is an upper bound). RDA+ with tau = 60 on a quadratic: the first switch happens on "
    "the right support (95 % lower limit of the share above 0.9), every run ends there, and gradient steps on the "
    "manifold lower the gap by at least their factor. With tau = 2 (5 on data rows), where many switches are wrong: "
    "each of them is recognized by the optimality condition of the whole problem and undone, and every run ends on the "
    "right support. The same (tau = 300) with Newton's method reduced to the support on a logistic regression, one "
    "data row a step: its gradient must fall below 1e-10 lam within 8 steps, quadratically at the end.",
    control="tau = 1: the first switch happens on the wrong support.",
)


def falling(steps: Array, wrong: Array) -> Verdict:
    """Return the verdict on the exponent: wrong (k, seeds) boolean at `steps`; steps with no wrong run are left out."""
    share = wrong.mean(axis=1)
    keep = share > 0

    def slope(index: Array) -> float:
        return log_slope(steps[keep], np.maximum(wrong[keep][:, index].mean(axis=1), 0.5 / wrong.shape[1]))

    fit = bootstrap(slope, wrong.shape[1])
    low, high = limits(wrong.sum(axis=1), np.full(len(wrong), wrong.shape[1]))
    curve = Curve("share of seeds, exact 95 % limits", steps.astype(float), share, low, high)
    return decide(
        fit.high <= -0.2,
        (Assumption("steps with wrong runs", int(keep.sum()), int(keep.sum()) >= 5),),
        f"exponent {fit.value:.2f} [{fit.low:.2f}, {fit.high:.2f}]",
        "99 % upper limit of the exponent <= -0.2",
        fit.value,
        (fit.low, fit.high),
        wrong.shape[1],
        wrong.size,
        evidence=(Evidence("Probability of a wrong support", "step", "probability", (curve,), "log", "log"),),
    )


@dataclass(frozen=True, eq=False)
class Switches:
    """What RDA+ did in each run.

    Attributes
    ----------
    first_right, ends_right
        (seeds,) boolean: the first switch was on the right support; the run ended on it, with an optimal point.
    accepted, rejected
        (seeds,) switches on a wrong support that the local phase took for optimal; that it undid.
    figures
        For each seed what its final local phase recorded, None if the run does not end on the right support.
    """

    first_right: Array
    ends_right: Array
    accepted: Array
    rejected: Array
    figures: list[Array | None]

    @property
    def final(self) -> Array:
        """The figures of the runs that end right, (runs, k)."""
        return np.array([f for f in self.figures if f is not None])


def switches(runs: Switches) -> Verdict:
    """Return the verdict on the first switches, and on where the runs end."""
    first, seeds = runs.first_right, len(runs.first_right)
    low, high = clopper_pearson(int(first.sum()), seeds, 0.9)
    passed = low > 0.9 and bool(runs.ends_right.all())
    return decide(
        passed,
        (Assumption("runs", seeds, seeds > 0),),
        f"{first.mean():.0%} of the first switches on the right support [{low:.0%}, {high:.0%}], "
        f"{runs.ends_right.mean():.0%} of the runs end there",
        "95 % lower limit of right first switches > 0.9; all runs end right",
        float(first.mean()),
        (low, high),
        seeds,
        seeds,
    )


def returns(runs: Switches) -> Verdict:
    """Return the verdict on going back: no wrong switch is accepted, and every run ends right.

    It is inconclusive where no switch was wrong: nothing was tested.
    """
    wrong = int(runs.accepted.sum() + runs.rejected.sum())
    short = int((~runs.ends_right).sum())
    verdict = no_violations(int(runs.accepted.sum()) + short, wrong, "wrong switches", seeds=len(runs.accepted))
    return replace(verdict, summary=f"{int(runs.rejected.sum())} of {wrong} wrong switches undone, "
                   f"{short} of {len(runs.ends_right)} runs end wrong")  # fmt: skip


def linear(runs: Switches, rate: float) -> Verdict:
    """Return the verdict on gradient steps: the figures are largest gap ratios, at most `rate` = 1 - mu/L."""
    worst = float(runs.final.max(initial=0.0))
    return decide(worst <= rate * (1 + 1e-6), (Assumption("rate of the local phase", rate, rate < 1),
                                            Assumption("runs", len(runs.final), len(runs.final) > 0)),
        f"gap ratio at most {worst:.3f} (bound {rate:.3f})",
        "gap ratio <= 1 - mu/L",
        worst,
        seeds=len(runs.final),
        samples=len(runs.final),
    )  # fmt: skip


def newton(runs: Switches) -> Verdict:
    """Return the verdict on reduced Newton: the figures are gradient norms relative to lam, start and steps."""
    norms = np.maximum(runs.final, 1e-16)
    norms = norms.reshape(len(norms), -1)
    last = float(norms[:, -1].max(initial=np.inf if len(norms) == 0 else 0.0))
    inner = (norms[:, :-1] < 0.1) & (norms[:, 1:] > 1e-12)  # near the solution, and above rounding
    orders = (np.log(norms[:, 1:]) / np.log(norms[:, :-1]))[inner]
    order = float(np.median(orders)) if len(orders) else np.nan
    k = np.arange(norms.shape[1], dtype=float)
    low, middle, high = np.quantile(norms, [0.05, 0.5, 0.95], axis=0) if len(norms) else np.ones((3, len(k)))
    curve = Curve("median, 5-95 % of runs", k, middle, low, high)
    return decide(
            bool(runs.ends_right.all()) and last <= 1e-10 and order > 1.5,
            (Assumption("pairs of norms below 0.1", len(orders), len(orders) > 0),),
        f"{runs.ends_right.mean():.0%} of the runs end on the right support, reduced gradient {last:.1e} lam after "
        f"{len(k) - 1} steps, order {order:.2f}",
        "all runs end right; gradient <= 1e-10 lam; median order > 1.5",
        order,
        seeds=len(norms),
        samples=norms.size,
        evidence=(Evidence("Reduced Newton after the switch", "step", "|reduced gradient| / lam", (curve,),
                           yscale="log"),),
    )  # fmt: skip
