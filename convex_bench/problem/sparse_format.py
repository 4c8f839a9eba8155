"""The index arrays of SciPy's sparse matrices: checked before they are followed, and 32 bits wide where that is enough.

SciPy trusts them, so a wrong index would read, or in a conversion write, memory beyond the arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

Array = np.ndarray
_REMEDY = "build the matrix anew from (values, (rows, columns))"


def check_structure(X: Any) -> None:
    """Check the index arrays of a sparse matrix of any format.

    Raises
    ------
    ValueError
        If they are not 1-D integers of the lengths that belong together, an indptr does not rise from 0 to the number
        of entries, or an index is negative or beyond the shape; the first wrong entry is named.
    """
    if X.format == "coo":
        for axis, name in enumerate(("row", "col")):
            _check_length(name, _vector(name, getattr(X, name)), len(X.data))
            _check_range(name, getattr(X, name), X.shape[axis])
    elif X.format == "lil":  # its conversion copies the lists as they are
        check_structure(X.tocsr())
    elif X.format in ("csr", "csc", "bsr"):
        height, width = X.blocksize if X.format == "bsr" else (1, 1)
        outer, inner = X.shape[0] // height, X.shape[1] // width
        if X.format == "csc":
            outer, inner = inner, outer
        _check_length("indptr", _vector("indptr", X.indptr), outer + 1)
        steps = np.diff(X.indptr.astype(np.int64, copy=False))
        if X.indptr[0] != 0 or steps.min(initial=0) < 0:
            at = 0 if X.indptr[0] != 0 else int(np.argmax(steps < 0)) + 1
            raise ValueError(f"X.indptr[{at}] is {X.indptr[at]}, but X.indptr must rise from 0: {_REMEDY}")
        count = min(len(_vector("indices", X.indices)), len(X.data))
        if X.indptr[-1] > count:
            raise ValueError(f"X.indptr[{outer}] is {X.indptr[-1]}, but X has {count} entries: {_REMEDY}")
        _check_range("indices", X.indices[: X.indptr[-1]], inner, X.indptr, X.format)


def narrow(X: sparse.csr_array) -> sparse.csr_array:
    """Return X with 32-bit indices where they fit (half the memory to read in every product), otherwise X itself."""
    if X.indices.dtype.itemsize <= 4 or max(X.shape[1], X.nnz) >= 2**31:
        return X
    return sparse.csr_array((X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)), shape=X.shape)


def _vector(name: str, values: Any) -> Array:
    """Return `values`, which must be a vector of integers."""
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(f"X.{name} must be a 1-D array of integers, not {type(values).__name__}: {_REMEDY}")
    return values


def _check_length(name: str, values: Array, length: int) -> None:
    if len(values) != length:
        raise ValueError(f"X.{name} has {len(values)} entries, but {length} belong to X of this shape: {_REMEDY}")


def _check_range(name: str, index: Array, size: int, indptr: Array | None = None, kind: str = "coo") -> None:
    """Raise ValueError unless all of `index` is in [0, size); the row or column of it is named too."""
    if not len(index) or (index.min() >= 0 and index.max() < size):
        return
    at = int(np.argmax((index < 0) | (index >= size)))
    where = ""
    if indptr is not None:
        owner = {"csr": "row", "csc": "column", "bsr": "row of blocks"}[kind]
        where = f" ({owner} {int(np.searchsorted(indptr, at, side='right')) - 1})"
    raise ValueError(f"X.{name}[{at}]{where} is {index[at]}, but must be in [0, {size}): {_REMEDY}")
