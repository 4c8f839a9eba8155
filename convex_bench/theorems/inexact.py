"""RAMDA under inexact subproblems: it identifies if the inner solver ends with a prox and its error vanishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from convex_bench.theorems.case import last_decades
from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import NoisyOracle, gaussian
from manifold_id.methods import RAMDA
from manifold_id.regularizers import L1
from manifold_id.statistics import Estimate, logrank
from manifold_id.theory.base import Assumption, Curve, Evidence, Power, Theorem, Verdict, decide, no_violations
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.identified import identification
from manifold_id.theory.intervals import bootstrap, every, inside, log_slope
from manifold_id.theory.structure_record import StructureRecord, compare

Array = np.ndarray
LEVEL = 0.01  # of all log-rank tests together
EXACT = 1e-12  # a smaller |s| / alpha is rounding

INEXACT = Theorem(
    name="ramda-inexact",
    title="RAMDA identifies under inexact subproblems",
    statement="W_t ~ argmin Q_t(W) = <V_t, W> + |W - W^0|^2_{P_t} / 2 + alpha_t psi(W), P_t = diag(U_t^{1/3} + "
    "eps), accepted when Q_t has not risen and some s_t in dQ_t(W_t) has |s_t| / alpha_t -> 0. If W_t converges "
    "to a nondegenerate point and the inner solver is proximal gradient, W_t lies on the manifold from some step "
    "on.",
    latex=r"\min\limits_{s\in\partial Q_t(\tilde W^t)}\|s\|/\alpha_t\to0\ \Rightarrow\ \exists T_0\,\forall t\ge "
    r"T_0:\ \tilde W^t\in\mathcal M",
    source="RAMDA, NeurIPS 2024, arXiv 2403.14398; subproblem and metric are those of the authors' code. The form "
    "tested is derived: s_t/alpha_t - V_t/alpha_t - P_t (W_t - W^0)/alpha_t lies in d psi(W_t) and tends to "
    "-grad f(W*), inside ri d psi(W*); the last step of the inner solver is a prox, whose output then lies "
    "on M (Hare and Lewis 2004, Theorem 5.3).",
    measured="`manifold_id.methods.RAMDA` with step lr t^-0.6, for which W_t converges (the 99 % interval of the "
    "exponent of |W_t - W*| is negative), and the prox in the metric P_t replaced by an inner solver: the closed "
    "form, and 1, 2, 5 and 30 steps of proximal gradient, warm started. The share of identified runs; the exponent of "
    "the mean |s_t| / alpha_t over the last decade, whose 99 % interval must lie below -1/2; and the acceptance test: "
    "the number of subproblems whose value has risen above that of the last iterate by more than rounding, 0. "
    "Identification times with an inexact solver against those with the closed form by log-rank tests, at the level "
    "0.01 for all together.",
    control="Gradient descent on psi smoothed (lam sqrt(w^2 + nu^2) - lam nu) as inner solver, with as many "
    "steps: its points have no exact zeros. And proximal gradient with steps 2.5 times as long as the inverse of the "
    "largest metric entry, which fail the acceptance test.",
)


def inexact(
    record: StructureRecord,
    steps: Array,
    errors: Array,
    margin: float,
    noise: float,
    *,
    distance: tuple[Array, Array] | None = None,
) -> Verdict:
    """Return the verdict on identification and on the subproblems' error.

    A solver that ends off the manifold has an error that stays near the margin, so that both fail together.

    `distance` is that of `identification`.
    `errors` (steps, seeds) is |s_t| / alpha_t at `steps`, over the last decade of the run; where all are below 1e-12
    they count as exact. The exponent is that of the mean over seeds, with a bootstrap interval over them.
    """
    found = identification(record, margin, noise, distance=distance)
    exact = bool(errors.max() < EXACT)
    fit = Estimate(-np.inf, -np.inf, -np.inf)
    if not exact:
        fit = bootstrap(lambda i: log_slope(steps, np.maximum(errors[:, i].mean(axis=1), 1e-300)), errors.shape[1])
    curve = Curve("mean |s| / alpha", steps.astype(float), errors.mean(axis=1))
    inner = Evidence("Error of the subproblems", "step", "|s| / alpha", (curve,), "log", "log")
    vanishing = f"inner error ~ t^{fit.value:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
    return decide(
        every({"holds": True, "fails": False}.get(found.status), inside((fit.low, fit.high), high=-0.5)),
        found.assumptions,
        f"{found.summary}, " + ("subproblems exact" if exact else vanishing),
        f"{found.criterion}; 99 % interval of the exponent of the inner error below -1/2",
        found.effect,
        found.interval,
        found.seeds,
        found.samples,
        evidence=(*found.evidence, inner),
        figures={"exponent of the inner error": fit.value},
        power=(*found.power, Power("exponent of the inner error, at most", -0.5, below=fit.low)) if not exact else (),
    )


def same_times(exact: Array, inexact: dict[str, Array], steps: int) -> Verdict:
    """Return the verdict on identification times: log-rank p >= LEVEL / tests for each inexact solver.

    Times are (seeds,) steps from which a run is right; one that is not right on the whole last half is censored.
    """

    def censored(times: Array) -> Array:
        return np.where(times <= steps // 2, times.astype(float), np.nan)

    p = {name: logrank(censored(exact), censored(times), steps // 2) for name, times in inexact.items()}
    worst = min(p.values())
    curves = tuple(
        Curve(name, np.sort(times).astype(float), (np.arange(len(times)) + 1) / len(times))
        for name, times in {"exact": exact, **inexact}.items()
    )
    share = float(np.mean(exact <= steps // 2))
    medians = ", ".join(f"{name} {np.median(t):.0f}" for name, t in {"exact": exact, **inexact}.items())
    return decide(
        worst * len(p) >= LEVEL,
        (Assumption("share identified, exact", share, share > 0.5, "else there are no times to compare"),),
        f"smallest p {worst:.2g} of {len(p)} tests (median steps: {medians})",
        f"log-rank p >= {LEVEL:g} after Bonferroni",
        worst,
        seeds=len(exact),
        samples=len(p) * len(exact),
        evidence=(Evidence("Identified runs", "step", "share of seeds", curves, "log"),),
        figures={f"log-rank p, {name}": value for name, value in p.items()},
    )


MARGIN, SIGMA, DECAY, LAM = 0.3, 0.3, 0.6, 1.0
METHOD = RAMDA(lr=0.3, eps=1e-2)
INNER = (1, 2, 5, 30)
Inner = Callable[[Array, Array, float, Array], Array]  # (warm start, centre, alpha, P) -> w


def proximal(count: int, length: float = 1.0) -> Inner:
    """Return `count` steps of proximal gradient on Q, of `length` / max P."""

    def solve(w: Array, centre: Array, alpha: float, P: Array) -> Array:
        step = length / P.max(axis=1, keepdims=True)
        for _ in range(count):
            w = L1(LAM).prox(w - step * P * (w - centre), alpha * step[:, 0])
        return w

    return solve


def exact() -> Inner:
    """Return the closed form of the subproblem: the prox of l1 in the diagonal metric P / alpha."""
    return lambda w, centre, alpha, P: np.asarray(L1(LAM).prox_metric(centre, alpha, P))


def smoothed(count: int, nu: float = 1e-2) -> Inner:
    """Return `count` gradient steps on Q with psi smoothed."""

    def solve(w: Array, centre: Array, alpha: float, P: Array) -> Array:
        step = 1 / (P.max(axis=1, keepdims=True) + alpha * LAM / nu)
        for _ in range(count):
            w = w - step * (P * (w - centre) + alpha * LAM * w / np.sqrt(w * w + nu * nu))
        return w

    return solve


class Inexact:
    """psi whose prox in a metric is an inner solver, warm started at `warm`; it keeps dist(0, dQ) / alpha and counts
    the points at which Q is above its value at the warm start."""

    def __init__(self, inner: Inner, warm: Array) -> None:
        self._inner, self.warm, self.rises = inner, warm, 0
        self.error = np.zeros(len(warm))

    def prox_metric(self, centre: Array, alpha: float, P: Array) -> Array:
        """Return the inner solver's answer to min |w - centre|_P^2 / 2 + alpha psi(w)."""
        psi, w = L1(LAM), self._inner(self.warm, centre, alpha, P)
        old, new = ((P * (v - centre) ** 2).sum(axis=1) / 2 + alpha * psi.value(v) for v in (self.warm, w))
        self.rises += int((new > old + ROUNDING * np.abs(old)).sum())
        self.error = np.linalg.norm(psi.residual(w, P * (w - centre) / alpha), axis=1)
        return w


