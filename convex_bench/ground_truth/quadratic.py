"""The quadratic model of the mean loss on a working set, with its Hessian formed or applied by columns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, cg, splu

from convex_bench.ground_truth import kernels
from convex_bench.ground_truth.gram import Smooth, unsigned

Array = np.ndarray
SINGULAR = 1e-13  # eigenvalues below this share of the largest (columns scaled to unit diagonal) count as zero
UNREACHED = 1e-6  # share of the right side out of the range of a singular matrix that is no rounding


def _eigenbases(blocks: Array, start: Array, q_start: Array) -> tuple[Array, Array]:
    """Return (eigenvalues of every block in ascending order, eigenvectors row-major, laid out as `blocks`)."""
    sizes = np.diff(start)
    sigma, Q = np.empty(start[-1]), np.ones_like(blocks)
    for size in np.unique(sizes):
        groups = np.flatnonzero(sizes == size)
        places = q_start[groups][:, None] + np.arange(size * size)
        if size == 1:
            sigma[start[groups]] = blocks[places[:, 0]]
            continue
        values, vectors = np.linalg.eigh(blocks[places].reshape(-1, size, size))
        sigma[start[groups][:, None] + np.arange(size)] = values
        Q[places] = vectors.reshape(len(groups), -1)
    return sigma, Q


def solve_symmetric(B: Array, rhs: Array) -> tuple[Array, Array | None]:
    """Return (x, v): B x = rhs for a positive semidefinite B, and, if rhs is out of its range, v with B v = 0 < rhs v.

    A singular B is factored by Cholesky with complete pivoting (columns scaled to unit diagonal); x is then 0 off the
    pivots, where rhs - B x shows what no x can reach, and v comes from the largest such entry.
    """
    diagonal = np.diag(B)
    scale = np.where(diagonal > 0, 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
    scaled, target = B * scale[:, None] * scale[None, :], scale * rhs
    try:
        factor = linalg.cholesky(scaled, lower=True, check_finite=False)
        if np.diag(factor).min() ** 2 > SINGULAR:
            return scale * linalg.cho_solve((factor, True), target, check_finite=False), None
    except linalg.LinAlgError:
        pass
    factor, order, rank, _ = linalg.lapack.dpstrf(scaled, lower=1, tol=len(rhs) * SINGULAR)
    order = order - 1
    pivots, rest = order[:rank], order[rank:]
    L = (factor[:rank, :rank], True)
    x = np.zeros(len(rhs))
    x[pivots] = linalg.cho_solve(L, target[pivots], check_finite=False)
    missing = rhs[rest] - (B[np.ix_(rest, pivots)] @ (scale[pivots] * x[pivots]))
    v = None
    if rest.size and (scale[rest] > 0).any():
        j = int(np.argmax(np.abs(missing) * (scale[rest] > 0)))
        if abs(missing[j]) > UNREACHED * np.abs(rhs).max():
            v = np.zeros(len(rhs))
            v[rest[j]] = 1.0
            v[pivots] = -linalg.cho_solve(L, scaled[pivots, rest[j]], check_finite=False)
            v *= scale * np.sign(missing[j])
    return scale * x, v


class GramModel:
    """g (v - w) + (v - w)^T H (v - w) / 2 with H formed: m^2 numbers, whatever the rows."""

    epochs = 16  # of coordinate descent before a round of Newton steps

    def __init__(
        self, smooth: Smooth, coords: Array, P: Array, ridge: Array, g: Array, w: Array, arrays: dict[str, Any]
    ):
        self.H = smooth.gram(coords, P)
        self.H[np.diag_indices_from(self.H)] += ridge
        self.arrays, start = arrays, arrays["start"]
        self.w, self.z, self.G = w, w.copy(), g.copy()
        sizes = np.diff(start)
        self.q_start = np.concatenate([[0], np.cumsum(sizes**2)]).astype(np.int64)
        if (sizes == 1).all():
            self.sigma, self.Q = np.diag(self.H).copy(), np.ones(len(w))
        else:
            blocks = np.concatenate([self.H[a:b, a:b].ravel() for a, b in pairwise(start)])
            self.sigma, self.Q = _eigenbases(blocks, start, self.q_start)

    def descend(self, nonnegative: bool, epochs: int, tol: float) -> float:
        """Run coordinate descent in place; return the largest relative residual of its last full pass."""
        a = self.arrays
        return kernels.descend_gram(
            self.H, self.G, self.z, a["start"], a["lam"], a["l1"], a["scale"], nonnegative, self.sigma, self.Q,
            self.q_start, epochs, tol,
        )  # fmt: skip

    def solve(self, S: Array, curvature: Array | None, rhs: Array, share: float) -> tuple[Array, Array | None]:
        """Return (x, v) of `solve_symmetric` for the matrix H_SS + curvature, whatever the accuracy `share` asks."""
        B = self.H[np.ix_(S, S)]
        return solve_symmetric(B if curvature is None else B + curvature, rhs)

    def quadratic(self, S: Array, step: Array) -> float:
        """Return step^T H_SS step."""
        return float(step @ (self.H[np.ix_(S, S)] @ step))

    def move(self, S: Array, step: Array) -> None:
        """Add `step` to z on S."""
        self.z[S] += step
        self.G += step @ self.H[S]


class ColumnModel:
    """The same model with H applied through sparse columns of the design: memory of the columns only."""

    epochs = 5

    def __init__(
        self, smooth: Smooth, coords: Array, P: Array, ridge: Array, g: Array, w: Array, arrays: dict[str, Any]
    ):
        features, self.output = np.divmod(coords, smooth.outputs)
        columns, self.column = np.unique(features, return_inverse=True)
        self.rows, self.A = smooth.columns_of(columns)
        self.P, self.multi = np.ascontiguousarray(P), smooth.multi
        self.n, self.g0, self.ridge = smooth.n, g, ridge
        self.arrays, start = arrays, arrays["start"]
        self.w, self.z = w, w.copy()
        self.dm, self.dot = np.zeros_like(self.P), np.zeros(self.n)
        self.csc = (
            self.A.indptr.astype(np.int64, copy=False),
            self.A.indices.astype(np.int32, copy=False),
            self.A.data,
        )
        self.q_start = np.concatenate([[0], np.cumsum(np.diff(start) ** 2)]).astype(np.int64)
        blocks = np.zeros(self.q_start[-1])
        kernels.block_hessians(*self.csc, self.column, self.output, self.P, self.multi, start, self.q_start, blocks)
        diagonal = np.concatenate([np.arange(s) * (s + 1) for s in np.diff(start)]) + np.repeat(
            self.q_start[:-1], np.diff(start)
        )
        self.diagonal = blocks[diagonal] + ridge
        blocks[diagonal] = self.diagonal
        self.blocks = _block_diagonal(blocks, start)
        self.sigma, self.Q = _eigenbases(blocks, start, self.q_start)

    def descend(self, nonnegative: bool, epochs: int, tol: float) -> float:
        """Run coordinate descent in place; return the largest relative residual of its last full pass."""
        a = self.arrays
        return kernels.descend_columns(
            *self.csc, self.column, self.output, self.P, self.multi, self.dm, self.dot, self.g0, self.ridge, self.w,
            self.z, a["start"], a["lam"], a["l1"], a["scale"], nonnegative, self.sigma, self.Q, self.q_start, epochs,
            tol,
        )  # fmt: skip

    def _curved(self, dm: Array) -> Array:
        """Return the loss's curvature times margins."""
        if not self.multi:
            return self.P * dm
        return self.P * (dm - (self.P * dm).sum(axis=1, keepdims=True))

    @property
    def G(self) -> Array:
        """The model's gradient at z."""
        full = self.A.T @ self._curved(self.dm)
        return self.g0 + full[self.column, self.output] / self.n + self.ridge * (self.z - self.w)

    def _product(self, S: Array, v: Array) -> Array:
        V = np.zeros((self.A.shape[1], self.P.shape[1]))
        V[self.column[S], self.output[S]] = v
        full = np.zeros_like(V)
        R = self.rows
        kernels.hessian_product(R.data, unsigned(R.indices), R.indptr, self.P, self.multi, V, full)
        return full[self.column[S], self.output[S]] / self.n + self.ridge[S] * v

    def solve(self, S: Array, curvature: Any, rhs: Array, share: float) -> tuple[Array, None]:
        """Return (x, None), x with |(H_SS + curvature) x - rhs| <= share |rhs| by conjugate gradients.

        The preconditioner is the block diagonal of the matrix, one block a group.
        """
        B = self.blocks[S][:, S]
        B = B if curvature is None else B + curvature
        diagonal = B.diagonal()
        B = B + sparse.diags_array(np.where(diagonal > 0, 1e-9 * diagonal, 1.0))  # duplicate columns of a group
        factor = splu(sparse.csc_array(B), permc_spec="NATURAL", options={"SymmetricMode": True})

        def product(v: Array) -> Array:
            return self._product(S, v) + (0.0 if curvature is None else curvature @ v)

        shape = (len(S), len(S))
        operator = LinearOperator(shape, matvec=product, dtype=np.float64)
        precondition = LinearOperator(shape, matvec=factor.solve, dtype=np.float64)
        return cg(operator, rhs, rtol=min(max(share, 1e-10), 0.1), maxiter=500, M=precondition)[0], None

    def quadratic(self, S: Array, step: Array) -> float:
        """Return step^T H_SS step."""
        return float(step @ self._product(S, step))

    def move(self, S: Array, step: Array) -> None:
        """Add `step` to z on S."""
        self.z[S] += step
        W = np.zeros((self.A.shape[1], self.P.shape[1]))
        W[self.column[S], self.output[S]] = step
        self.dm += self.rows @ W
        if self.multi:
            self.dot = (self.P * self.dm).sum(axis=1)


def _block_diagonal(blocks: Array, start: Array) -> sparse.csr_array:
    """Return the matrix of the square blocks that are given one after the other, each row-major."""
    sizes = np.diff(start)
    length = np.repeat(sizes, sizes)  # of every row
    begin = np.repeat(start[:-1], sizes)  # its first column
    indptr = np.concatenate([[0], np.cumsum(length)])
    indices = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - begin, length)
    return sparse.csr_array((blocks, indices, indptr), shape=(len(length), len(length)))
