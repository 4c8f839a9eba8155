"""The door: a theorem on a problem and method of yours, or theorems on their built-in instances; results as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convex_bench.ground_truth.threads import one_thread
from convex_bench.problem import Problem
from convex_bench.theorems.case import Case
from convex_bench.theorems.check import QUICK, Size
from convex_bench.theorems.parallel import Job, Outcome, run_job, run_jobs
from convex_bench.theorems.registry import MODULES, load_check
from manifold_id.methods.base import Method
from manifold_id.theory.base import Verdict
from manifold_id.validation import integer


def verify(
    name: str,
    problem: Problem | None = None,
    method: Method | None = None,
    *,
    seeds: int = QUICK.seeds,
    steps: int | None = None,
    seed: int = 0,
) -> Verdict:
    """Verify one theorem on a problem and a method, or on its built-in instances where neither is given.

    The verdict is "inconclusive" where an assumption is not met on the instance; its summary names it with the figure.
    Verdict.control is that of the control, which should fail: where it holds too, the instance cannot tell.

    Parameters
    ----------
    name
        As `manifold-id verify --list` shows it.
    problem, method
        Solved by `convex_bench.solve`; run from zero on one row a step, unless the theorem says otherwise. The same
        arguments give the same verdict, bit for bit.
    seeds, steps
        Independent runs, and their length, by default the theorem's own.
    seed
        Which seeds, and which built-in instances.

    Raises
    ------
    ValueError, TypeError
        For an unknown name, a problem without a method or the other way round, a method that the theorem is not about,
        or a problem for a theorem about a special construction.
    """
    check = load_check(name)
    integer("seeds", seeds, 2)
    integer("seed", seed, 0)
    if problem is None and method is None:
        if steps is not None:
            raise ValueError(f"steps={steps!r} is given without problem and method: built-in instances have their own")
        outcome = run_job(Job(name, seed), Size("given", seeds, 1))
        return replace(outcome.check, control=outcome.control)
    if isinstance(check.own, str):
        raise ValueError(f"problem and method are given, but {name} is about {check.own}: leave both out")
    if not isinstance(problem, Problem):
        raise TypeError(f"problem={problem!r} must be a convex_bench.Problem")
    if check.own.methods == ():
        if method is not None:
            raise ValueError(f"method={method!r}: {name} is about a problem alone; leave the method out")
    elif not isinstance(method, Method):
        raise TypeError(f"method={method!r} must be a method, such as manifold_id.methods.RMDA(lr=0.01)")
    elif not check.own.accepts(method):
        known = ", ".join(kind.__name__ for kind in check.own.methods or ())
        raise ValueError(f"method={method!r}: {name} is about {known}; choose one of them")
    length = integer("steps", check.own.steps if steps is None else steps, 40)
    with one_thread(0, sparse=True):
        return check.own.verdict(Case.of(problem, method, length, seeds, seed))


def verify_all(
    names: Iterable[str] = (),
    *,
    size: Size = QUICK,
    seed: int = 0,
    processes: int = 1,
    report: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run the named theorems, by default all, on their built-in instances; return outcomes in the order of the names.

    `report` sees each outcome as it comes. With `processes` > 1 that many interpreters share the theorems.

    Raises ValueError for an unknown name, before anything runs.
    """
    chosen = tuple(names) or tuple(MODULES)
    for name in chosen:
        load_check(name)
    jobs = [Job(name, seed) for name in dict.fromkeys(chosen)]
    outcomes = {}
    for job, outcome in run_jobs(jobs, size, min(processes, len(jobs))):
        outcomes[job.name] = outcome
        if report is not None:
            report(outcome)
    return [outcomes[job.name] for job in jobs]


def write_json(outcomes: list[Outcome], path: Path, *, size: Size, seed: int) -> None:
    """Write all outcomes with statements, assumptions, figures and curves; numbers that are not finite become null."""
    data = {
        "size": size.name,
        "seed": seed,
        "sound": all(o.sound for o in outcomes),
        "theorems": [_plain(dataclasses.asdict(o)) | {"sound": o.sound} for o in outcomes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
