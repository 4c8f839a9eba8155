"""Products of the loop with the rows of the design: margins, sums of weighted rows, the full gradient.

The variable W (width, outputs) lies plane by plane: entry (j, c) at c width + j; `width` is a multiple of 8, and the
entries of a dense row beyond the features are zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from convex_bench.engine.compiled import inner
from convex_bench.engine.lanes import WIDTH, load, splat, store, total

BLOCK = 16  # rows at a time for the full gradient


class Rows(NamedTuple):
    """The design (n, width) and the labels.

    Attributes
    ----------
    data, indices, indptr
        Float64 values, flat; for CSR the columns and the row pointers, which are empty where `dense`.
    y, loss
        Labels (n,) as float64; 0 logistic, 1 squared, 2 multinomial.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    dense: bool
    n: int
    width: int
    outputs: int
    y: np.ndarray
    loss: int


@inner
def fill(x, value):
    """Set all of x to the value."""
    for j in range(x.shape[0]):
        x[j] = value


@inner
def copy(x, out):
    """Set all of out to x."""
    for j in range(x.shape[0]):
        out[j] = x[j]


@inner
def part(rows):
    """Return how many rows are worked on at a time: of dense ones a multiple of four, within 128 KiB."""
    return max(4, (1 << 14) // rows.width // 4 * 4) if rows.dense else rows.n


@inner
def margins(rows, batch, w, segments, out):
    """out[q] = x_i W for i = batch[q]; of dense rows only the ranges of positions in `segments` (m, 2)."""
    data, width = rows.data, rows.width
    q, last = 0, batch.shape[0]
    if not rows.dense:
        for q in range(last):
            for c in range(rows.outputs):
                margin = 0.0
                for s in range(rows.indptr[batch[q]], rows.indptr[batch[q] + 1]):
                    margin += data[s] * w[c * width + rows.indices[s]]
                out[q, c] = margin
        return
    while q + 4 <= last:  # four rows at a time: W is loaded once for them, and the memory is kept busy
        i0, i1, i2, i3 = batch[q] * width, batch[q + 1] * width, batch[q + 2] * width, batch[q + 3] * width
        for c in range(rows.outputs):
            s0, s1, s2, s3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for k in range(segments.shape[0]):
                for s in range(segments[k, 0], segments[k, 1], WIDTH):
                    x = load(w, c * width + s)
                    s0 = s0 + x * load(data, i0 + s)
                    s1 = s1 + x * load(data, i1 + s)
                    s2 = s2 + x * load(data, i2 + s)
                    s3 = s3 + x * load(data, i3 + s)
            out[q, c], out[q + 1, c], out[q + 2, c], out[q + 3, c] = total(s0), total(s1), total(s2), total(s3)
        q += 4
    while q < last:
        i0 = batch[q] * width
        for c in range(rows.outputs):
            s0 = splat(0.0)
            for k in range(segments.shape[0]):
                for s in range(segments[k, 0], segments[k, 1], WIDTH):
                    s0 = s0 + load(w, c * width + s) * load(data, i0 + s)
            out[q, c] = total(s0)
        q += 1


@inner
def accumulate(rows, batch, weight, v):
    """V += sum_q x_i^T weight[q], i = batch[q]."""
    data, width = rows.data, rows.width
    q, last = 0, batch.shape[0]
    if not rows.dense:
        for q in range(last):
            for c in range(rows.outputs):
                a = weight[q, c]
                for s in range(rows.indptr[batch[q]], rows.indptr[batch[q] + 1]):
                    v[c * width + rows.indices[s]] += data[s] * a
        return
    while q + 4 <= last:
        i0, i1, i2, i3 = batch[q] * width, batch[q + 1] * width, batch[q + 2] * width, batch[q + 3] * width
        for c in range(rows.outputs):
            a0, a1, a2, a3 = (
                splat(weight[q, c]),
                splat(weight[q + 1, c]),
                splat(weight[q + 2, c]),
                splat(weight[q + 3, c]),
            )
            for s in range(0, width, WIDTH):
                x = load(v, c * width + s) + a0 * load(data, i0 + s)
                x = x + a1 * load(data, i1 + s)
                x = x + a2 * load(data, i2 + s)
                store(v, c * width + s, x + a3 * load(data, i3 + s))
        q += 4
    while q < last:
        i0 = batch[q] * width
        for c in range(rows.outputs):
            a0 = splat(weight[q, c])
            for s in range(0, width, WIDTH):
                store(v, c * width + s, load(v, c * width + s) + a0 * load(data, i0 + s))
        q += 1


@inner
def clear(rows, batch, v):
    """V = 0 again after `accumulate` on zero."""
    if rows.dense:
        fill(v, 0.0)
        return
    for q in range(batch.shape[0]):
        for c in range(rows.outputs):
            for s in range(rows.indptr[batch[q]], rows.indptr[batch[q] + 1]):
                v[c * rows.width + rows.indices[s]] = 0.0


@inner
def slope(loss, m, y):
    """Derivative of a loss with one output in its margin: 0 logistic, 1 squared."""
    return -y / (1.0 + math.exp(y * m)) if loss == 0 else m - y


@inner
def derivative(loss, m, y, out):
    """Derivative of the loss with respect to the margins m of a row; loss = 0 logistic, 1 squared, 2 multinomial."""
    if loss < 2:
        out[0] = slope(loss, m[0], y)
    else:
        top = m[0]
        for c in range(1, m.shape[0]):
            top = max(top, m[c])
        mass = 0.0
        for c in range(m.shape[0]):
            out[c] = math.exp(m[c] - top)
            mass += out[c]
        for c in range(m.shape[0]):
            out[c] /= mass
        out[int(y)] -= 1.0


@inner
def full_gradient(rows, w, whole, out, table, batch, m):
    """out = gradient of the smooth part at W; every row's derivative goes to `table`, unless it is empty.

    `batch` (BLOCK,) and `m` (BLOCK, outputs) are memory.
    """
    fill(out, 0.0)
    for start in range(0, rows.n, BLOCK):
        count = min(BLOCK, rows.n - start)
        for q in range(count):
            batch[q] = start + q
        margins(rows, batch[:count], w, whole, m)
        for q in range(count):
            derivative(rows.loss, m[q], rows.y[start + q], m[q])
            for c in range(rows.outputs):
                if table.shape[0] > 0:
                    table[start + q, c] = m[q, c]
                m[q, c] /= rows.n
        accumulate(rows, batch[:count], m, out)
