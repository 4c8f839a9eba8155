"""RDA's probability of a wrong support falls, and a switch to a local phase after a long enough stay is safe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.rows import Rows, logistic
from convex_bench.theorems.synthetic import Noise, Quadratic, gaussian, states
from manifold_id.methods import RDA, ProxSGD
from manifold_id.theory.base import Assumption, Curve, Evidence, Power, Theorem, Verdict, decide, no_violations, unmet
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.curves import limits
from manifold_id.theory.identified import averages
from manifold_id.theory.intervals import bootstrap, clopper_pearson, every, inside, log_slope

Array = np.ndarray

WRONG_SUPPORT = Theorem(
    name="rda-local-phase",
    title="RDA's probability of a wrong support falls; a late switch to a local phase is safe",
    statement="For RDA with beta_t = gamma sqrt t, P(w_t not in M) <= C t^{-1/4} on most steps. RDA+: once the "
    "support has stayed the same for tau steps, switch to a method on the manifold with its linear rate, and go "
    "back if its limit is not optimal.",
    latex=r"\Pr(w_t\notin\mathcal M)\le C\,t^{-1/4}",
    source="Lee and Wright, JMLR 13 (2012): the exponent and RDA+. The constants of the bound are not used.",
    measured="The slope of log P(wrong support at t) over seeds on a log grid, at most -1/4 + 0.05 (faster "
    "decay passes: the statement is an upper bound). RDA+ with tau = 60 on a quadratic: the first switch happens on "
    "the right support (95 % lower limit of the share above 0.9), every run ends there, and gradient steps on the "
    "manifold lower the gap by at least their factor. With tau = 2 (5 on data rows), where many switches are wrong: "
    "each of them is recognized by the optimality condition of the whole problem and undone, and every run ends on the "
    "right support. The same (tau = 300) with Newton's method reduced to the support on a logistic regression, one "
    "data row a step: its gradient must fall below 1e-10 lam within 8 steps, quadratically at the end.",
    control="tau = 1: the first switch happens on the wrong support.",
)


def falling(steps: Array, wrong: Array, *, long_enough: bool = True) -> Verdict:
    """Return the verdict on the exponent: wrong (k, seeds) boolean at `steps`; steps with no wrong run are left out.

    Unless the runs are known to be `long_enough`, an exponent that has not fallen yet is no contradiction.
    """
    share = wrong.mean(axis=1)
    keep = share > 0
    enough = Assumption("steps with wrong runs", int(keep.sum()), int(keep.sum()) >= 5, "five to fit an exponent to")
    if not enough.met:
        return unmet(enough)

    def slope(index: Array) -> float:
        return log_slope(steps[keep], np.maximum(wrong[keep][:, index].mean(axis=1), 0.5 / wrong.shape[1]))

    fit = bootstrap(slope, wrong.shape[1])
    low, high = limits(wrong.sum(axis=1), np.full(len(wrong), wrong.shape[1]))
    curve = Curve("share of seeds, exact 95 % limits", steps.astype(float), share, low, high)
    return decide(
        inside((fit.low, fit.high), high=-0.2) or (False if long_enough and fit.low > -0.2 else None),
        (enough,),
        f"exponent {fit.value:.2f} [{fit.low:.2f}, {fit.high:.2f}]",
        "99 % upper limit of the exponent <= -0.2",
        fit.value,
        (fit.low, fit.high),
        wrong.shape[1],
        wrong.size,
        evidence=(Evidence("Probability of a wrong support", "step", "probability", (curve,), "log", "log"),),
        power=(Power("exponent of the bound", -0.25, below=fit.low - 0.05),),
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
    passed = every(inside((low, high), low=0.9), True if runs.ends_right.all() else None)
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
    verdict = no_violations(int(runs.accepted.sum()), wrong, "wrong switches", seeds=len(runs.accepted))
    status = "inconclusive" if verdict.status == "holds" and short else verdict.status  # runs that may still end right
    return replace(verdict, status=status, summary=f"{int(runs.rejected.sum())} of {wrong} wrong switches undone, "
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
        power=(Power("factor on the rate", 1.0, below=worst / rate),),
    )  # fmt: skip


def newton(runs: Switches) -> Verdict:
    """Return the verdict on reduced Newton: the figures are gradient norms relative to lam, start and steps."""
    norms = np.maximum(runs.final, 1e-16)
    norms = norms.reshape(len(norms), -1) if len(norms) else np.ones((0, 1))  # no run ends right
    last = float(norms[:, -1].max(initial=np.inf if len(norms) == 0 else 0.0))
    inner = (norms[:, :-1] < 0.1) & (norms[:, 1:] > 1e-12)  # near the solution, and above rounding
    orders = (np.log(norms[:, 1:]) / np.log(norms[:, :-1]))[inner]
    order = float(np.median(orders)) if len(orders) else np.nan
    k = np.arange(norms.shape[1], dtype=float)
    low, middle, high = np.quantile(norms, [0.05, 0.5, 0.95], axis=0) if len(norms) else np.ones((3, len(k)))
    curve = Curve("median, 5-95 % of runs", k, middle, low, high)
    return decide(
            every(True if runs.ends_right.all() else None, last <= 1e-10, order > 1.5),
            (Assumption("pairs of norms below 0.1", len(orders), len(orders) > 0),),
        f"{runs.ends_right.mean():.0%} of the runs end on the right support, reduced gradient {last:.1e} lam after "
        f"{len(k) - 1} steps, order {order:.2f}",
        "all runs end right; gradient <= 1e-10 lam; median order > 1.5",
        order,
        seeds=len(norms),
        samples=norms.size,
        power=(Power("order that is claimed at least", 1.5, above=order),),
        evidence=(Evidence("Reduced Newton after the switch", "step", "|reduced gradient| / lam", (curve,),
                           yscale="log"),),
    )  # fmt: skip


Local = Callable[[Any, Array], tuple[bool, Array]]  # (problem, w) -> (limit optimal for the whole problem, its figures)
TAU, LOCAL, ATTEMPTS = 60, 150, 50


def _runs(problem: Any, noise: Noise | None, gamma: float, seeds: int, steps: int, seed: int) -> Array:
    """Return the iterates of RDA from zero, (steps, seeds, p)."""
    run = states(problem, RDA(gamma), noise, 0 * problem.w, steps, seeds=seeds, seed=seed)
    return np.array([state.w for state in run])


def _optimal(problem: Any, w: Array, sign: Array) -> bool:
    residual = float(np.max(problem.regularizer.residual(w, problem.gradient(w))))
    return residual < 1e-6 * problem.regularizer.lam and bool((np.sign(w) == sign).all())


def gradient_steps(problem: Quadratic, w: Array) -> tuple[bool, Array]:
    """Descend on the manifold of w with step 1/L; the figure is the largest ratio of successive gaps."""
    active, sign, L = w != 0, np.sign(w), float(np.max(problem.curvature))
    # the minimizer on the manifold
    target = np.where(active, problem.w + (problem.dual - sign) / problem.curvature, 0.0)
    ratio, gap = 0.0, float((problem.curvature * (w - target) ** 2).sum())
    for _ in range(LOCAL):
        w = np.where(active, w - (problem.gradient(w) + sign) / L, 0.0)
        new = float((problem.curvature * (w - target) ** 2).sum())
        if new > 1e-24:  # above rounding
            ratio = max(ratio, new / gap)
        gap = new
    return _optimal(problem, w, sign), np.array([ratio])


def reduced_newton(problem: Rows, w: Array) -> tuple[bool, Array]:
    """Minimize F on the manifold of w by Newton's method with backtracking; the figures are |reduced gradient| / lam,
    at the start and after each of 8 steps."""
    S, sign = np.flatnonzero(w), np.sign(w)
    lam = float(problem.regularizer.lam)  # type: ignore[attr-defined]

    def value(v: Array) -> float:
        return float(problem.problem.smooth_value(v)) + lam * float(sign @ v)

    norms = []
    for _ in range(9):
        g = problem.gradient(w)[S] + lam * sign[S]
        norms.append(float(np.linalg.norm(g)) / lam)
        direction = np.zeros_like(w)
        direction[S] = -np.linalg.lstsq(problem.problem.hessian(w, S), g, rcond=None)[0]
        step, slope = 1.0, float(g @ direction[S])
        while step > 1e-10 and value(w + step * direction) > value(w) + 0.25 * step * slope + 1e-15:
            step /= 2
        w = w + step * direction
    return _optimal(problem, w, sign), np.array(norms)


def plus(problem: Any, points: Array, local: Local, tau: int) -> Switches:
    """Run RDA+ with patience tau on the iterates of RDA, (steps, seeds, p): switch, and go back where it fails."""
    reference = problem.w != 0
    first, ends, accepted, rejected, figures = [], [], [], [], []
    for s in range(points.shape[1]):
        active = points[:, s] != 0
        changed = np.concatenate([[True], (active[1:] != active[:-1]).any(axis=1)])
        stay, tried, figure, failed = 0, [], None, None
        for t in range(len(active)):
            stay = 0 if changed[t] else stay + 1
            if stay < tau or (failed is not None and (active[t] == failed).all()):
                continue  # a support that has failed is not tried again
            tried.append(bool((active[t] == reference).all()))
            optimal, figure = local(problem, points[t, s])
            if optimal or len(tried) == ATTEMPTS:
                break
            stay, failed = 0, active[t]  # back to RDA
        first.append(bool(tried) and tried[0])
        right = bool(tried) and optimal and tried[-1]
        ends.append(right)
        accepted.append(sum(not r for r in tried[-1:]) if tried and optimal else 0)
        rejected.append(sum(not r for r in tried) - accepted[-1])
        figures.append(figure if right and figure is not None else None)
    return Switches(np.array(first), np.array(ends), np.array(accepted), np.array(rejected), figures)


def exponent(size: Size, seed: int) -> Verdict:
    """Estimate the probability of a wrong support on a log grid."""
    problem, steps = l1_quadratic(0.1, seed), size.steps(2500)
    marks = np.unique(np.geomspace(20, steps, 16).astype(int))
    wrong = (_runs(problem, gaussian(1.0), 1.0, 2 * size.seeds, steps, seed) != 0) != (problem.w != 0)
    return falling(marks, wrong[marks - 1].any(axis=2))


def quadratic_runs(size: Size, seed: int) -> tuple[Quadratic, Array]:
    """Return a quadratic with margin 0.3 and the iterates of RDA under Gaussian noise."""
    problem = l1_quadratic(0.3, seed)
    return problem, _runs(problem, gaussian(1.0), 1.0, max(60, size.seeds // 2), size.steps(1200), seed)


def logistic_runs(size: Size, seed: int) -> tuple[Rows, Array]:
    """Return a logistic regression and the iterates of RDA on one row a step."""
    rows = logistic(seed)
    return rows, _runs(rows, None, 1.0, max(60, size.seeds // 2), size.steps(3000), seed)


def check(size: Size, seed: int) -> Verdict:
    """Test the exponent; RDA+ with gradient steps, patient and impatient; RDA+ with reduced Newton on data rows."""
    problem, points = quadratic_runs(size, seed)
    patient = plus(problem, points, gradient_steps, TAU)
    curvature = problem.curvature[problem.w != 0]
    rate = 1 - float(curvature.min() / problem.curvature.max())
    rows, walks = logistic_runs(size, seed)
    return all_hold(
        ("RDA", exponent(size, seed)),
        ("RDA+ first switches", switches(patient)),
        ("RDA+ local phase", linear(patient, rate)),
        ("RDA+ with tau = 2 goes back", returns(plus(problem, points, gradient_steps, 2))),
        ("reduced Newton, logistic rows", newton(plus(rows, walks, reduced_newton, 5 * TAU))),
        ("reduced Newton goes back", returns(plus(rows, walks, reduced_newton, 5))),
    )


def control(size: Size, seed: int) -> Verdict:
    """Switch on the same runs as soon as the support repeats once, and judge the first switches."""
    return all_fail(
        ("tau = 1", switches(plus(*quadratic_runs(size, seed), gradient_steps, 1))),
        ("tau = 1, logistic rows", switches(plus(*logistic_runs(size, seed), reduced_newton, 1))),
    )


def judge(case: Case, *, control: bool = False) -> Verdict:
    """Judge the probability of a wrong support of RDA on rows of a problem of one's own, on a log grid."""
    rows = case.problem
    assert isinstance(rows, Rows)
    record = case.record()
    marks = np.unique(np.geomspace(20, case.steps, 16).astype(int))
    long_enough = control or averages(case.steps, rows.noise, rows.margin)
    return falling(marks, record.wrong[marks - 1], long_enough=long_enough)


def single_gradients(case: Case) -> Verdict:
    """Run proximal SGD instead, whose support is wrong as often late as early."""
    return judge(case.with_method(ProxSGD(0.1)), control=True)


CHECK = Check(WRONG_SUPPORT, check, control, Own(judge, single_gradients, (RDA,)))
