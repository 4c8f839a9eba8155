"""The rows of a problem as a matrix: checked, dense or CSR, multiplied in blocks so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from convex_bench.problem.arrays import LARGEST, plain_matrix
from convex_bench.problem.sparse_format import check_structure, narrow

Array = np.ndarray
Design = Any  # a C-ordered ndarray or a csr_array, float64 or float32

BLOCK = 2**21  # numbers in one temporary of a pass over the rows: 16 MB
FEW = 2**17  # row indices of a CSR matrix are gathered into an ndarray of up to this size, which is much faster
GRAM = 500  # up to this size the spectral norm comes from a dense Gram matrix, beyond from Lanczos


def check_design(X: Any) -> Design:
    """Return a copy of X as a C-ordered ndarray or canonical csr_array of float64 (float32 is kept).

    Raises
    ------
    TypeError
        If X does not hold real numbers (a DataFrame's column is named).
    ValueError
        If X is not 2-D, has no row or no column, holds NaN, infinity, a masked entry or one whose square overflows (row
        and column are named), or is sparse with a wrong index (see `check_structure`).
    """
    is_sparse = sparse.issparse(X)
    names = None
    if not is_sparse:
        X, names = plain_matrix(X)
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}, but must be 2-D (rows, columns): reshape it")
    if 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}, but needs at least one row and one column")
    if X.dtype.kind not in "fiub":
        raise TypeError(f"X has dtype {X.dtype}, but must hold real numbers: encode or convert its columns")
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    if not is_sparse:
        X = np.array(X, dtype=dtype, order="C")
        values = X.reshape(-1)
    else:
        check_structure(X)
        X = sparse.csr_array(X, dtype=dtype, copy=True)
        X.sum_duplicates()
        X = narrow(X)
        values = X.data
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    if low >= -LARGEST and high <= LARGEST:  # not so where an entry is NaN
        return X
    finite = np.isfinite(values)
    if not finite.all():
        at = int(np.argmin(finite))
        raise ValueError(f"{_entry(X, at, names)} is {values[at]}: impute or remove the row")
    at = int(np.argmax(np.abs(values)))
    raise ValueError(
        f"{_entry(X, at, names)} is {values[at]}: squares of numbers beyond {LARGEST:g} overflow, divide the column by "
        "a power of ten"
    )


def _entry(X: Design, at: int, names: Any) -> str:
    """Return what errors call the entry that is number `at` of the stored ones."""
    is_sparse = sparse.issparse(X)
    row = at // X.shape[1] if not is_sparse else int(np.searchsorted(X.indptr, at, side="right")) - 1
    column = at % X.shape[1] if not is_sparse else int(X.indices[at])
    return f"X[{row}, {column}]" + (f" (column {names[column]!r})" if names is not None else "")


class RowMatrix:
    """X (n, p) with a virtual column of ones where there is an intercept; products are float64 whatever X's dtype.

    A product takes and returns columns: `apply` maps (size, width) to (n, width), `adjoint` maps back, where
    size = p + intercept. Both act on one block of rows that `blocks` yields.
    """

    def __init__(self, X: Any, intercept: bool) -> None:
        self.X = check_design(X)
        self.intercept = intercept
        self.n, self.p = self.X.shape
        self.size = self.p + intercept
        self.sparse = sparse.issparse(self.X)

    @cached_property
    def design(self) -> Design:
        """X, with a column of ones appended where there is an intercept; of X's type."""
        if not self.intercept:
            return self.X
        ones = np.ones((self.n, 1), dtype=self.X.dtype)
        if self.sparse:
            return sparse.csr_array(sparse.hstack([self.X, sparse.csr_array(ones)], format="csr"))
        return np.ascontiguousarray(np.hstack([self.X, ones]))

    def take(self, rows: Any) -> Design:
        """Return X[rows] in float64: of a CSR matrix a view for a slice, an ndarray for a few row indices."""
        if isinstance(rows, slice) and rows == slice(0, self.n):
            part = self.X
        elif isinstance(rows, slice) and self.sparse:
            a, b = self.X.indptr[rows.start], self.X.indptr[rows.stop]
            indptr = self.X.indptr[rows.start : rows.stop + 1] - a
            part = sparse.csr_array((self.X.data[a:b], self.X.indices[a:b], indptr), shape=(len(indptr) - 1, self.p))
        elif self.sparse and len(rows) * self.p <= FEW:
            part = np.zeros((len(rows), self.p))
            for i, row in enumerate(rows):
                entries = slice(self.X.indptr[row], self.X.indptr[row + 1])
                part[i, self.X.indices[entries]] = self.X.data[entries]
        else:
            part = self.X[rows]
        return part.astype(np.float64, copy=False)

    def blocks(self, width: int) -> Iterator[tuple[slice, Design]]:
        """Yield (rows, X[rows]) so that neither a product of `width` columns nor a converted block exceeds BLOCK."""
        converted = self.X.dtype == np.float32 and not self.sparse
        size = max(1, BLOCK // max(width, self.p if converted else 1))
        for start in range(0, self.n, size):
            rows = slice(start, min(start + size, self.n))
            yield rows, self.take(rows)

    def apply(self, part: Design, columns: Array) -> Array:
        """Return design[rows] @ columns."""
        main = columns[: self.p]
        product = (part @ main[:, 0])[:, None] if main.shape[1] == 1 else part @ main
        return product + columns[self.p] if self.intercept else product

    def adjoint(self, part: Design, d: Array) -> Array:
        """Return design[rows]^T @ d."""
        product = (part.T @ d[:, 0])[:, None] if d.shape[1] == 1 else part.T @ d
        return np.vstack([product, d.sum(axis=0)]) if self.intercept else product

    @cached_property
    def row_norms(self) -> Array:
        """|x_i|^2 of every row of the design."""
        if self.sparse:
            squares = np.asarray(self.X.astype(np.float64).power(2).sum(axis=1)).ravel()
        else:
            squares = np.einsum("ij,ij->i", self.X, self.X, dtype=np.float64)
        return squares + self.intercept

    @cached_property
    def column_squares(self) -> Array:
        """|x_j|^2 of every column of the design."""
        if self.sparse:
            squares = np.bincount(self.X.indices, weights=self.X.data.astype(np.float64) ** 2, minlength=self.p)
        else:
            squares = np.einsum("ij,ij->j", self.X, self.X, dtype=np.float64)
        return np.append(squares, float(self.n)) if self.intercept else squares

    @cached_property
    def spectral(self) -> float:
        """|design|_2^2, by a dense Gram matrix where one side is short and by Lanczos to rounding otherwise."""
        if self.size <= GRAM:
            features = np.arange(self.size)
            return float(np.linalg.eigvalsh(self.gram(features, features, np.ones(self.n)))[-1])
        if self.n <= GRAM:
            A = self.design.astype(np.float64)
            gram = A @ A.T
            return float(np.linalg.eigvalsh(gram.toarray() if self.sparse else gram)[-1])

        def product(v: Array) -> Array:
            total = np.zeros((self.size, 1))
            for _, part in self.blocks(1):
                total += self.adjoint(part, self.apply(part, v.reshape(-1, 1)))
            return total

        operator = LinearOperator((self.size, self.size), matvec=product, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(self.size)
        return float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-12, return_eigenvectors=False)[0])

    def gram(self, left: Array, right: Array, scale: Array) -> Array:
        """Return design[:, left]^T diag(scale) design[:, right], dense."""
        if self.sparse:
            X = self.design
            weighted = X[:, right].astype(np.float64).multiply(scale[:, None]).tocsr()
            return (X[:, left].T.astype(np.float64) @ weighted).toarray()
        total = np.zeros((len(left), len(right)))
        size = max(1, BLOCK // (len(left) + len(right) + 1))
        for start in range(0, self.n, size):
            rows = slice(start, start + size)
            total += self._columns(rows, left).T @ (scale[rows, None] * self._columns(rows, right))
        return total

    def _columns(self, rows: slice, features: Array) -> Array:
        """Return the design's columns for a block of rows in float64, without building the whole design."""
        part = self.X[rows]
        plain = features < self.p
        if plain.all():
            return part[:, features].astype(np.float64, copy=False)
        columns = np.ones((len(part), len(features)))
        columns[:, plain] = part[:, features[plain]]
        return columns
