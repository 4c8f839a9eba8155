"""RAMDA under inexact subproblems: it identifies if the inner solver ends with a prox and its error vanishes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import NoisyOracle, Quadratic, gaussian
from manifold_id.statistics import Estimate, logrank
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
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
    measured="The subproblem in closed form, and 1, 2, 5 and 30 inner steps of proximal gradient, warm started: the "
    "share of identified runs, and the exponent of the mean |s_t| / alpha_t over the last decade, whose 99 % interval "
    "must lie below -1/2 (the assumption, measured). Identification times with an inexact solver against those with "
    "the closed form by log-rank tests, at the level 0.01 for all together.",
    control="Gradient descent on psi smoothed (lam sqrt(w^2 + nu^2) - lam nu) as inner solver, with as many "
    "steps: its points have no exact zeros.",
)


def inexact(record: StructureRecord, steps: Array, errors: Array, margin: float, noise: float) -> Verdict:
    """Return the verdict on identification and on the subproblems' error.

    A solver that ends off the manifold has an error that stays near the margin, so that both fail together.

    `errors` (steps, seeds) is |s_t| / alpha_t at `steps`, over the last decade of the run; where all are below 1e-12
    they count as exact. The exponent is that of the mean over seeds, with a bootstrap interval over them.
    """
    found = identification(record, margin, noise)
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


MARGIN, SIGMA, LR, EPS, LAM = 0.3, 0.3, 0.1, 1e-2, 1.0
INNER = (1, 2, 5, 30)
Inner = Callable[[Quadratic, Array, Array, Array, Array, float], Array]  # (problem, w, V, P, W0, alpha) -> w


def proximal(count: int) -> Inner:
    """Return `count` steps of proximal gradient on Q, step 1 / max P."""

    def solve(problem: Quadratic, w: Array, V: Array, P: Array, anchor: Array, alpha: float) -> Array:
        top = P.max(axis=1, keepdims=True)
        for _ in range(count):
            w = problem.regularizer.prox(w - (V + P * (w - anchor)) / top, alpha / top[:, 0])
        return w

    return solve


def exact() -> Inner:
    """Return the closed form of the subproblem: the prox of l1 in the diagonal metric P / alpha."""

    def solve(problem: Quadratic, w: Array, V: Array, P: Array, anchor: Array, alpha: float) -> Array:
        return np.asarray(problem.regularizer.prox_metric(anchor - V / P, alpha, P))

    return solve


def smoothed(count: int, nu: float = 1e-2) -> Inner:
    """Return `count` gradient steps on Q with psi smoothed."""

    def solve(problem: Quadratic, w: Array, V: Array, P: Array, anchor: Array, alpha: float) -> Array:
        step = 1 / (P.max(axis=1, keepdims=True) + alpha * LAM / nu)
        for _ in range(count):
            w = w - step * (V + P * (w - anchor) + alpha * LAM * w / np.sqrt(w * w + nu * nu))
        return w

    return solve


def run(inner: Inner, size: Size, seed: int) -> tuple[StructureRecord, Verdict]:
    """Run RAMDA without momentum, from a start one away from the solution; return the record and its verdict."""
    problem = l1_quadratic(MARGIN, seed)
    seeds, steps = max(50, size.seeds // 2), size.steps(500)
    w = np.broadcast_to(problem.w + 1.0, (seeds, len(problem.w)))
    oracle, anchor = NoisyOracle(problem, gaussian(SIGMA), w.shape, seed), w
    V, U, alpha = np.zeros(w.shape), np.zeros(w.shape), 0.0
    positive, negative = np.zeros((2, steps, seeds), dtype=bool)
    errors = np.zeros((steps, seeds))
    for t in range(1, steps + 1):
        oracle.draw()
        g, s = oracle(w), LR * np.sqrt(t)
        V, U, alpha = V + s * g, U + s * g * g, alpha + s
        P = np.cbrt(U) + EPS
        w = inner(problem, w, V, P, anchor, alpha)
        residual = problem.regularizer.residual(w, (V + P * (w - anchor)) / alpha)  # dist(0, dQ) / alpha, by entry
        errors[t - 1] = np.linalg.norm(residual, axis=1)
        positive[t - 1], negative[t - 1] = compare(problem.regularizer.structure(w), problem.codes)
    last = np.arange(steps // 10, steps + 1)
    record = StructureRecord(positive, negative)
    return record, inexact(record, last, errors[last - 1], problem.margin, SIGMA)


def check(size: Size, seed: int) -> Verdict:
    """Test the exact solution and four numbers of inner steps, and compare their identification times with its own."""
    reference, first = run(exact(), size, seed)
    parts, times = [("exact", first)], {}
    for count in INNER:
        record, verdict = run(proximal(count), size, seed)
        parts.append((f"{count} inner steps", verdict))
        times[f"{count} inner steps"] = record.last_wrong + 1
    return all_hold(*parts, ("log-rank", same_times(reference.last_wrong + 1, times, reference.steps)))


def control(size: Size, seed: int) -> Verdict:
    """Solve the subproblems by gradient descent on a smoothed psi."""
    reference, _ = run(exact(), size, seed)
    record, verdict = run(smoothed(30), size, seed)
    late = same_times(reference.last_wrong + 1, {"smoothed": record.last_wrong + 1}, reference.steps)
    return all_fail(("identification", verdict), ("log-rank", late))


CHECK = Check(INEXACT, check, control, "RAMDA's subproblem with an inner solver of its own")
