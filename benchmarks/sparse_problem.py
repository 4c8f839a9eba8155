"""Rows like a text collection's: power-law columns, about 72 nonzeros a row of norm 1; labels of a planted model."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array


def text_like(
    rows: int, columns: int, per_row: float = 72.0, *, active: int = 400, seed: int = 0
) -> tuple[csr_array, np.ndarray]:
    """Return (X, y): CSR float64 (rows, columns) and labels -1 / +1.

    Column j is drawn with probability proportional to (j + 100)^-1, row lengths are log-normal of mean `per_row`,
    entries are log-normal times the inverse-document-frequency log(1 / p_j), rows have norm 1, columns are shuffled.
    Labels follow a logistic model whose `active` coefficients lie on the 10 `active` most frequent columns.
    """
    random = np.random.default_rng(seed)
    p = 1.0 / (np.arange(columns) + 100.0)
    p /= p.sum()
    sizes = np.maximum(1, (per_row * random.lognormal(-0.18, 0.6, rows)).astype(np.int64))
    total = int(sizes.sum())
    drawn = np.searchsorted(np.cumsum(p), random.random(total)).clip(max=columns - 1)
    order = random.permutation(columns)
    data = random.lognormal(0.0, 0.4, total) * np.log(1.0 / p)[drawn]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    X = csr_array((data, order[drawn].astype(np.int32), start), shape=(rows, columns))
    X.sum_duplicates()
    norms = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    X.data /= np.repeat(norms, np.diff(X.indptr))
    w = np.zeros(columns)
    chosen = order[random.choice(min(columns, 10 * active), size=min(active, columns), replace=False)]
    w[chosen] = 20.0 * random.standard_normal(len(chosen))
    m = X @ w
    y = np.where(random.random(rows) < 1.0 / (1.0 + np.exp(-m)), 1.0, -1.0)
    return X, y
