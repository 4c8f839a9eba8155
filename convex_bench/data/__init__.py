"""Data sets: packed, local or downloaded, checked by hash; `register` adds one of your own."""

from convex_bench.data.loading import datasets, load
from convex_bench.data.recipes import csv_table
from convex_bench.data.registry import DataSet, register
from manifold_id.remote import DataFile

__all__ = ["DataFile", "DataSet", "csv_table", "datasets", "load", "register"]
