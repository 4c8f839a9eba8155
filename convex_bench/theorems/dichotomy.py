"""Proximal SGD: the noise amplitude against the margin decides between flicker for ever and identification."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import binom

from convex_bench.problem import Problem
from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.rows import Rows, logistic
from convex_bench.theorems.synthetic import uniform
from manifold_id.methods import ProxSGD
from manifold_id.statistics import Estimate
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide, unmet
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.identified import identification
from manifold_id.theory.intervals import bootstrap, clopper_pearson, every
from manifold_id.theory.power import rejected
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
    "'Infinitely often' is measured by departures in the second half of a finite run. Identification: from a start one "
    "away in every coordinate, with amplitudes below the margin, the share of runs right on the whole last half.",
    control="An amplitude of 0.95 times the margin under the same prediction, computed for a margin "
    "understated by a fifth: departures are predicted, and none happens. Data rows with the margin halved, which "
    "moves every row's gradient to the boundary: too many departures are predicted, whether or not rows reach it. "
    "Identification: from the same start with steps t^-2, whose sum is finite, zero is never reached.",
)

LEVEL = 1e-4  # a dozen runs are judged together: 1e-3 for all of them


@dataclass(frozen=True, eq=False)
class Departures:
    """Departures from zero and steps begun at zero in each half of the runs, (2, seeds, atoms) both; the last steps
    with wrong structure of every seed; the number of steps; and the last iterates, (seeds, *shape)."""

    leaves: Array
    visits: Array
    last: LastErrors
    steps: int
    ends: Array | None = None

    @cached_property
    def rates(self) -> tuple[Estimate, Estimate]:
        """The rate of departures in each half of the runs, resampled over the seeds."""
        first, second = (_rate(self, half) for half in (0, 1))
        return first, second


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


def dichotomy(
    counts: Departures, rate: Array, *, tolerance: float = 0.0, assumptions: tuple[Assumption, ...] = ()
) -> Verdict:
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
    assumptions
        Further ones.
    """
    leaves, visits = counts.leaves.sum(axis=1), counts.visits.sum(axis=1)
    seeds, flickers = counts.leaves.shape[1], bool((rate > 0).any())
    late = float((counts.last.false_positive > counts.steps // 2).mean())
    enough = bool(visits.min() > 0) and bool(visits.sum(axis=-1).min() >= 100)
    predicted = [float(rate @ v) / max(v.sum(), 1) for v in visits]
    observed = counts.rates
    if tolerance:
        agrees: bool | None = all(
            o.low <= (1 + tolerance) * p and o.high >= (1 - tolerance) * p
            for o, p in zip(observed, predicted, strict=True)
        )
        if not np.isfinite(observed[1].high):
            agrees = None  # too few seeds for an interval
        note, rule = "", f"rate within {tolerance:.0%} of the prediction by its 99 % interval"
    else:
        expected = np.broadcast_to(rate, leaves.shape)
        tails = np.minimum(binom.cdf(leaves, visits, expected), binom.sf(leaves - 1, visits, expected))
        p = float(np.minimum(2 * tails, 1).min())
        agrees = p * leaves.size >= LEVEL
        note, rule = f"(smallest p {p:.2g})", f"binomial p >= {LEVEL:g} after Bonferroni"
    passed = every(agrees, (True if late == 1.0 else None) if flickers else late == 0.0)  # rare: not left yet
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
        (Assumption("steps begun at zero in a half", float(visits.sum(axis=-1).min()), enough), *assumptions),
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


MARGIN = 0.2
STEPS_OFF = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5])  # how far off a wrong margin is
METHODS = {"constant": ProxSGD(0.1), "1/sqrt t": ProxSGD(0.5, decay=0.5), "1/t": ProxSGD(1.0, decay=1.0)}
LEVELS = (0.8, 1.5, 3.0)  # of the largest row gradient off the support, in lam
SMALL = {"constant": ProxSGD(0.002), "1/sqrt t": ProxSGD(0.02, decay=0.5)}  # the iterate must stay near the solution


