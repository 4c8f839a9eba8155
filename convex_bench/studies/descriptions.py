"""What a stored result is a result of: descriptions in JSON values, whose hashes are the keys of the files."""

from __future__ import annotations

import dataclasses
import enum
import inspect
from typing import Any

import numpy as np

from convex_bench.problem import Problem
from convex_bench.storage import SCHEMA, digest
from manifold_id import __version__
from manifold_id.methods.base import Method


def describe_problem(problem: Problem) -> dict[str, Any]:
    """Return what makes two problems the same: content of the data, loss, regularizer, intercept."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "data": problem.digest,
        "rows": int(problem.n),
        "columns": int(problem.n_features),
        "loss": problem.loss.name,
        "regularizer": content("regularizer", problem.penalty),
        "names": problem.penalty.atom_names,
        "intercept": bool(problem.intercept),
    }


def describe_run(problem_key: str, method: Method, steps: int, batch_size: int, replacement: bool) -> dict[str, Any]:
    """Return what makes two runs of one seed the same, bit for bit."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "problem": problem_key,
        "method": content("method", method),
        "steps": steps,
        "batch_size": batch_size,
        "replacement": replacement,
    }


def content(name: str, value: Any) -> str:
    """Return a text that two values share exactly when they are the same: every field, every entry of every array.

    `repr` is no such text: it shortens long arrays, and a class may leave fields out of it. Classes from outside
    this package are told apart by their source, because `version` does not show their edits.

    Raises
    ------
    TypeError
        If `value`, called `name` in the message, holds anything but dataclasses, containers, arrays, numbers and
        strings: a function or another object has nothing that says what it is in another process.
    """
    if value is None or type(value) in (bool, int, float, complex, str, bytes, range):
        return repr(value)
    if isinstance(value, enum.Enum):
        return f"{_class(type(value))}.{value.name}"
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.hasobject:
            return f"array{value.shape}{content(name, value.tolist())}"
        return f"array({digest(np.asarray(value))})"
    if isinstance(value, dict):
        entries = (f"{content(name, k)}: {content(f'{name}[{k!r}]', v)}" for k, v in value.items())
        return f"{_class(type(value))}{{{', '.join(entries)}}}"
    if isinstance(value, (tuple, list, set, frozenset)):
        texts = [content(f"{name}[{i}]", item) for i, item in enumerate(value)]
        texts += [content(name, vars(value))] if getattr(value, "__dict__", None) else []  # the names of groups
        return f"{_class(type(value))}({', '.join(sorted(texts) if isinstance(value, (set, frozenset)) else texts)})"
    if "__dataclass_fields__" in vars(type(value)):  # its own: a subclass without the decorator may hold more
        fields = [f.name for f in dataclasses.fields(value) if f.init]
        texts = [f"{field}={content(f'{name}.{field}', getattr(value, field))}" for field in fields]
        return f"{_class(type(value))}({', '.join(texts)})"
    raise TypeError(
        f"{name}={value!r} is of {type(value)}, which does not say what it holds, so that results could not be stored "
        "under it: make its class a dataclass of numbers, strings and arrays"
    )


def _class(kind: type) -> str:
    """Return the name of a class, with a hash of its source and its bases' if they are from outside this package."""
    own = [k for k in kind.__mro__ if k.__module__.split(".")[0] not in ("manifold_id", "convex_bench")]
    sources = [_source(k) for k in own if k.__module__ not in ("builtins", "abc", "typing", "enum")]
    return f"{kind.__qualname__}<{digest(*sources)}>" if sources else kind.__qualname__


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # defined at a prompt: its name has to do
        return f"{kind.__module__}.{kind.__qualname__}"
