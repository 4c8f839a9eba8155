"""The versions and the machine that results were made with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

from manifold_id import __version__

LIBRARIES = ("numpy", "scipy", "numba", "pandas", "pyarrow", "scikit-learn", "cvxpy", "matplotlib")


def versions() -> dict[str, str]:
    """Return {"manifold-id": ..., "python": ..., "machine": ..., library: ...}."""
    return {
        "manifold-id": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        **{name: version(name) for name in LIBRARIES},
    }