ROUNDING = 1e-12


def accepted(rises: dict[str, int], solved: int, seeds: int) -> Verdict:
    """Return the verdict on the acceptance test: no subproblem's value has risen, of `solved` by each solver."""
    what = f"subproblems ({', '.join(f'{name} {count}' for name, count in rises.items())})"
    return no_violations(sum(rises.values()), len(rises) * solved, what, seeds=seeds)


def run(inner: Inner, size: Size, seed: int, *, length: int | None = None) -> tuple[StructureRecord, Verdict, int]:
    """Run RAMDA without momentum, from a start one away from the solution; return the record, its verdict, and how many
    subproblems fail the acceptance test."""
    problem = l1_quadratic(MARGIN, seed)
    seeds, steps = max(50, size.seeds // 2), size.steps(800) if length is None else length
    w = np.broadcast_to(problem.w + 1.0, (seeds, len(problem.w)))
    oracle, state = NoisyOracle(problem, gaussian(SIGMA), w.shape, seed), METHOD.init(w)
    psi: Any = Inexact(inner, w)
    positive, negative = np.zeros((2, steps, seeds), dtype=bool)
    errors, distance = np.zeros((steps, seeds)), np.zeros((steps, seeds))
    for t in range(1, steps + 1):
        oracle.draw()
        psi.warm = state.w
        state = replace(METHOD, lr=METHOD.lr * t**-DECAY).update(oracle, state, psi)
        errors[t - 1], distance[t - 1] = psi.error, np.linalg.norm(state.w - problem.w, axis=1)
        positive[t - 1], negative[t - 1] = compare(problem.regularizer.structure(state.w), problem.codes)
    last, marks = np.arange(steps // 10, steps + 1), last_decades(steps, 20)
    record = StructureRecord(positive, negative)
    found = inexact(record, last, errors[last - 1], problem.margin, SIGMA, distance=(marks, distance[marks - 1]))
    return record, found, psi.rises


def check(size: Size, seed: int) -> Verdict:
    """Test the exact solution and four numbers of inner steps, and compare their identification times with its own."""
    reference, first, rises = run(exact(), size, seed)
    parts, times, risen = [("exact", first)], {}, {"exact": rises}
    for count in INNER:
        name = f"{count} inner steps"
        record, verdict, risen[name] = run(proximal(count), size, seed)
        parts.append((name, verdict))
        times[name] = record.last_wrong + 1
    return all_hold(
        *parts,
        ("log-rank", same_times(reference.last_wrong + 1, times, reference.steps)),
        ("acceptance test", accepted(risen, reference.wrong.size, reference.seeds)),
    )


def control(size: Size, seed: int) -> Verdict:
    """Solve the subproblems by gradient descent on a smoothed psi; with steps too long for the acceptance test."""
    reference = run(exact(), size, seed)[0]
    record, verdict, _ = run(smoothed(30), size, seed)
    late = same_times(reference.last_wrong + 1, {"smoothed": record.last_wrong + 1}, reference.steps)
    few = 100  # the points diverge
    risen = {"2.5 times as long": run(proximal(2, 2.5), size, seed, length=few)[2]}
    return all_fail(
        ("identification", verdict),
        ("log-rank", late),
        ("steps too long", accepted(risen, few * reference.seeds, reference.seeds)),
    )


CHECK = Check(INEXACT, check, control, "RAMDA's subproblem with an inner solver of its own")
