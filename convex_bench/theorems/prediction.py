"""Runs for the prediction of each run's identification step: quadratics, and rows of a logistic regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.rows import logistic
from convex_bench.theorems.synthetic import Noise, Quadratic, gaussian, states
from manifold_id.methods import RMDA
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.prediction import PREDICTION, prediction, scatter
from manifold_id.theory.structure_record import LastErrors

Array = np.ndarray
MARGIN, SIGMA = 0.3, 0.5


def change_bound(problem: Any) -> Callable[[Array], Array]:
    """Return the function of w, (seeds, p), that bounds |grad_i f(w) - grad_i f(w*)| from curvature and distance,
    (seeds, atoms).

    Separable quadratics: h_i |w_i - w*_i|. Logistic rows: L_i |w - w*| with L_i = |X_i| |X| / (4 n), spectral norms.
    """
    atoms = len(problem.codes)
    if isinstance(problem, Quadratic):
        return lambda w: np.linalg.norm((problem.curvature * (w - problem.w)).reshape(len(w), atoms, -1), axis=-1)
    X = problem.problem.X
    lipschitz = np.linalg.norm(X.reshape(len(X), atoms, -1), 2, axis=(0, 2)) * np.linalg.norm(X, 2) / (4 * len(X))
    return lambda w: np.linalg.norm(w - problem.w, axis=1)[:, None] * lipschitz


def run(
    problem: Any,
    noise: Noise | None,
    w0: Any,
    seeds: int,
    steps: int,
    seed: int,
    factor: float = 1.0,
    *,
    method: RMDA = RMDA(lr=0.1),  # noqa: B008, frozen
    two_terms: bool = False,
) -> Verdict:
    """Run RMDA and judge the predictions made for `factor` times the margins.

    The error of the dual average is measured against grad f(w*), or with `two_terms` against grad f(w_t), and the
    change of the gradient from there to w* bounded by curvature and distance.
    """
    atoms, off = len(problem.codes), problem.codes <= 0
    pull = np.linalg.norm((w0 - problem.w).reshape(atoms, -1), axis=-1)[off]
    bound = change_bound(problem) if two_terms else None
    left, last = [], LastErrors(*np.zeros((2, seeds), dtype=np.int64))
    for state in states(problem, method, noise, w0, steps, seeds=seeds, seed=seed):
        error = state.d + problem.dual if bound is None else state.d - problem.gradient(state.z)
        side = np.linalg.norm(error.reshape(seeds, atoms, -1), axis=-1)
        if bound is not None:
            side = side + bound(state.z)
        left.append(side[:, off] + state.t**method.damping / state.weight * pull)
        active = problem.regularizer.structure(state.z) > 0
        last.false_positive[active[:, off].any(axis=1)] = state.t
        last.false_negative[~active[:, ~off].all(axis=1)] = state.t
    margin = problem.regularizer.margin(problem.w, -problem.dual)[off]
    return prediction(np.array(left), margin, last, factor)


def _parts(size: Size, seed: int, factor: float, shorter: int = 1) -> tuple[tuple[str, Verdict], ...]:
    """Return the four verdicts: starts one away from the solution with additive noise, from zero with data rows."""
    parts = []
    for kind in ("l1", "groups"):
        problem = INSTANCES[kind](MARGIN, seed)
        parts.append(
            (kind, run(problem, gaussian(SIGMA), problem.w + 1.0, size.seeds, size.steps(800) // shorter, seed, factor))
        )
    for name, group_size in (("logistic rows, l1", 1), ("logistic rows, groups", 3)):
        rows, few = logistic(seed, group_size=group_size), max(40, size.seeds // 2)
        parts.append((name, run(rows, None, 0 * rows.w, few, size.steps(2400) // shorter, seed, factor)))
    return tuple(parts)


def _two_terms(size: Size, seed: int) -> tuple[tuple[str, Verdict], ...]:
    """Return the verdicts of the predictions from estimator error, curvature and distance.

    On data rows the distance must fall for the condition to be met at all: the step does, as t^-0.8.
    """
    parts = []
    for kind in ("l1", "groups"):
        problem, few = INSTANCES[kind](MARGIN, seed), max(40, size.seeds // 2)
        verdict = run(problem, gaussian(SIGMA), problem.w + 1.0, few, size.steps(800), seed, two_terms=True)
        parts.append((f"{kind}, error + curvature", verdict))
    rows, falling = logistic(seed, margin=0.8), RMDA(lr=4.0, decay=0.8)
    verdict = run(rows, None, 0 * rows.w, 40, size.steps(4000), seed, method=falling, two_terms=True)
    return (*parts, ("logistic rows, l1, error + curvature", verdict))


def check(size: Size, seed: int) -> Verdict:
    """Predict with the true margins."""
    return scatter(all_hold(*_parts(size, seed, 1.0), *_two_terms(size, seed)))


def control(size: Size, seed: int) -> Verdict:
    """Predict with eight times the margins, which is refuted early in the run."""
    return scatter(all_fail(*_parts(size, seed, 8.0, shorter=4)))


CHECK = Check(PREDICTION, check, control)
