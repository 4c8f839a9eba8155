"""A study as a TOML file.

    seeds = 20                     # a count, or a list of seeds
    steps = 300_000
    batch_size = 1
    replacement = true             # rows drawn independently; false: a new shuffle every epoch
    persistence = 0.5              # share of the run that the certified structure must hold to the end

    [problems.adult]               # the name is yours
    data = "a9a"                   # a name that `manifold-id data` lists, or an svmlight file beside this one
    loss = "logistic"              # "logistic" | "squared" | "multinomial"
    intercept = false
    regularizer = "GroupLasso"     # a class of manifold_id.regularizers; its parameters are keys of this table
    groups = "natural"             # those of the data | an int = blocks of that size | a file, one label a column
    weights = "sqrt_size"
    lam_ratio = 0.1                # lam as a share of lambda_max; or lam = 0.01

    [problems.known]
    planted = { n = 400, groups = 20, group_size = 5, active = 4, margin = 0.3, seed = 0 }

    [methods.RMDA]                 # a class of manifold_id.methods
    lr = 0.003

    [methods."RMDA, restarted"]
    method = "RMDA"                # the class, where the name is another
    lr = 0.01
    stages = { milestones = [50_000], factor = 0.3 }

Without a file the study of `builtin.toml` in this package runs.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convex_bench.problem import Problem
from convex_bench.specs.build import (
    build_method,
    build_planted,
    build_problem,
    method_class,
    parameters_of,
    regularizer_class,
)
from convex_bench.specs.toml_lines import KeyPath, key_lines, line_of
from convex_bench.studies.study import Study, check_seeds, check_settings
from manifold_id.methods.base import Method
from manifold_id.toml_file import read_toml
from manifold_id.validation import unknown_name

BUILTIN = Path(__file__).with_name("builtin.toml")

_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false", dict: "a table", list: "a list"}
_STUDY = {
    "seeds": (int, list),
    "steps": (int,),
    "batch_size": (int,),
    "replacement": (bool,),
    "persistence": (float, int),
    "problems": (dict,),
    "methods": (dict,),
}
_PROBLEM = {
    "data": (str,),
    "loss": (str,),
    "intercept": (bool,),
    "regularizer": (str,),
    "groups": (str, int, list),
    "lam": (float, int),
    "lam_ratio": (float, int),
}


class SpecError(ValueError):
    """A mistake in a study file; the message begins with file, line and key."""


class Spec:
    """A study file, read and checked: its keys and types at once, the rest when `study` builds it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SpecError
        If it is not TOML, or has an unknown key or a value of the wrong type.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"study file {str(path)!r} does not exist")
        try:
            self.content, text = read_toml(self.path)
        except ValueError as error:
            raise SpecError(str(error)) from error
        self._lines = key_lines(text)
        self._check()

    def study(self, seeds: int | None = None, steps: int | None = None) -> Study:
        """Load the data and return the Study, with other `seeds` and `steps` if given.

        Raises
        ------
        SpecError
            If a value is refused; the line of its key is named.
        """
        settings = {key: value for key, value in self.content.items() if key not in ("problems", "methods")}
        with self._at(()):
            if "seeds" in settings:
                check_seeds(settings["seeds"])
            defaults = ("steps", 1), ("batch_size", 1), ("replacement", True), ("persistence", 0.5)
            check_settings(*(settings.get(key, value) for key, value in defaults))
        settings |= {k: v for k, v in (("seeds", seeds), ("steps", steps)) if v is not None}
        methods = {name: self._method(name, dict(table)) for name, table in self.content["methods"].items()}
        problems = {name: self._problem(name, dict(table)) for name, table in self.content["problems"].items()}
        with self._at(()):
            return Study(problems=problems, methods=methods, **settings)

    def _method(self, name: str, table: dict[str, Any]) -> Method:
        with self._at(("methods", name)):
            return build_method(table.pop("method", name), table, self.path.parent)

    def _problem(self, name: str, table: dict[str, Any]) -> Problem:
        if "planted" in table:
            with self._at(("problems", name, "planted")):
                return build_planted(table["planted"])
        named = {key: table.pop(key) for key in _PROBLEM if key in table}
        with self._at(("problems", name)):
            return build_problem(named.pop("data"), **named, parameters=table, folder=self.path.parent)

    def _check(self) -> None:
        """Check all keys and types that do not depend on data."""
        self._keys((), self.content, _STUDY)
        for part in ("problems", "methods"):
            if not self.content.get(part):
                raise SpecError(f"{self.path}: has no table [{part}.NAME]: describe at least one of the {part}")
            for name, table in self.content[part].items():
                self._type((part, name), table, (dict,))
        for name, table in self.content["methods"].items():
            at = ("methods", name)
            self._type((*at, "method"), table.get("method", ""), (str,))
            with self._at((*at, "method")):
                method_class(table.get("method", name), self.path.parent)
        for name, table in self.content["problems"].items():
            self._check_problem(("problems", name), table)

    def _check_problem(self, at: KeyPath, table: dict[str, Any]) -> None:
        if "planted" in table:
            self._keys(at, table, {"planted": (dict,)})
            return
        if "data" not in table:
            self._fail(at, "names no data: add data = NAME or FILE, or planted = { ... }")
        kind = table.get("regularizer", "L1")
        self._type((*at, "regularizer"), kind, (str,))
        with self._at((*at, "regularizer")):
            found = regularizer_class(kind, self.path.parent)
        own = dict.fromkeys(parameters_of(found), (object,))
        valid = {**own, **_PROBLEM}
        self._keys(at, table, valid if "lam" in own else {k: v for k, v in valid.items() if not k.startswith("lam")})

    def _keys(self, at: KeyPath, table: Mapping[str, Any], valid: Mapping[str, tuple[type, ...]]) -> None:
        for key, value in table.items():
            with self._at((*at, key)):
                if key not in valid:
                    raise unknown_name("key", key, valid)
            self._type((*at, key), value, valid[key])

    def _type(self, at: KeyPath, value: Any, kinds: tuple[type, ...]) -> None:
        wrong_bool = isinstance(value, bool) and bool not in kinds and object not in kinds
        if wrong_bool or not isinstance(value, kinds):
            expected = " or ".join(_NAMES[kind] for kind in kinds if not (kind is int and float in kinds))
            self._fail(at, f"must be {expected}, not {_NAMES.get(type(value), type(value).__name__)} ({value!r})")

    @contextlib.contextmanager
    def _at(self, at: KeyPath) -> Iterator[None]:
        """Turn errors of values into SpecErrors with the line of `at`, or of the key in it that the message names."""
        try:
            yield
        except SpecError:
            raise
        except (ValueError, TypeError, OSError) as error:
            named = re.match(r"(?:parameter of \w+=')?(\w+)", str(error))
            inside = [key for key in self._lines if named and key[: len(at)] == at and key[-1] == named[1]]
            self._fail(min(inside, key=len, default=at), str(error), error)

    def _fail(self, at: KeyPath, message: str, cause: Exception | None = None) -> None:
        line = line_of(at, self._lines)
        where = f"{self.path}:{line}" if line is not None else str(self.path)
        raise SpecError(f"{where}: {'.'.join(at)}{': ' if at else ''}{message}") from cause
