"""Runs for RAMDA with inexact subproblems; a pure method, local to this check."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import NoisyOracle, Quadratic, gaussian
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.inexact import INEXACT, inexact, same_times
from manifold_id.theory.structure_record import StructureRecord, compare

Array = np.ndarray
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


CHECK = Check(INEXACT, check, control)
