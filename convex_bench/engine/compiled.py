"""How the functions of the engine are compiled, and where the machine code is kept."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numba
from numba import njit
from platformdirs import user_cache_path

# Cached on disk; without the interpreter's lock; and without counting references to arrays, which would cost an atomic
# operation for every array that a step touches: the caller holds them all. In return, compiled code allocates nothing.
_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}
_HERE = Path(__file__).parent
_MARKS = ("engine.compiled import", "engine.lanes import", "engine import lanes")


def _digest() -> str:
    """Return a hash of the files that compiled functions are written in: those that import from here or from lanes."""
    texts = {file.name: file.read_bytes() for file in sorted(_HERE.rglob("*.py"))}
    used = [
        name.encode() + text
        for name, text in texts.items()
        if name in (Path(__file__).name, "lanes.py") or any(mark.encode() in text for mark in _MARKS)
    ]
    return hashlib.sha256(b"\0".join(used)).hexdigest()[:16]


def _folder() -> str:
    """Return the folder of the machine code: beside the sources where they can be written, else the user's cache.

    It is named by the content of the sources. Numba itself looks at a function's own file only, and would keep the
    old code of what is called in others.
    """
    given = numba.config.CACHE_DIR
    home = Path(given) if given else _HERE / "__pycache__"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError:
        home = user_cache_path("manifold-id")
    return os.fspath(home / f"engine-{_digest()}")


FOLDER = _folder()


def compiled(function: Any, **options: Any) -> Any:
    """Compile a function on its first call; cached until a file with compiled functions of the engine changes."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, FOLDER
    try:
        return njit(**_OPTIONS, **options)(function)
    finally:
        numba.config.CACHE_DIR = before


inner: Any = partial(compiled, no_cpython_wrapper=True)  # called by compiled functions alone: compiles faster
inlined: Any = partial(inner, forceinline=True)  # becomes part of its caller, where arguments may be known
