"""Hints to the processor to fetch what a row is about to touch, so that a loop need not wait for memory."""

from __future__ import annotations

from convex_bench.engine.compiled import compiled
from convex_bench.engine.lanes import prefetch
from convex_bench.engine.sampling import draw


@compiled
def prefetch_rows(indices, indptr, rows, group, x, r):
    """Prefetch the records of the coordinates (x) and of the groups (r) that some rows of a CSR matrix touch."""
    for i in rows:
        for k in range(indptr[i], indptr[i + 1]):
            prefetch(x, indices[k] * x.shape[1])
            prefetch(r, group[k] * r.shape[1])


@compiled
def prefetch_entries(indices, indptr, rows, v):
    """Prefetch the entries of a vector that some rows of a CSR matrix touch."""
    for i in rows:
        for k in range(indptr[i], indptr[i + 1]):
            prefetch(v, indices[k])


@compiled
def draw_ahead(indices, indptr, data, group, rng, order, n, rows, t):
    """Draw the rows of step t + 1, and prefetch their columns, groups and values.

    `rows` (2, b) holds those of step t in place t mod 2; what is ahead is a part of the state. t counts from 1.
    """
    if t == 1:
        draw(rng, order, n, rows[1])
    coming = rows[(t + 1) % 2]
    draw(rng, order, n, coming)
    for i in coming:
        for k in range(indptr[i], indptr[i + 1], 8):  # a cache line holds eight values
            prefetch(data, k)
            prefetch(indices, k)
            prefetch(group, k)
