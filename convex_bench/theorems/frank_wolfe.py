"""Away-step Frank-Wolfe on the simplex drops one wrong vertex a step near the solution; classical Frank-Wolfe never."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convex_bench.theorems.check import Check, Size
from manifold_id.regularizers import Simplex
from manifold_id.theory.base import Assumption, Power, Theorem, Verdict, decide, no_violations
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.curves import figure_of_runs
from manifold_id.theory.identified import SHARE, missed_share
from manifold_id.theory.intervals import clopper_pearson
from manifold_id.theory.structure_record import StructureRecord

Array = np.ndarray

FRANK_WOLFE = Theorem(
    name="away-step-frank-wolfe",
    title="Away-step Frank-Wolfe identifies the face of the simplex: near the solution every step drops a wrong vertex",
    statement="f quadratic on the simplex with Hessian H, L = max |H_ij|, multipliers delta_i = grad_i f(x*) - min > "
    "0 off the support of x*. Steps min(largest feasible, -<grad, d> / (L |d|_1^2)). At a point x with wrong vertices "
    "O in its support and 4 L |x - x*|_1 + 2 sum_O delta_k x_k < min_O delta, the away-step method drops one of O and "
    "adds none outside the support of x*. As it converges, it is on the face of x* from some step on. The classical "
    "method never drops a vertex.",
    latex=r"4L\|x-x^*\|_1+2\sum_{k\in O}\delta_kx_k<\min_{k\in O}\delta_k\ \Rightarrow\ |O^+|=|O|-1",
    source="Bomze, Rinaldi and Zeffiro, arXiv 1912.11492: active set complexity of the away-step method. The "
    "condition is derived: |<g - g*, e_i - x>| <= 2 L |x - x*|_1, so that the largest multiplier of O beats every "
    "other direction, and x_i <= |x - x*|_1 / 2 makes the largest feasible away step, x_i / (1 - x_i), the shorter "
    "one.",
    measured="Random quadratics of 12 coordinates with 4 in the support, starts inside the simplex and near "
    "the solution. At every step that meets the condition: exactly one wrong vertex less, 0 violations. The share of "
    "instances on the right face on the whole last half of the steps, whose exact 95 % lower limit must exceed 0.9.",
    control="Classical Frank-Wolfe on the same instances, starts and steps: it moves towards vertices alone.",
)

P, ACTIVE, STEPS, NEAR_STEPS = 12, 4, 2000, 100


@dataclass(frozen=True, eq=False)
class Faces:
    """A batch of quadratics (x - x*)^T H (x - x*) / 2 + <g*, x> on the simplex: H (b, p, p), x* and g* (b, p)."""

    H: Array
    star: Array
    g: Array

    def gradient(self, x: Array) -> Array:
        """Return the gradients, (b, p)."""
        return np.einsum("bij,bj->bi", self.H, x - self.star) + self.g

    @property
    def lipschitz(self) -> Array:
        """(b,) max |H_ij|."""
        return np.abs(self.H).max(axis=(1, 2))


def instances(count: int, seed: int) -> Faces:
    """Return random instances: multipliers between 0.1 and 1 off the support, 0 on it."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((count, 2 * P, P))
    H = np.einsum("bki,bkj->bij", A, A) / (2 * P) + 0.3 * np.eye(P)
    star, g = np.zeros((count, P)), rng.uniform(0.1, 1, (count, P))
    star[:, :ACTIVE], g[:, :ACTIVE] = rng.uniform(0.5, 1, (count, ACTIVE)), 0.0
    return Faces(H, star / star.sum(axis=1, keepdims=True), g)


def step(problem: Faces, x: Array, *, away: bool) -> Array:
    """Return the points after one step of the away-step or the classical method."""
    g, rows = problem.gradient(x), np.arange(len(x))
    inner = (g * x).sum(axis=1)
    toward = g.argmin(axis=1)
    worst = np.where(x > 0, g, -np.inf).argmax(axis=1)
    leave = away & (g[rows, worst] - inner > inner - g[rows, toward])
    chosen = np.where(leave, worst, toward)
    vertex = np.eye(x.shape[1])[chosen]
    d = np.where(leave[:, None], x - vertex, vertex - x)
    weight = x[rows, chosen]
    largest = np.where(leave, weight / np.maximum(1 - weight, 1e-300), 1.0)
    length = np.abs(d).sum(axis=1)
    wanted = -(g * d).sum(axis=1) / np.maximum(problem.lipschitz * length**2, 1e-300)
    t = np.minimum(largest, np.maximum(wanted, 0.0))
    new = np.maximum(x + t[:, None] * d, 0.0)
    new[rows[leave & (t == largest)], chosen[leave & (t == largest)]] = 0.0
    return np.asarray(new / new.sum(axis=1, keepdims=True))


