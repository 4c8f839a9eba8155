"""Data sets: packed, local or downloaded, checked by hash."""

from convex_bench.data.loading import datasets, load

__all__ = ["datasets", "load"]
