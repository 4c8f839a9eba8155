"""A study: problems x methods x seeds, validated before it runs, resumed where it stopped."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from convex_bench.engine import is_compiled
from convex_bench.environment import versions
from convex_bench.problem import Problem
from convex_bench.storage import SCHEMA, Store, StoredFileError, check_writable, key_of, write_sealed
from convex_bench.studies import scheduling
from convex_bench.studies.blocks import Case
from convex_bench.studies.descriptions import content, describe_problem, describe_run
from convex_bench.studies.results import Results
from convex_bench.studies.stored_runs import RunStore
from convex_bench.studies.stored_solution import load_solution, solve_and_save
from manifold_id.formula import check_label
from manifold_id.methods.base import Method
from manifold_id.progress import Bar
from manifold_id.validation import flag, integer, real

MOST = 1_000_000  # seeds of a study: each has a trace of its own


@dataclass(frozen=True)
class Study:
    """Every method on every problem with every seed, tracked at every step.

    Parameters
    ----------
    problems, methods
        {name: Problem} and {name: Method}; the names label the rows of the results.
    seeds
        How many (0, 1, ...), or the list of seeds itself.
    steps
        Steps of each run, >= 1.
    batch_size, replacement
        Rows of a minibatch, drawn independently or from a new shuffle every epoch.
    persistence
        A run has identified the manifold if the structure is the certified one for at least this last share of
        the run, in [0, 1].

    Raises
    ------
    ValueError, TypeError
        If an argument is of the wrong type or out of its range, a batch is larger than a problem's rows, or a method
        or regularizer holds a function or another object whose content could not name its results.

    Examples
    --------
    >>> methods = {"RMDA": RMDA(lr=0.003), "ProxSGD": ProxSGD(lr=0.01)}  # doctest: +SKIP
    >>> results = Study({"a9a": problem}, methods, seeds=20).run(out="results/a9a")  # doctest: +SKIP
    >>> results.frame().groupby("method").identified.mean()  # doctest: +SKIP
    """

    problems: Mapping[str, Problem]
    methods: Mapping[str, Method]
    seeds: int | Sequence[int] = 100
    steps: int = 200_000
    batch_size: int = 1
    replacement: bool = True
    persistence: float = 0.5
    seed_list: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed_list", check_seeds(self.seeds))
        check_settings(self.steps, self.batch_size, self.replacement, self.persistence)
        _check_named("problems", self.problems, Problem)
        _check_named("methods", self.methods, Method)
        for name, problem in self.problems.items():
            content(f"problems[{name!r}].regularizer", problem.penalty)
            check_label("problems name", name)
            if self.batch_size > problem.n:
                raise ValueError(
                    f"batch_size={self.batch_size} is larger than the {problem.n} rows of problem {name!r}: "
                    "choose at most that many"
                )
        for name, method in self.methods.items():
            content(f"methods[{name!r}]", method)
            check_label("methods name", name)

    def run(
        self,
        out: str | os.PathLike[str],
        *,
        jobs: int | None = None,
        processes: int | None = None,
        scheduler: str | None = None,
        force: bool = False,
        progress: bool = True,
        command: str | None = None,
    ) -> Results:
        """Compute what is not yet in the folder `out` and return all results.

        Problems are solved first; a run is stored, whole or not at all, as soon as its block of seeds is done. What is
        stored under the same description is not computed again, damaged files are; `force` computes everything
        anew. After Ctrl-C or a kill, the same call goes on where it stopped. A worker that dies is replaced and what it
        was at is computed again.

        Parameters
        ----------
        out
            The results folder, made if need be.
        jobs, processes, scheduler
            Where the runs are computed, at most one of: threads of this process, by default one for each core; so
            many worker processes; the workers of the Dask scheduler at an address such as "tcp://host:8786". A
            worker process has one thread, a Dask worker as many as it was started with. The results do not
            depend on it.
        progress
            Show a bar with the time left.
        command
            What the report names as the command that repeats the study.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong type, `out` cannot be written, a number is below 1, Dask is not installed, or
            somebody wrote into a problem's X or y.
        ConnectionError
            If the scheduler does not answer, has no worker, or is lost.
        RuntimeError
            If the solution of a problem cannot be certified, so that there is no structure to compare with; or worker
            processes die again and again.
        """
        flag("force", force)
        flag("progress", progress)
        if not isinstance(command, (str, NoneType)):
            raise TypeError(f"command={command!r} must be a text or None")
        for problem in self.problems.values():
            problem.check_unchanged()
        problem_keys = {name: key_of(describe_problem(p)) for name, p in self.problems.items()}
        described = {
            (name, m): describe_run(key, method, self.steps, self.batch_size, self.replacement)
            for name, key in problem_keys.items()
            for m, method in self.methods.items()
        }
        keys = {cell: key_of(description) for cell, description in described.items()}
        place = scheduling.workers(jobs, processes, scheduler)
        self._warn_of_slow_runs()
        folder = check_writable(out)
        store, solutions = RunStore(folder / "runs"), Store(folder / "problems")
        store.tidy()
        solutions.tidy()
        if force:
            solutions.remove(problem_keys.values())
            for cell, key in keys.items():
                store.drop(key, described[cell], self.seed_list)
        write_sealed(folder / "study.json", self._record(problem_keys, keys, command))
        stored = {cell: store.intact(key, self.seed_list) for cell, key in keys.items()}
        todo = {cell: [seed for seed in self.seed_list if seed not in stored[cell]] for cell in keys}
        total, left = len(keys) * len(self.seed_list), sum(map(len, todo.values()))
        try:
            with place as compute, Bar(left * self.steps, progress) as bar:
                cases = {}
                for name, problem in self.problems.items():
                    bar.label(f"{name}: certified solution")
                    cases[name] = self._case(problem, _solution(solutions, problem_keys[name], name, problem))
                for block, finished, _ in compute(cases, todo, bar.advance):
                    bar.label(f"{block.problem}: {block.method}")
                    cell = block.problem, block.method
                    store.save(keys[cell], described[cell], finished)
        except KeyboardInterrupt:
            done = sum(len(store.intact(key, self.seed_list)) for key in keys.values())
            raise KeyboardInterrupt(
                f"stopped: {done} of {total} runs are stored in {str(folder)!r}; the same command goes on from there"
            ) from None
        return Results.load(folder)

    def _warn_of_slow_runs(self) -> None:
        slow = [
            f"{method_name} on {name}"
            for name, problem in self.problems.items()
            for method_name, method in self.methods.items()
            if not is_compiled(problem, method)
        ]
        if slow:
            warnings.warn(
                f"no compiled loop for {', '.join(slow)}: the method's own update runs, a hundred times slower",
                UserWarning,
                stacklevel=3,
            )

    def _case(self, problem: Problem, solution: Any) -> Case:
        # What a method takes from the problem's constants is settled here, so that every worker has the same bits.
        methods = {name: method.for_problem(problem) for name, method in self.methods.items()}
        return Case(problem, solution, methods, self.steps, self.batch_size, self.replacement)

    def _record(
        self, problem_keys: dict[str, str], keys: dict[tuple[str, str], str], command: str | None
    ) -> dict[str, Any]:
        """Return the content of study.json."""
        return {
            "schema": SCHEMA,
            "command": command,
            "versions": versions(),
            "seeds": list(self.seed_list),
            "steps": self.steps,
            "batch_size": self.batch_size,
            "replacement": self.replacement,
            "persistence": self.persistence,
            "problems": {
                name: {"key": problem_keys[name], "description": describe_problem(problem)}
                for name, problem in self.problems.items()
            },
            "methods": {name: repr(method) for name, method in self.methods.items()},
            "runs": {name: {m: keys[name, m] for m in self.methods} for name in self.problems},
        }


def check_seeds(seeds: Any) -> tuple[int, ...]:
    """Return the seeds as a tuple.

    Raises
    ------
    TypeError, ValueError
        For all but a count in [1, 1 000 000] or distinct ints >= 0.
    """
    if isinstance(seeds, (str, bytes)) or not hasattr(seeds, "__iter__"):
        return tuple(range(integer("seeds", seeds, 1, MOST)))
    chosen = tuple(integer("seeds", seed, 0) for seed in seeds)
    if not chosen:
        raise ValueError("seeds=[] is empty: give a count or at least one seed")
    if len(set(chosen)) < len(chosen):
        twice = next(seed for seed in chosen if chosen.count(seed) > 1)
        raise ValueError(f"seeds={list(chosen)} holds {twice} more than once: list each seed once")
    return chosen


def check_settings(steps: Any, batch_size: Any, replacement: Any, persistence: Any) -> None:
    """Raise TypeError or ValueError unless these settings of a study are of the right type and in their range."""
    integer("steps", steps, 1)
    integer("batch_size", batch_size, 1)
    real("persistence", persistence, 0, 1)
    flag("replacement", replacement)


def _check_named(name: str, value: Any, kind: type) -> None:
    """Raise unless `value` is a mapping from names to at least one instance of `kind`."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping from names to {kind.__name__} objects, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name}={{}} is empty: give at least one {kind.__name__}")
    for key, item in value.items():
        if not isinstance(key, str) or not key.strip():
            raise TypeError(f"{name} has the name {key!r}: a name must be a nonempty string")
        if not isinstance(item, kind):
            hint = ": make an instance of it" if isinstance(item, type) else ""
            raise TypeError(f"{name}[{key!r}]={item!r} must be a {kind.__name__}{hint}")


def _solution(store: Store, key: str, name: str, problem: Problem) -> Any:
    """Return the certified solution of `problem`, from the store where it is there."""
    try:
        solution = load_solution(store, key)
    except StoredFileError:
        solution = solve_and_save(store, key, problem)
    if solution.status == "failed":
        raise RuntimeError(
            f"the solution of problem {name!r} could not be certified (largest relative residual "
            f"{solution.residual.max():.1e}), so there is no structure to compare with: scale the data or raise lam"
        )
    if solution.status == "unattained":
        raise RuntimeError(f"problem {name!r} has no solution: {solution.reason}")
    if solution.status == "degenerate":
        warnings.warn(
            f"problem {name!r} is degenerate (smallest margin {solution.min_margin:.1e}), so that its manifold is not "
            f"certain: {solution.reason}",
            stacklevel=3,
        )
    return solution
