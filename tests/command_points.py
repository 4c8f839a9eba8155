"""The entry points of `manifold-id` as pyproject.toml declares them, found whether the package is installed or not."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

from manifold_id import cli

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def command_points():
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["entry-points"][cli.ENTRY_POINTS]
    return [EntryPoint(name, value, cli.ENTRY_POINTS) for name, value in declared.items()]


def found(group, name=None):
    """Stand in for `importlib.metadata.entry_points` in `manifold_id.cli`."""
    return [point for point in command_points() if name in (None, point.name)]
