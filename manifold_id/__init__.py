"""Manifold identification: what structure is, how it is tracked along a run, and what is proved about it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("manifold-id")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
