"""How the functions of the engine are compiled."""

from __future__ import annotations

from functools import partial
from typing import Any

from numba import njit

# Cached on disk; without the interpreter's lock; and without counting references to arrays, which would cost an atomic
# operation for every array that a step touches: the caller holds them all. In return, compiled code allocates nothing.
_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}

compiled: Any = partial(njit, **_OPTIONS)
inner: Any = partial(njit, **_OPTIONS, no_cpython_wrapper=True)  # called by compiled functions alone: compiles faster
