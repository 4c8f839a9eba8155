"""What a theorem is judged on: a problem with its solution, a method, and the runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from convex_bench.engine import iterate
from convex_bench.ground_truth import Solution, solve
from convex_bench.problem import Problem
from convex_bench.theorems.compiled import follow_compiled, watch_compiled
from convex_bench.theorems.rows import Rows
from convex_bench.theorems.synthetic import Noise, Quadratic, states
from manifold_id.methods import RDA, RMDA, SDA, NormalMapSGD, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.theory.base import Assumption
from manifold_id.theory.structure_record import StructureRecord, compare

Array = np.ndarray
BATCHED = (RMDA, RDA, SDA, ProxSGD, NormalMapSGD)  # take many seeds as a leading axis, and ask for one row's gradient
CERTAIN = 1e-8  # relative margin below which a solver calls the manifold uncertain


@dataclass(frozen=True, eq=False)
class Case:
    """One instance of a theorem.

    Attributes
    ----------
    problem : a `Quadratic`, or the `Rows` of a Problem; both show the solution w and dual = -grad f(w).
    method, start, steps, seeds, seed : what is run; the method is None for a theorem about a problem alone. The seeds
        are seed 1000, ..., seed 1000 + seeds - 1 on rows.
    noise : added to the gradients of a Quadratic; None on rows, where one row is drawn a step.
    solution : the certified solution, where the problem is a user's.
    """

    problem: Quadratic | Rows
    method: Any
    start: Array
    steps: int
    seeds: int
    seed: int
    noise: Noise | None = None
    solution: Solution | None = None

    @classmethod
    def of(cls, problem: Problem, method: Method | None, steps: int, seeds: int, seed: int) -> Self:
        """Solve a user's problem; runs start at zero, as in a study."""
        solution = solve(problem)
        rows = Rows(problem, solution.w, -problem.gradient(solution.w))
        known = method if method is None else method.for_problem(problem)
        return cls(rows, known, np.zeros(problem.shape), steps, seeds, seed, None, solution)

    def with_method(self, method: Method) -> Self:
        """Return the same case, of the same steps, seeds and start, with another method."""
        return replace(self, method=method)

    @property
    def off(self) -> Array:
        """(atoms,) boolean: held at the solution."""
        return np.asarray(self.problem.codes <= 0)

    @cached_property
    def margins(self) -> Array:
        """(atoms,) the nondegeneracy margins."""
        return np.asarray(self.problem.regularizer.margin(self.problem.w, -self.problem.dual))

    @property
    def draws(self) -> range:
        """The seeds of the runs on rows."""
        return range(1000 * self.seed, 1000 * self.seed + self.seeds)

    def assumptions(self, nondegenerate: bool, separable: bool, entries: bool) -> tuple[Assumption, ...]:
        """Return what has to hold of a user's instance before anything is run; () for a built-in one."""
        found = self.solution
        if found is None:
            return ()
        residual = float(found.residual.max(initial=0.0))
        proved = found.status == "certified" or (found.status == "degenerate" and not nondegenerate)
        first = Assumption(
            "relative residual of the solution", residual, proved, f"{found.status} {found.reason}".strip()
        )
        margin = Assumption(
            "smallest relative margin",
            found.relative_margin,
            found.relative_margin >= CERTAIN,
            f"of -grad f(w*) in the subdifferential, at least {CERTAIN:g}: nondegenerate",
        )
        held = Assumption(
            "atoms held at the solution", int(self.off.sum()), bool(self.off.any()), "something to identify"
        )
        psi, form = self.problem.regularizer, self.problem.problem.separable if isinstance(self.problem, Rows) else None
        single = form is not None and len(form.lam) == len(form.labels)
        alone = form is not None and (single or form.l1 == 0)
        plain = single and form is not None and form.penalty == "abs"
        apart = Assumption(
            "psi a sum over its atoms", float(alone), alone, f"{psi!r} as a sum over coordinates or groups"
        )
        l1 = Assumption("psi is l1 on coordinates", float(plain), plain, f"psi is {psi!r}")
        return (first, *[margin, held] * nondegenerate, *[apart] * separable, *[l1] * entries)

    def states(self) -> Iterator[Any]:
        """Yield the states after each step; arrays have the seeds as leading axis, numbers are the first seed's."""
        problem = self.problem
        if isinstance(problem, Quadratic) or (type(self.method) in BATCHED and problem.scalar):
            yield from states(
                problem, self.method, self.noise, self.start, self.steps, seeds=self.seeds, seed=self.seed
            )
            return
        runs = [iterate(problem.problem, self.method, seed, w0=self.start) for seed in self.draws]
        for _ in range(self.steps):
            yield _Together([next(run) for run in runs])

    def dual_average(self, state: Any) -> tuple[Array, float, Array]:
        """Return (V / alpha, beta / alpha, the centre) of a state of RMDA or RDA, from its sum V alone.

        alpha and beta are those that the statement has, with s_k = lr k^(1/2 - decay) summed anew; of a run with
        restarts alpha is the state's own.
        """
        method = self.method
        if isinstance(method, RMDA):
            steps = float(method.stages.at(state.t, method.momentum).k)
            alpha = state.weight if method.stages.milestones else float(self._weights[state.t - 1])
            return state.total / alpha, steps**method.damping / alpha, state.anchor
        assert isinstance(method, RDA)
        return state.total / state.t, method.gamma / float(np.sqrt(state.t)), 0 * state.z

    @cached_property
    def _weights(self) -> Array:
        """(steps,) RMDA's alpha."""
        return np.cumsum(self.method.lr * np.arange(1.0, self.steps + 1) ** (0.5 - self.method.decay))

    def record(self, point: str = "z") -> StructureRecord:
        """Return where the structure of the proximal point ("z") or the iterate ("w") is wrong; compiled on rows."""
        problem = self.problem
        if isinstance(problem, Rows):
            return watch_compiled(
                problem.problem, self.method, problem.codes, self.draws, self.steps, point=point, w0=self.start
            )
        return self._watched(point, np.zeros(0))[0]

    def followed(self, point: str = "z") -> tuple[StructureRecord, tuple[Array, Array]]:
        """Return the record, and the distances |z_t - w*| ("z") or |w_t - w*| ("w") of the runs: (steps, (k, seeds))
        at 20 steps over the last 1.5 decades. On rows the distances are the iterates' own."""
        problem, marks = self.problem, last_decades(self.steps, 20)
        if isinstance(problem, Rows):
            known = self.solution or solve(problem.problem)
            few = (known, self.draws, self.steps, marks)
            record, distance = follow_compiled(problem.problem, self.method, *few, point=point, w0=self.start)
        else:
            record, distance = self._watched(point, marks)
        return record, (marks, distance)

    def _watched(self, point: str, marks: Array) -> tuple[StructureRecord, Array]:
        """Return the record of a batch of runs, and its distances at `marks`."""
        problem = self.problem
        positive, negative = np.zeros((2, self.steps, self.seeds), dtype=bool)
        departures, distance = np.zeros((self.steps, self.seeds), dtype=np.int32), []
        right = problem.regularizer.structure(self.start) == problem.codes
        for i, state in enumerate(self.states()):
            now = getattr(state, point)
            codes = problem.regularizer.structure(now)
            positive[i], negative[i] = compare(codes, problem.codes)
            before, right = right, codes == problem.codes
            departures[i] = (before & ~right).sum(axis=1)
            if i + 1 in marks:
                distance.append(np.linalg.norm((now - problem.w).reshape(self.seeds, -1), axis=1))
        return StructureRecord(positive, negative, departures), np.array(distance)


def last_decades(steps: int, count: int = 24) -> Array:
    """Return at most `count` steps, evenly spaced in log over the last 1.5 decades of a run."""
    return np.unique(np.geomspace(max(steps / 10**1.5, 1), steps, count).astype(int))


class _Together:
    """The states of several seeds as one."""

    def __init__(self, states: list[Any]) -> None:
        self._states = states

    def __getattr__(self, name: str) -> Any:
        values = [getattr(state, name) for state in self._states]
        return np.stack(values) if np.ndim(values[0]) else values[0]
