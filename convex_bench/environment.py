"""The versions and the machine that results were made with."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import version

from manifold_id import __version__

LIBRARIES = ("numpy", "scipy", "numba", "pandas", "pyarrow", "scikit-learn", "cvxpy", "matplotlib")


NUMERICS = ("numpy", "scipy", "numba", "llvmlite")  # what a run computes with


def versions() -> dict[str, str]:
    """Return {"manifold-id": ..., "python": ..., "machine": ..., library: ...}."""
    return {
        "manifold-id": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        **{name: version(name) for name in LIBRARIES},
    }


@cache
def libraries() -> dict[str, str]:
    """Return the versions that the last bits of a run may depend on."""
    return {"manifold-id": __version__} | {name: version(name) for name in NUMERICS}