def drops(ratio: Array, dropped: Array, seeds: int, factor: float = 1.0) -> Verdict:
    """Return the verdict on single steps: ratio of the two sides of the condition, and whether exactly one wrong vertex
    went and none came; (samples,). `factor` multiplies the multipliers."""
    met = ratio < factor
    return no_violations(
        int((met & ~dropped).sum()),
        int(met.sum()),
        "steps that meet the condition",
        seeds=seeds,
        power=(Power("factor on min delta", factor, above=float(ratio[~dropped].min(initial=np.inf))),),
    )


def faces(record: StructureRecord, margin: float) -> Verdict:
    """Return the verdict on the share of instances on the right face on the whole last half."""
    right = int((record.last_wrong <= record.steps / 2).sum())
    low, high = clopper_pearson(right, record.seeds, 0.9)
    flags = {"wrong vertices": record.false_positive, "missing vertices": record.false_negative}
    return decide(
        True if low > SHARE else False if high < SHARE else None,
        (Assumption("smallest multiplier", margin, margin > 0),),
        f"{right} of {record.seeds} instances on the face ({record.both()}; {record.steps} steps)",
        "95 % lower limit of the share that is right on the whole last half > 0.9",
        right / record.seeds,
        (low, high),
        record.seeds,
        record.wrong.size,
        evidence=(figure_of_runs("Instances off the face", flags),),
        figures=record.both().figures(),
        power=(missed_share(record.seeds),),
    )


def trace(problem: Faces, x: Array, steps: int, *, away: bool) -> tuple[StructureRecord, Array, Array]:
    """Run all instances from x; return the record, and of the steps that begin with wrong vertices the ratio of the two
    sides of the condition, and whether exactly one wrong vertex went and none came."""
    off = Simplex(1.0).structure(problem.star) == 0
    positive, negative = np.zeros((2, steps, len(x)), dtype=bool)
    ratios, dropped = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    for k in range(steps):
        wrong, new = (x > 0) & off, step(problem, x, away=away)
        some = wrong.any(axis=1)
        if some.any():
            least = np.where(wrong, problem.g, np.inf).min(axis=1)
            left = 4 * problem.lipschitz * np.abs(x - problem.star).sum(axis=1) + 2 * (problem.g * x * off).sum(axis=1)
            after = (new > 0) & off
            ratios.append((left / least)[some])
            dropped.append(((after.sum(axis=1) == wrong.sum(axis=1) - 1) & ~(after & ~wrong).any(axis=1))[some])
        x = new
        positive[k], negative[k] = ((x > 0) & off).any(axis=1), ((x == 0) & ~off).any(axis=1)
    return StructureRecord(positive, negative), np.concatenate(ratios), np.concatenate(dropped)


def run(size: Size, seed: int, *, away: bool) -> tuple[tuple[str, Verdict], ...]:
    """Run all instances from near the solution, where the condition holds or nearly so, and from inside the simplex."""
    problem, rng = instances(size.seeds, seed), np.random.default_rng([seed, 1])
    mixed = rng.uniform(0.5, 1, problem.star.shape)
    mixed /= mixed.sum(axis=1, keepdims=True)
    least = problem.g[:, ACTIVE:].min(axis=1)
    share = np.minimum(least / problem.lipschitz * 10 ** rng.uniform(-3, 1.5, len(mixed)), 0.9)[:, None]
    _, ratios, dropped = trace(problem, (1 - share) * problem.star + share * mixed, NEAR_STEPS, away=away)
    record, *_ = trace(problem, mixed, size.steps(STEPS), away=away)
    single = drops(ratios, dropped, len(mixed))
    return ("single steps", single), ("faces", faces(record, float(least.min())))


def check(size: Size, seed: int) -> Verdict:
    """Judge the away-step method."""
    return all_hold(*run(size, seed, away=True))


def control(size: Size, seed: int) -> Verdict:
    """Judge the classical method."""
    return all_fail(*run(size, seed, away=False))


CHECK = Check(FRANK_WOLFE, check, control, "away-step Frank-Wolfe on random quadratics over the simplex")
