"""Run one method on one problem for many seeds: compiled where it can be, structure tracked at every step."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from convex_bench.engine.driver import Compiled, Progress, Run, Setting, columns, drive, measure
from convex_bench.engine.lazy.choice import applies, pays
from convex_bench.engine.oracle import check_batch, iterate
from convex_bench.engine.ordinary.loop import OrdinaryLoop
from convex_bench.engine.penalties import CODES
from convex_bench.engine.recursions import RECURSIONS
from convex_bench.problem import Problem
from manifold_id.methods.base import Method
from manifold_id.tracking import ManifoldTracker
from manifold_id.validation import integer


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
    report = progress or (lambda done: None)
    setting = Setting(problem, method, batch_size, replacement, start, marks, reference, threads, report)
    if not is_compiled(problem, method):
        return [_pure(setting, seed) for seed in seeds]
    recursion, separable = RECURSIONS[type(method)], problem.separable
    assert separable is not None  # as is_compiled has it
    what = Compiled(setting, recursion, separable)
    loop: Any = OrdinaryLoop
    if applies(problem, method, separable, start) and pays(problem, method, separable, batch_size):
        from convex_bench.engine.lazy.loops import lazy_loop  # compiles what few runs need

        loop = lazy_loop
    return drive(setting, recursion, loop(what), seeds)


def is_compiled(problem: Problem, method: Method) -> bool:
    """Whether there is a compiled loop; else the method's own update runs, slower and to the same numbers.

    It needs the coefficients of the method and the prox of the penalty; in a metric, groups of the plain norm alone.
    """
    recursion, separable = RECURSIONS.get(type(method)), problem.separable
    if recursion is None or separable is None or separable.penalty not in CODES:
        return False
    groups = len(separable.lam) < len(separable.labels)
    return not recursion.adaptive or not groups or separable.penalty == "abs"


def _pure(setting: Setting, seed: int) -> Run:
    """Run the pure update of a method or penalty that has no compiled form."""
    problem, start, marks = setting.problem, setting.start, setting.marks
    tracker = ManifoldTracker(problem.regularizer)
    tracker.update(0, start, start)
    clock, seconds, reported, curves, wanted = time.perf_counter(), 0.0, 0, [], set(marks.tolist())
    for state in iterate(problem, setting.method, seed, setting.batch_size, setting.replacement, start):
        tracker.update(state.t, state.w, state.z)
        if state.t in wanted:
            seconds += time.perf_counter() - clock
            curves.append(measure(problem, state.t, setting.reference, state.w, state.d))
            setting.report(state.t - reported)
            reported, clock = state.t, time.perf_counter()
        if state.t == marks[-1]:
            break
    last = int(marks[-1])
    return Run(seed, last, tracker.trace, tracker.prox_trace, columns(curves), state.w, seconds, compiled=False)
