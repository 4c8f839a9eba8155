"""Problems and methods from names and plain values, as a study file or a command line gives them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from convex_bench.data import load, readers
from convex_bench.problem import Problem
from convex_bench.problem.planting import planted
from manifold_id import regularizers
from manifold_id.import_path import class_named
from manifold_id.methods import METHODS
from manifold_id.methods.base import Method
from manifold_id.regularizers.base import Regularizer
from manifold_id.validation import real, unknown_name

REGULARIZERS: dict[str, type[Regularizer]] = {
    name: value
    for name, value in vars(regularizers).items()
    if inspect.isclass(value) and issubclass(value, Regularizer) and dataclasses.is_dataclass(value)
    if name not in ("Unpenalized",)  # made by Problem for its intercept
}
NATURAL = "natural"


def method_class(name: str, folder: Path = Path()) -> type[Method]:
    """Return the built-in method of that name, or a user's own by "module:Class"; see `class_named`."""
    return class_named("method", name, METHODS, Method, folder)


def regularizer_class(name: str, folder: Path = Path()) -> type[Regularizer]:
    """Return the built-in regularizer of that name, or a user's own by "module:Class"; see `class_named`."""
    return class_named("regularizer", name, REGULARIZERS, Regularizer, folder)


def build_method(name: str, parameters: Mapping[str, Any], folder: Path = Path()) -> Method:
    """Return the method of the class `name`; a table for a parameter that is an object itself makes that object."""
    return construct(method_class(name, folder), parameters)


def build_planted(parameters: Mapping[str, Any]) -> Problem:
    """Return the planted problem of these parameters of `convex_bench.planted`."""
    check_parameters(planted, parameters)
    return planted(**parameters).problem


def build_problem(
    data: str,
    *,
    loss: str = "logistic",
    regularizer: str = "L1",
    parameters: Mapping[str, Any],
    groups: Any = None,
    lam: float | None = None,
    lam_ratio: float | None = None,
    intercept: bool = False,
    folder: Path = Path(),
) -> Problem:
    """Return the problem on a data set, its regularizer made from the class name and `parameters`.

    Parameters
    ----------
    data
        A name that `convex_bench.load` knows, or the path of an svmlight file, relative to `folder`.
    regularizer
        The name of a built-in class, or "module:Class", the module installed or in `folder`.
    groups
        "natural" (those that come with the data), an int (blocks of that size), a list, or the path of a file with
        one label for each column, relative to `folder`.
    lam, lam_ratio
        The strength itself, or as a share of lambda_max: exactly one of them where the regularizer has a strength.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        For an unknown name, a missing file, a parameter that the regularizer does not have or refuses, or groups
        that do not fit.
    """
    kind = regularizer_class(regularizer, folder)
    fields = parameters_of(kind)
    scaled = "lam" in fields
    if scaled and (lam is None) == (lam_ratio is None):
        raise ValueError("lam and lam_ratio: give exactly one of them, the strength or its share of lambda_max")
    if not scaled and not (lam is None and lam_ratio is None):
        raise ValueError(f"{'lam' if lam is not None else 'lam_ratio'} is given, but {regularizer} has no strength lam")
    values = dict(parameters)
    check_parameters(kind, values, known=("groups",))
    if scaled:
        values["lam"] = 1.0 if lam is None else lam
    if lam_ratio is not None:
        real("lam_ratio", lam_ratio, 0, open_low=True)
    X, y, natural = load_from(data, folder)
    if groups is not None:
        if "groups" not in fields:
            raise ValueError(f"groups={groups!r} is given, but {regularizer} has no groups")
        values["groups"] = choose_groups(groups, natural, data, folder)
    problem = Problem(X, y, loss, regularizer=construct(kind, values), intercept=intercept)
    return problem if lam_ratio is None else problem.with_lam(lam_ratio * problem.lambda_max())


def load_from(data: str, folder: Path) -> tuple[Any, Any, Any]:
    """Return `load(data)`, a path being relative to `folder`; errors begin with the argument's name."""
    path = folder / data
    try:
        return load(str(path) if path.is_file() else data)
    except (ValueError, OSError) as error:
        if str(error).startswith("data="):
            raise
        kind = ValueError if isinstance(error, ValueError) else FileNotFoundError
        raise kind(f"data={data!r}: {error}") from error


def choose_groups(groups: Any, natural: Any, data: str, folder: Path) -> Any:
    """Return groups in the form that regularizers take: see `build_problem`."""
    if not isinstance(groups, str):
        return groups
    if groups == NATURAL:
        if natural is None:
            raise ValueError(f"groups='natural': {data!r} comes without groups; give an int or a file of labels")
        return natural
    path = folder / groups
    if not path.is_file():
        raise FileNotFoundError(f"groups={groups!r}: there is no such file; use 'natural', an int or a file of labels")
    return readers.read_groups(path)


def construct(kind: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """Return kind(**parameters); a mapping given for a parameter whose default is a dataclass becomes one.

    Raises
    ------
    ValueError, TypeError
        For a parameter that is not known or missing, no mapping where one is needed, and as `kind` does.
    """
    check_parameters(kind, parameters)
    defaults = {p.name: p.default for p in inspect.signature(kind).parameters.values()}
    empty = inspect.Parameter.empty
    if missing := [name for name, value in defaults.items() if value is empty and name not in parameters]:
        raise ValueError(f"{kind.__name__} needs {' and '.join(missing)}: give a value for each")
    values = {}
    for name, value in parameters.items():
        inner = defaults[name]
        nested = dataclasses.is_dataclass(inner) and not isinstance(inner, type)
        if nested and not isinstance(value, (Mapping, type(inner))):
            keys = ", ".join(parameters_of(type(inner)))
            raise TypeError(f"{name}={value!r} must be a table of some of {keys}")
        values[name] = construct(type(inner), value) if nested and isinstance(value, Mapping) else value
    return kind(**values)


def parameters_of(kind: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters that a user may give; `event_ndim` is set by the problem."""
    return [name for name in inspect.signature(kind).parameters if name != "event_ndim"]


def check_parameters(kind: Callable[..., Any], parameters: Mapping[str, Any], known: tuple[str, ...] = ()) -> None:
    """Raise ValueError for a parameter that `kind` (and `known`) does not have; the nearest one is named."""
    valid = [*parameters_of(kind), *known]
    for name in parameters:
        if name not in valid:
            raise unknown_name(f"parameter of {kind.__name__}", name, valid)
