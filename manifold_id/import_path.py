"""Classes by name: a built-in one, or a user's own as "package.module:Class"."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from manifold_id.validation import unknown_name

Kind = TypeVar("Kind", bound=type)


def class_named(
    kind: str, name: Any, known: Mapping[str, Kind], base: type | tuple[type, ...], folder: Any = "."
) -> Kind:
    """Return known[name], or the class that "package.module:Class" names.

    Parameters
    ----------
    kind
        What it is, for messages: "method", "regularizer".
    base
        Of what it must be a subclass.
    folder
        Where modules are looked for besides those that are installed: that of the file that names them. It stays on
        sys.path, since worker processes import the module again.

    Raises
    ------
    ValueError
        If there is no such name, module or class, or the module cannot be imported.
    TypeError
        If it is no subclass of `base`.
    """
    if not isinstance(name, str) or ":" not in name:
        if name in known:
            return known[name]
        error = unknown_name(kind, name, known)
        raise ValueError(f'{error}, or give your own as "module:Class"')
    place = str(Path(folder).resolve())
    if place not in sys.path:
        sys.path.append(place)
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever a user's module raises
        missing = isinstance(error, ModuleNotFoundError) and error.name == module_name
        reason = (
            f"there is no module of that name, installed or in {place!r}" if missing else f"its import fails: {error!r}"
        )
        raise ValueError(f"{kind}={name!r}: {reason}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise ValueError(f"{kind}={name!r}: {module_name!r} has no {attribute!r}")
    if not (isinstance(found, type) and issubclass(found, base)):
        bases = base if isinstance(base, tuple) else (base,)
        raise TypeError(f"{kind}={name!r} must be a subclass of {' or '.join(b.__name__ for b in bases)}")
    return found  # type: ignore[return-value]