def departures(case: Case) -> Departures:
    """Run, from the solution, and count in each half of the run how often an off coordinate leaves zero."""
    off = case.off
    leaves, visits = np.zeros((2, 2, case.seeds, off.sum()), dtype=np.int64)
    last = LastErrors(*np.zeros((2, case.seeds), dtype=np.int64))
    zero = np.ones((case.seeds, off.sum()), dtype=bool)
    for state in case.states():
        flat = state.w.reshape(case.seeds, -1)
        now = flat[:, off] == 0
        half = int(state.t > case.steps // 2)
        visits[half] += zero
        leaves[half] += zero & ~now
        last.false_positive[~now.all(axis=1)] = state.t
        last.false_negative[(flat[:, ~off] == 0).any(axis=1)] = state.t
        zero = now
    return Departures(leaves, visits, last, case.steps, state.w)


def additive(method: ProxSGD, amplitude: float, size: Size, seed: int, stated: float = 1.0) -> Verdict:
    """Judge one amplitude of uniform noise; the prediction is made for `stated` times the true margins."""
    problem = l1_quadratic(MARGIN, seed)
    case = Case(problem, method, problem.w, size.steps(1000), size.seeds, seed, uniform(amplitude))
    counts = departures(case)

    def judged(factor: float) -> Verdict:
        return dichotomy(counts, predicted_rate(amplitude, factor * case.margins[case.off], 1.0))

    power = rejected("factor on the margins", stated, judged, below=1 - STEPS_OFF, above=1 + STEPS_OFF)
    return replace(judged(stated), power=(power,))


def from_afar(method: ProxSGD, level: float, size: Size, seed: int, *, control: bool = False) -> Verdict:
    """Judge identification from one away in every coordinate, for an amplitude of `level` margins."""
    problem = l1_quadratic(MARGIN, seed)
    case = Case(problem, method, problem.w + 1.0, size.steps(1000), size.seeds, seed, uniform(level * MARGIN))
    total = float((method.lr * np.arange(1.0, 1e6) ** -method.decay).sum())
    infinite = Assumption("sum of 10^6 steps", total, method.decay <= 1, "steps not summable", broken=control)
    ratio = Assumption("amplitude / margin", level, level < 1, "noise within the margin", broken=control)
    found = identification(case.record(), MARGIN, level * MARGIN, long_enough=control)
    status = found.status if control or (infinite.met and ratio.met) else "inconclusive"
    return replace(found, status=status, assumptions=(infinite, ratio, *found.assumptions))


def scaled_rows(seed: int, level: float) -> Rows:
    """Return a logistic problem whose off columns are scaled so that the largest row gradient there is level lam.

    The solution stays the same, as its off coordinates are zero; their gradients and noise shrink or grow together.
    """
    base = logistic(seed)
    off, gradients = base.codes <= 0, base.row_gradients_at_solution()
    scale = np.where(off, level * base.problem.penalty.lam / np.abs(gradients).max(axis=0), 1.0)  # type: ignore[attr-defined]
    problem = Problem(base.problem.X * scale, base.problem.y, "logistic", base.regularizer)
    return Rows(problem, base.w, base.dual * scale)


def judge(case: Case, stated: float = 1.0) -> Verdict:
    """Judge single rows from the solution: the prediction is the share of rows beyond lam there, moved to `stated`
    times the margins; the iterates have to stay where that share is the same."""
    problem = case.problem
    assert isinstance(problem, Rows) and isinstance(case.method, ProxSGD)
    counts, off = departures(replace(case, start=problem.w)), case.off
    assert counts.ends is not None
    lam = problem.form.lam[off]
    there, ends = problem.row_gradients_at_solution()[:, off], counts.ends[:20]
    at_ends = [empirical_rate(problem.row_gradients(w)[:, off], lam) for w in ends]
    true = float(empirical_rate(there, lam).mean())
    moved = abs(float(np.mean(at_ends)) - true) / max(true, 1 / problem.problem.n)
    near = Assumption("relative change of the predicted rate at the last iterates", moved, moved <= 0.1)

    def judged(factor: float) -> Verdict:
        return dichotomy(counts, empirical_rate(there, lam, factor), tolerance=0.1, assumptions=(near,))

    power = rejected("factor on the margins", stated, judged, below=1 - STEPS_OFF, above=1 + STEPS_OFF)
    return replace(judged(stated), power=(power,))


def single(case: Case) -> Verdict:
    """Judge a method without an average of gradients."""
    plain = Assumption("weight of the new gradient", case.method.momentum, case.method.momentum == 1, "no average")
    if not plain.met:
        return unmet(plain)
    found = judge(case)
    return replace(found, assumptions=(plain, *found.assumptions))


def averaged(case: Case) -> Verdict:
    """Predict an average of ten gradients from single rows."""
    return judge(case.with_method(replace(case.method, momentum=0.1)))


def understated(case: Case) -> Verdict:
    """Predict from half the margins."""
    return judge(case, 0.5)


def rows(method: ProxSGD, level: float, size: Size, seed: int) -> Case:
    """Return runs on single rows of a logistic problem whose largest row gradient off the support is level lam."""
    problem = scaled_rows(seed, level)
    return Case(problem, method, problem.w, size.steps(600), max(40, size.seeds // 2), seed)


def check(size: Size, seed: int) -> Verdict:
    """Test two amplitudes below the smallest margin and two above it; data rows below and above."""
    uniform_noise = [
        (f"{name}, {level:g} margin", additive(method, level * MARGIN, size, seed))
        for name, method in METHODS.items()
        for level in (0.5, 0.95, 1.2, 2)
    ]
    data = [
        (f"rows, {name}, largest {level:g} lam", judge(rows(method, level, size, seed)))
        for name, method in SMALL.items()
        for level in LEVELS
    ]
    afar = [
        (f"from afar, {name}, {level:g} margin", from_afar(method, level, size, seed))
        for name, method in METHODS.items()
        for level in (0.5, 0.95)
    ]
    kinds = {"uniform noise": [v for _, v in uniform_noise], "data rows": [v for _, v in data]}
    return one_figure(all_hold(*uniform_noise, *data, *afar), kinds)


def control(size: Size, seed: int) -> Verdict:
    """Claim flicker just below the margin; claim too much of it for data rows, from half the margin."""
    summable = ProxSGD(0.1, decay=2.0)
    return all_fail(
        *(
            (f"from afar, 0.1 / t^2, {k:g} margin", from_afar(summable, k, size, seed, control=True))
            for k in (0.5, 0.95)
        ),
        *((name, additive(m, 0.95 * MARGIN, size, seed, 0.8)) for name, m in METHODS.items()),
        *((f"rows, constant, {k:g} lam", understated(rows(SMALL["constant"], k, size, seed))) for k in LEVELS),
    )


CHECK = Check(DICHOTOMY, check, control, Own(single, averaged, (ProxSGD,), separable=True, entries=True))
