"""Columns far from their mean: the same problem with centred columns, whose intercept takes up the difference.

With an intercept that is free, F(w, b) = F_c(w, b + c w) where F_c has the columns x_j - c_j. Newton's matrix of F
is then as badly conditioned as (mean / spread)^2, that of F_c is not. The c_j are such that the differences are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from convex_bench.ground_truth.doubled import two_product, two_sum
from convex_bench.problem import Problem

Array = np.ndarray
SMALL = 2**22  # entries up to which sparse rows are centred, which makes them dense
FAR = 100.0  # standard deviations between zero and the mean of a column that is centred


@dataclass(frozen=True, eq=False)
class Centred:
    """The centred `problem`, and the shift c of each column, (n_features,)."""

    problem: Problem
    shift: Array

    def start(self, w: Array) -> Array:
        """Return the point (w, b + c w) of the centred problem, of w's shape."""
        start = w.copy()
        start[-1] += self.shift @ w[:-1]
        return start

    def back(self, coords: Array) -> Array:
        """Return the matrix of (w, b) -> (w, b - c w) on sorted flat coordinates that hold the intercept."""
        features, k = np.divmod(coords, self.problem.n_outputs)
        last = features == self.problem.n_features
        matrix = np.eye(len(coords))
        same = last[:, None] & ~last[None, :] & (k[:, None] == k[None, :])
        matrix[same] = -np.broadcast_to(np.append(self.shift, 0.0)[features], matrix.shape)[same]
        return matrix

    def original(self, w: Array, low: Array) -> tuple[Array, Array]:
        """Return (w, low) of the original problem: b - c w in double-double arithmetic; flat as given."""
        K = self.problem.n_outputs
        W, L = w.reshape(-1, K).copy(), low.reshape(-1, K).copy()
        for k in range(K):
            h, low_part = W[-1, k], L[-1, k]
            for j in np.flatnonzero(self.shift * (W[:-1, k] != 0)):
                p, e = two_product(-self.shift[j], W[j, k])
                h, s = two_sum(h, p)
                low_part += s + e - self.shift[j] * L[j, k]
                h, low_part = two_sum(h, low_part)
            W[-1, k], L[-1, k] = h, low_part
        return W.ravel(), L.ravel()


def centred(problem: Problem) -> Centred | None:
    """Return the centred problem where a column is far from its mean and the intercept is free, else None."""
    if not problem.intercept:
        return None
    X = problem.X
    if sparse.issparse(X):
        if problem.n * problem.n_features > SMALL:
            return None
        X = X.toarray()
    mean = X.mean(axis=0, dtype=np.float64)
    far = np.abs(mean) > FAR * X.std(axis=0, dtype=np.float64)
    far &= mean != 0
    if not far.any():
        return None
    shift = np.where(far, mean.astype(X.dtype), 0.0)
    moved, lost = two_sum.py_func(X.astype(np.float64), -shift)
    shift = np.where((lost == 0).all(axis=0), shift, 0.0)  # exact within a factor of two of the mean (Sterbenz)
    if not shift.any():
        return None
    return Centred(problem.with_columns(np.where(shift == 0, X, moved)), shift)
