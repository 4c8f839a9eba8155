"""Certified solutions in a results folder: solved once for a problem, read back bit for bit."""

from __future__ import annotations

import dataclasses
import io

import numpy as np

from convex_bench.ground_truth import Solution, solve
from convex_bench.ground_truth.solution_facts import solution_facts
from convex_bench.problem import Problem
from convex_bench.storage import Entry, Store

ARRAYS = "solution.npz"


def solve_and_save(store: Store, key: str, problem: Problem) -> Solution:
    """Solve `problem`, store the solution and the facts of the problem under `key`, and return the solution."""
    solution = solve(problem)
    values = {field.name: getattr(solution, field.name) for field in dataclasses.fields(solution)}
    measured = {"seconds": values.pop("seconds")}
    texts = {name: value for name, value in values.items() if value is None or isinstance(value, str)}
    arrays = {name: np.asarray(value) for name, value in values.items() if name not in texts}
    record = {"facts": solution_facts(problem, solution), "texts": texts}
    files = {ARRAYS: lambda path: np.savez_compressed(path, allow_pickle=False, **arrays)}
    store.save([Entry(key, record, files, measured)])
    return solution


def load_solution(store: Store, key: str) -> Solution:
    """Return the stored solution; raises StoredFileError where there is none or it is damaged."""
    record = store.load(key, thorough=False)
    with np.load(io.BytesIO(store.read(record, ARRAYS)), allow_pickle=False) as stored:
        values = {name: stored[name] if stored[name].ndim else stored[name].item() for name in stored.files}
    return Solution(**values, **record["texts"], seconds=record["measured"]["seconds"])
