"""What `manifold-id data` prints: the table of data sets, and the facts of one that was fetched and checked."""

from __future__ import annotations

import numpy as np
from rich.table import Table
from scipy import sparse

from convex_bench.data import datasets, load
from manifold_id.remote import VARIABLE


def data_table() -> Table:
    """Return the table of named data sets and where each is; nothing is fetched."""
    table = Table(title="Data sets", caption=f"local: in the folder {VARIABLE}; cached: downloaded before")
    for name in ("name", "rows", "columns", "classes", "groups", "where", "source", "licence"):
        table.add_column(name, justify="right" if name in ("rows", "columns", "classes", "groups") else "left")
    for row in datasets():
        counts = (f"{row.rows:,}", f"{row.columns:,}", str(row.classes), "" if row.groups is None else str(row.groups))
        table.add_row(row.name, *counts, row.where, row.source, row.licence)
    return table


def describe_data(name: str) -> str:
    """Fetch a data set, check its hash and return its facts in a few lines; raises what `load` raises."""
    X, y, groups = load(name)
    nonzeros = X.nnz if sparse.issparse(X) else np.count_nonzero(X)
    kind = "CSR" if sparse.issparse(X) else "dense"
    values, counts = np.unique(y, return_counts=True)
    if len(values) <= 20:
        labels = ", ".join(f"{value:g}: {count:,}" for value, count in zip(values, counts, strict=True))
    else:
        labels = f"{len(values):,} values from {values[0]:g} to {values[-1]:g}"
    lines = [
        f"{name}: {X.shape[0]:,} rows, {X.shape[1]:,} columns, {kind} {X.dtype}",
        f"nonzeros: {nonzeros:,} ({nonzeros / (X.shape[0] * X.shape[1]):.1%})",
        f"labels: {labels}",
    ]
    if groups is not None:
        sizes = np.unique(groups, return_counts=True)[1]
        lines.append(f"groups: {len(sizes)} of sizes {sizes.min()} to {sizes.max()}")
    return "\n".join(lines)
