"""What drives the compiled loops, ordinary and lazy: threads over seeds, blocks of steps, checkpoints, curves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from convex_bench.engine.ordinary.kernel import COLUMNS
from convex_bench.engine.recursions import Recursion
from convex_bench.problem import Problem
from manifold_id.methods.base import Method
from manifold_id.regularizers.base import Separable
from manifold_id.tracking import Trace

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


@dataclass(frozen=True)
class Setting:
    """What all seeds of a call share; arguments of `convex_bench.engine.run`, checked and filled in."""

    problem: Problem
    method: Method
    batch_size: int
    replacement: bool
    start: np.ndarray
    marks: np.ndarray  # increasing steps of the checkpoints; the last one is the run's end
    reference: Any
    threads: int | None
    report: Progress


class Loop(Protocol):
    """A compiled loop over the steps of one seed; `Seed` stands for what it keeps of each."""

    two_points: bool  # whether iterate and proximal point differ

    def blocks(self, marks: np.ndarray) -> Iterator[tuple[int, int]]:
        """Yield (first, last] of the blocks of steps that are done at a time; each mark ends one."""

    def fresh(self, seed: int) -> Any:
        """Return a seed before its first step."""

    def advance(self, coef: np.ndarray, base: int, stop: int, seed: Any) -> None:
        """Go on to step `stop`; row i of `coef` belongs to step base + 1 + i."""

    def points(self, coef: np.ndarray, seeds: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return iterates and estimates of the gradient, (seeds, *shape), after the step with these coefficients."""


def drive(setting: Setting, recursion: Recursion, loop: Loop, seeds: list[int]) -> list[Run]:
    """Return one Run for each seed, in their order."""
    problem, method = setting.problem, setting.method
    codes = np.asarray(problem.regularizer.structure(setting.start), dtype=np.int8)
    runs = [loop.fresh(seed) for seed in seeds]
    seconds, carry, wanted = 0.0, None, set(setting.marks.tolist())
    curves: list[list[dict[str, float]]] = []
    with ThreadPoolExecutor(setting.threads or os.cpu_count() or 1) as pool:
        for done, stop in loop.blocks(setting.marks):
            coef = np.zeros((stop - done, COLUMNS))
            carry = recursion.coefficients(method, np.arange(done + 1, stop + 1), coef, carry)
            clock = time.perf_counter()
            list(pool.map(partial(loop.advance, coef, done, stop), runs))
            seconds += time.perf_counter() - clock
            setting.report((stop - done) * len(runs))
            if stop in wanted:
                points, estimates = loop.points(coef[-1], runs)
                # seed by seed, so that the last bit does not depend on which seeds share a call
                measured = partial(measure, problem, stop, setting.reference)
                curves.append(list(pool.map(measured, points, estimates)))
    result = []
    for i, (seed, run) in enumerate(zip(seeds, runs, strict=True)):
        prox_trace = run.trace(1, codes)
        trace = run.trace(0, codes) if loop.two_points else prox_trace
        mine = columns([c[i] for c in curves])
        result.append(Run(seed, stop, trace, prox_trace, mine, points[i], seconds / len(runs), compiled=True))
    return result


def measure(problem: Problem, step: int, reference: Any, w: np.ndarray, d: np.ndarray) -> dict[str, float]:
    """Return one checkpoint of every curve, for one point and its estimate of the gradient."""
    smooth, gradient = problem.smooth(w)
    value = smooth + float(problem.regularizer.value(w))
    point = {"step": float(step), "objective": value, "estimator_error": float(np.linalg.norm(d - gradient))}
    if reference is not None:
        point["suboptimality"] = value - reference.value
        point["distance"] = float(np.linalg.norm(w - reference.w))
    return point


def columns(points: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Return the curves of one run from its checkpoints."""
    return {name: np.array([point[name] for point in points]) for name in points[0]}


@dataclass(frozen=True)
class Compiled:
    """What a loop is made of: the setting, the method's recursion and psi's separable form."""

    setting: Setting
    recursion: Recursion
    separable: Separable
