"""What a stored result is a result of: descriptions in JSON values, whose hashes are the keys of the files."""

from __future__ import annotations

import inspect
from typing import Any

from convex_bench.problem import Problem
from convex_bench.storage import digest
from manifold_id import __version__
from manifold_id.methods.base import Method

SCHEMA = 2  # raised whenever the content of stored files changes


def describe_problem(problem: Problem) -> dict[str, Any]:
    """Return what makes two problems the same: content of the data, loss, regularizer, intercept."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "data": problem.digest,
        "rows": int(problem.n),
        "columns": int(problem.n_features),
        "loss": problem.loss.name,
        "regularizer": repr(problem.penalty),
        "names": problem.penalty.atom_names,
        "intercept": bool(problem.intercept),
        "code": _source(problem.penalty),
    }


def describe_run(
    problem_key: str, method: Method, seed: int, steps: int, batch_size: int, replacement: bool
) -> dict[str, Any]:
    """Return what makes two runs the same, bit for bit."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "problem": problem_key,
        "method": repr(method),
        "code": _source(method),
        "seed": seed,
        "steps": steps,
        "batch_size": batch_size,
        "replacement": replacement,
    }


def check_repr(name: str, value: object) -> None:
    """Raise TypeError where the repr of `value` differs from process to process, so that it can be no key."""
    if " at 0x" in repr(value):
        raise TypeError(
            f"{name}={value!r} has no repr that names its parameters, under which results could be stored: "
            "make its class a dataclass"
        )


def _source(value: object) -> str | None:
    """Return a hash of the source of a class from outside this package, whose edits `version` does not show."""
    kind = type(value)
    if kind.__module__.split(".")[0] in ("manifold_id", "convex_bench"):
        return None
    try:
        return digest(inspect.getsource(kind))
    except (OSError, TypeError):  # defined at a prompt: its name has to do
        return f"{kind.__module__}.{kind.__qualname__}"
