"""The certificate in hindsight: margin and a run's own error say from which step its structure was certain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.rows import logistic
from convex_bench.theorems.synthetic import Quadratic, gaussian
from manifold_id.methods import RDA, RMDA
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, claimed, no_violations
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.power import rejected
from manifold_id.theory.structure_record import LastErrors

Array = np.ndarray

PREDICTION = Theorem(
    name="predicted-identification",
    title="The certificate in hindsight: the step from which a run's structure was certain",
    statement="The prox inequality, read after the run: dual averaging is right on the off atoms at step t if |V_t / "
    "alpha_t - grad f(w*)|_i + (beta_t / alpha_t) |w_0 - w*|_i <= delta_i for each of them. The step after the last "
    "one at which this fails is therefore never earlier than the step after the last false positive. It needs the "
    "run's own error: it explains the identification step, and does not foretell it.",
    latex=r"\|V_t/\alpha_t-\nabla f(w^*)\|_i+\tfrac{\beta_t}{\alpha_t}\|w_0-w^*\|_i\le\delta_i\ \Rightarrow\ "
    r"z_{t,i}=w_i^*",
    source="Derived from the optimality condition of the subproblem and the triangle inequality; entries, and "
    "groups with norms.",
    measured="For every seed of RMDA the certain step, from margin and measured error, beside the observed one: l1 and "
    "groups on quadratics with Gaussian noise, and on logistic regression with one data row a step, where the error "
    "also holds the drift of the gradient along the run. And from the error curve of the estimator itself, curvature "
    "and distance, |V_t / alpha_t - grad f(w_t)|_i + L_i |w_t - w*|, which bounds the same error; with data rows the "
    "distance has to fall, and the step with it. No seed may have a false positive after its certain step; "
    "seeds whose condition still fails at the end of the run have none and are counted apart. "
    "How sharp it is: the rank correlation of the two and their ratio.",
    control="The margin overstated eightfold: certain steps come before the last false positive.",
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
        "certain step, from margin and error",
        "step observed",
        (Curve("seeds", x, y, kind="points"),),
        "log",
        "log",
    )
    return no_violations(
        early,
        int(known.sum()),
        f"certain steps before the last false positive (medians {middle[0]:.0f} and {middle[1]:.0f}, rank correlation "
        f"{rank:.2f}, {int((~known).sum())} seeds without one; {last})",
        seeds=len(observed),
        assumptions=(
            Assumption("smallest margin", float(margin.min()), bool(margin.min() > 0)),
            Assumption("share of seeds with a certain step", float(known.mean()), bool(known.mean() > 0.5)),
            claimed(factor),
        ),
        evidence=(figure,),
        figures={"rank correlation": rank, "median observed / predicted": middle[2], **last.figures()},
    )


def scatter(verdict: Verdict) -> Verdict:
    """Return a verdict whose parts have one figure each with all points in one, beside the line of equal steps."""
    points = [replace(e.curves[0], label=p.name) for p, e in zip(verdict.parts, verdict.evidence, strict=True)]
    low = min(float(min(c.x.min(initial=1e9), c.y.min(initial=1e9))) for c in points)
    ends = np.array([low, max(float(max(c.x.max(initial=1), c.y.max(initial=1))) for c in points)])
    equal = Curve("observed = certain: none may lie above", ends, ends)
    figure = replace(verdict.evidence[0], title="Step from which the off atoms are right", curves=(*points, equal))
    return replace(verdict, evidence=(figure,))


MARGIN, SIGMA = 0.3, 0.5
FACTORS = (1.05, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 8.0)


def change_bound(problem: Any) -> Callable[[Array], Array]:
    """Return the function of w, (seeds, p), that bounds |grad_i f(w) - grad_i f(w*)| from curvature and distance,
    (seeds, atoms).

    Separable quadratics: h_i |w_i - w*_i|. Logistic rows: L_i |w - w*| with L_i = |X_i| |X| / (4 n), spectral norms.
    """
    atoms = len(problem.codes)
    if isinstance(problem, Quadratic):
        return lambda w: np.linalg.norm((problem.curvature * (w - problem.w)).reshape(len(w), atoms, -1), axis=-1)
    X, form = problem.problem.X, problem.form
    blocks = [X[:, form.labels == g] for g in range(atoms)] if form.atoms != "entries" else list(X.T[:, :, None])
    lipschitz = np.array([np.linalg.norm(block, 2) for block in blocks]) * np.linalg.norm(X, 2) / (4 * len(X))
    return lambda w: np.linalg.norm(w - problem.w, axis=1)[:, None] * lipschitz


def judge(case: Case, factor: float = 1.0, *, two_terms: bool = False) -> Verdict:
    """Judge the predictions made for `factor` times the margins.

    The error of the dual average is measured against grad f(w*), or with `two_terms` against grad f(w_t), and the
    change of the gradient from there to w* bounded by curvature and distance.
    """
    problem, off = case.problem, case.off
    bound = change_bound(problem) if two_terms else None
    left, last = [], LastErrors(*np.zeros((2, case.seeds), dtype=np.int64))
    for state in case.states():
        _, ratio, centre = case.dual_average(state)
        side = problem.norms(state.d + problem.dual if bound is None else state.d - problem.gradient(state.z))
        if bound is not None:
            side = side + bound(state.z)
        left.append((side + ratio * problem.norms(centre - problem.w))[:, off])
        active = problem.regularizer.structure(state.z) > 0
        last.false_positive[active[:, off].any(axis=1)] = state.t
        last.false_negative[~active[:, ~off].all(axis=1)] = state.t
    sides = np.array(left)
    judged = lambda f: prediction(sides, case.margins[off], last, f)  # noqa: E731
    power = rejected("factor on the margin", factor, judged, above=FACTORS)
    return replace(judged(factor), power=(power,))


def cases(size: Size, seed: int) -> dict[str, Case]:
    """Return the four cases: starts one away from the solution with additive noise, from zero with data rows."""
    method, few = RMDA(lr=0.1), max(40, size.seeds // 2)
    made = {}
    for kind in ("l1", "groups"):
        problem = INSTANCES[kind](MARGIN, seed)
        made[kind] = Case(problem, method, problem.w + 1.0, size.steps(800), size.seeds, seed, gaussian(SIGMA))
    for name, group_size in (("logistic rows, l1", 1), ("logistic rows, groups", 3)):
        rows = logistic(seed, group_size=group_size)
        made[name] = Case(rows, method, 0 * rows.w, size.steps(2400), few, seed)
    return made


def with_curvature(size: Size, seed: int) -> dict[str, Case]:
    """Return the cases whose predictions come from estimator error, curvature and distance.

    On data rows the distance must fall for the condition to be met at all: the step does, as t^-0.8.
    """
    quadratics = {kind: replace(cases(size, seed)[kind], seeds=max(40, size.seeds // 2)) for kind in ("l1", "groups")}
    rows = logistic(seed, margin=0.8)
    data = Case(rows, RMDA(lr=4.0, decay=0.8), 0 * rows.w, size.steps(4000), 40, seed)
    return {f"{name}, error + curvature": case for name, case in {**quadratics, "logistic rows, l1": data}.items()}


def check(size: Size, seed: int) -> Verdict:
    """Predict with the true margins."""
    parts = [(name, judge(case)) for name, case in cases(size, seed).items()]
    parts += [(name, judge(case, two_terms=True)) for name, case in with_curvature(size, seed).items()]
    return scatter(all_hold(*parts))


def overstated(case: Case) -> Verdict:
    """Predict with eight times the margins."""
    return judge(case, 8.0)


def control(size: Size, seed: int) -> Verdict:
    """Overstate the margins of all cases."""
    return scatter(all_fail(*((name, overstated(case)) for name, case in cases(size, seed).items())))


CHECK = Check(PREDICTION, check, control, Own(judge, overstated, (RMDA, RDA), steps=4000, separable=True))
