"""BLAS with one thread: small matrix products wait for each other's threads longer than they compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

LARGE = 20_000_000  # entries of a dense design from which its products gain from more threads


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  # SciPy's BLAS is another library than NumPy's: load both before looking

    return ThreadpoolController()


def one_thread(entries: int, sparse: bool) -> AbstractContextManager[Any]:
    """Return a context in which BLAS runs on one thread, unless the design is dense and large."""
    if not sparse and entries >= LARGE:
        return nullcontext()
    return _controller().limit(limits=1, user_api="blas")
