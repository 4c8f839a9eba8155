"""Run one method on one problem for many seeds: compiled where it can be, structure tracked at every step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from convex_bench.engine import kernel as K
from convex_bench.engine.layout import lay_out
from convex_bench.engine.lazy_choice import applies, pays
from convex_bench.engine.oracle import check_batch, iterate
from convex_bench.engine.penalties import CODES
from convex_bench.engine.recursions import RECURSIONS, Recursion
from convex_bench.engine.seeds import Seed
from convex_bench.problem import Problem
from manifold_id.methods.base import Method
from manifold_id.regularizers.base import Separable
from manifold_id.tracking import ManifoldTracker, Trace
from manifold_id.validation import integer

_BLOCK = 16384  # steps between two looks at the clock, the keyboard and the logs

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Run:
    """One seed of one method on one problem.

    Attributes
    ----------
    trace, prox_trace
        The structure of the iterate and of the proximal point at every step 0 .. steps; one object where the two
        points are the same.
    curves
        Float arrays over the checkpoints: step, objective, estimator_error = |d_t - grad f(w_t)|_2 and, with a
        reference solution, suboptimality = F(w_t) - F* and distance = |w_t - w*|_2.
    w
        The last iterate.
    seconds
        Wall time of the steps, without the checkpoints, as this seed's share of its call.
    compiled
        False where the method or the penalty has no compiled form and the pure update ran.
    """

    seed: int
    steps: int
    trace: Trace
    prox_trace: Trace
    curves: dict[str, np.ndarray]
    w: np.ndarray
    seconds: float
    compiled: bool


def log_spaced(steps: int, count: int = 40) -> np.ndarray:
    """Return at most `count` distinct steps from 1 to `steps`, evenly spaced in their logarithm."""
    return np.unique(np.geomspace(1, steps, count).round().astype(np.int64))


def run(
    problem: Problem,
    method: Method,
    seeds: Iterable[int],
    steps: int,
    *,
    batch_size: int = 1,
    replacement: bool = True,
    w0: np.ndarray | None = None,
    reference: Any = None,
    checkpoints: np.ndarray | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[Run]:
    """Run `steps` steps of `method` for each seed and return one Run each, in the order of the seeds.

    The result of a seed depends neither on the other seeds nor on the number of threads, bit for bit.

    Parameters
    ----------
    batch_size, replacement
        Minibatches of independent rows (`replacement`), or of consecutive rows of a new shuffle every epoch.
    w0
        Start of problem.shape, zero by default.
    reference
        A Solution (anything with `w` and `value`) to measure suboptimality and distance against.
    checkpoints
        Increasing steps at which the curves are recorded; 40 log-spaced ones by default.
    progress
        Called with the number of steps just done, summed over seeds.

    Raises
    ------
    ValueError
        For steps < 1, batch_size outside 1 .. n, or a w0 of the wrong shape.
    """
    integer("steps", steps, 1)
    check_batch(problem, batch_size)
    start = np.zeros(problem.shape) if w0 is None else np.array(w0, dtype=np.float64)
    if start.shape != problem.shape:
        raise ValueError(f"w0 has shape {start.shape}: it must be the problem's {problem.shape}")
    marks = log_spaced(steps) if checkpoints is None else np.unique(np.asarray(checkpoints, dtype=np.int64))
    marks = np.union1d(marks[(marks >= 1) & (marks < steps)], [steps])
    seeds = list(seeds)
    method = method.for_problem(problem)
    recursion, separable = RECURSIONS.get(type(method)), problem.separable
    report = progress or (lambda done: None)
    if not is_compiled(problem, method) or recursion is None or separable is None:
        return [_pure(problem, method, s, batch_size, replacement, start, marks, reference, report) for s in seeds]
    compiled = (problem, method, recursion, separable)
    if applies(problem, method, separable, start) and pays(problem, method, separable, batch_size):
        from convex_bench.engine.lazy import run_lazy  # imports this module, and compiles what few runs need

        return run_lazy(*compiled, seeds, batch_size, replacement, start, marks, reference, threads, report)
    return _run_compiled(*compiled, seeds, batch_size, replacement, start, marks, reference, threads, report)


def is_compiled(problem: Problem, method: Method) -> bool:
    """Whether there is a compiled loop; else the method's own update runs, slower and to the same numbers.

    It needs the coefficients of the method and the prox of the penalty; in a metric, groups of the plain norm alone.
    """
    recursion, separable = RECURSIONS.get(type(method)), problem.separable
    if recursion is None or separable is None or separable.penalty not in CODES:
        return False
    groups = len(separable.lam) < len(separable.labels)
    return not recursion.adaptive or not groups or separable.penalty == "abs"


def _run_compiled(
    problem: Problem,
    method: Method,
    recursion: Recursion,
    separable: Separable,
    seeds: list[int],
    batch_size: int,
    replacement: bool,
    start: np.ndarray,
    marks: np.ndarray,
    reference: Any,
    threads: int | None,
    report: Progress,
) -> list[Run]:
    layout = lay_out(problem, separable, recursion.ignores_regularizer, recursion.gathers)
    plan = recursion.plan(method)
    runs = [Seed.start(layout, plan, start, seed, batch_size, replacement) for seed in seeds]
    codes = np.asarray(problem.regularizer.structure(start), dtype=np.int8)
    seconds, carry, done = 0.0, None, 0
    curves: list[list[dict[str, float]]] = []
    iterate = [s.state.z if recursion.iterate == "z" else s.state.w for s in runs]
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for mark in marks:
            while done < mark:
                stop = int(min(mark, done + _BLOCK))
                coef = np.zeros((stop - done, K.COLUMNS))
                carry = recursion.coefficients(method, np.arange(done + 1, stop + 1), coef, carry)
                clock = time.perf_counter()
                list(pool.map(partial(Seed.advance, coef=coef, base=done, stop=stop), runs))
                seconds += time.perf_counter() - clock
                report((stop - done) * len(runs))
                done = stop
            points = layout.restore(np.stack(iterate), problem.shape)
            estimates = layout.restore(np.stack([s.state.d for s in runs]), problem.shape)
            # seed by seed, so that the last bit does not depend on which seeds share a call
            curves.append(list(pool.map(partial(_measure, problem, int(mark), reference), points, estimates)))
    result = []
    for i, (seed, s) in enumerate(zip(seeds, runs, strict=True)):
        prox_trace = s.trace(1, codes)
        first = s.trace(0, codes) if plan.two_points else prox_trace
        mine = _columns([c[i] for c in curves])
        result.append(Run(seed, done, first, prox_trace, mine, points[i], seconds / len(runs), compiled=True))
    return result


def _measure(problem: Problem, step: int, reference: Any, w: np.ndarray, d: np.ndarray) -> dict[str, float]:
    """Return one checkpoint of every curve, for one point and its estimate of the gradient."""
    smooth, gradient = problem.smooth(w)
    value = smooth + float(problem.regularizer.value(w))
    point = {"step": float(step), "objective": value, "estimator_error": float(np.linalg.norm(d - gradient))}
    if reference is not None:
        point["suboptimality"] = value - reference.value
        point["distance"] = float(np.linalg.norm(w - reference.w))
    return point


def _columns(points: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Return the curves of one run from its checkpoints."""
    return {name: np.array([point[name] for point in points]) for name in points[0]}


def _pure(
    problem: Problem,
    method: Method,
    seed: int,
    batch_size: int,
    replacement: bool,
    start: np.ndarray,
    marks: np.ndarray,
    reference: Any,
    report: Progress,
) -> Run:
    """Run the pure update of a method or penalty that has no compiled form."""
    tracker = ManifoldTracker(problem.regularizer)
    tracker.update(0, start, start)
    clock, seconds, reported, curves, wanted = time.perf_counter(), 0.0, 0, [], set(marks.tolist())
    for state in iterate(problem, method, seed, batch_size, replacement, start):
        tracker.update(state.t, state.w, state.z)
        if state.t in wanted:
            seconds += time.perf_counter() - clock
            curves.append(_measure(problem, state.t, reference, state.w, state.d))
            report(state.t - reported)
            reported, clock = state.t, time.perf_counter()
        if state.t == marks[-1]:
            break
    last = int(marks[-1])
    return Run(seed, last, tracker.trace, tracker.prox_trace, _columns(curves), state.w, seconds, compiled=False)
