"""How the functions of the engine are compiled."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from numba import njit

# Cached on disk; without the interpreter's lock; and without counting references to arrays, which would cost an atomic
# operation for every array that a step touches: the caller holds them all. In return, compiled code allocates nothing.
_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}
_FILES = sorted(Path(__file__).parent.glob("*.py"))
STAMP = tuple((file.name, file.stat().st_mtime, file.stat().st_size) for file in _FILES)


def compiled(function: Any, **options: Any) -> Any:
    """Compile a function on its first call; cached until a file of the engine changes.

    Numba itself looks at the function's own file only, and would keep the old code of what is called in others.
    """
    dispatcher = njit(**_OPTIONS, **options)(function)
    file = dispatcher._cache._cache_file
    file._source_stamp, file._load_index = STAMP, partial(_load_index, file._load_index)
    return dispatcher


def _load_index(load: Any) -> Any:
    """Return what is cached, nothing where that is of an older engine some of whose types are gone."""
    try:
        return load()
    except (AttributeError, ImportError):
        return {}


inner: Any = partial(compiled, no_cpython_wrapper=True)  # called by compiled functions alone: compiles faster
inlined: Any = partial(inner, forceinline=True)  # becomes part of its caller, where arguments may be known
