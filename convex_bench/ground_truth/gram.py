"""The mean loss on few coordinates: margins, gradient, Hessian. BLAS on dense rows, compiled loops on sparse ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from convex_bench.ground_truth.kernels import gram_rows, logistic_parts, take_columns
from convex_bench.problem import Problem

Array = np.ndarray
BLOCK = 2**23  # numbers in a temporary block of dense rows: 64 MB


class Smooth:
    """f of a problem, at flat points with few nonzeros.

    Of sparse rows the columns of the last working set are kept apart: most products need no others.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.n, self.outputs = problem, problem.n, problem.n_outputs
        self.multi = problem.loss.name == "multinomial"
        self.sparse = sparse.issparse(problem.X)
        self.columns = np.empty(0, dtype=np.int64)  # sorted columns of X that `part` holds
        self.part: sparse.csr_array | None = None
        self._chosen = np.empty(0, dtype=np.int64)  # what `columns_of` was asked for last, and its answer
        self._taken: tuple[sparse.csr_array, sparse.csc_array]
        self._gram: tuple[Array, Array, Array] | None = None  # P, coordinates, and `gram`'s answer for them
        self._at: Array | None = None  # the margins to which `_parts` belong
        self._parts: tuple[float, Array, Array] = (0.0, np.empty(0), np.empty(0))

    def margins(self, w: Array) -> Array:
        """Return x_i w for every row, of the shape that the loss takes."""
        W = w.reshape(-1, self.outputs)
        plain = W[: self.problem.n_features]
        if self.part is None or not np.isin(np.flatnonzero(plain.any(axis=1)), self.columns).all():
            return self.problem.margins(w.reshape(self.problem.shape))
        m = self.part @ plain[self.columns]
        m = m + W[-1] if self.problem.intercept else m
        return m if self.multi else m[:, 0]

    def _loss(self, margins: Array) -> tuple[float, Array, Array]:
        """Return (mean loss, derivative, curvature) at margins, which are kept: the next call often has the same."""
        if self._at is not margins:
            loss, y = self.problem.loss, self.problem.y
            if loss.name == "logistic":
                value, d, h = (np.empty(self.n) for _ in range(3))
                logistic_parts(margins, y, value, d, h)
                self._parts = float(value.mean()), d, h[:, None]
            else:
                d = loss.derivative(margins, y)
                self._parts = float(loss.value(margins, y).mean()), d, self._curvature(d)
            self._at = margins
        return self._parts

    def _curvature(self, d: Array) -> Array:
        if not self.multi:
            return np.ones((self.n, 1))
        p = d.copy()
        p[np.arange(self.n), self.problem.y] += 1.0
        return np.maximum(p, 0.0)

    def value(self, margins: Array) -> float:
        """Return the mean loss."""
        return self._loss(margins)[0]

    def gradient(self, margins: Array) -> Array:
        """Return the flat gradient on all coordinates."""
        return self.problem.adjoint(self._loss(margins)[1]).ravel()

    def curvature(self, margins: Array) -> Array:
        """Return (n, K): h of a scalar loss; probabilities p of the multinomial one, of Hessian diag(p) - p p^T."""
        return self._loss(margins)[2]

    def gram(self, coords: Array, P: Array) -> Array:
        """Return (1/n) sum_i x_i x_i^T (curvature of row i) on flat coordinates, (m, m); P is from `curvature`.

        The last one is kept: the check for flat directions and the proof ask for the same.
        """
        if self._gram is None or self._gram[0] is not P or not np.array_equal(self._gram[1], coords):
            self._gram = P, coords, self._form_gram(coords, P)
        return self._gram[2].copy()

    def gram_near(self, coords: Array, P: Array) -> tuple[Array, float]:
        """Return (H, share) with `gram(coords, P)` >= share H: H is the last one kept, where its curvature is near P.

        Rows weigh at least share = min_i P_i / (P_i of then) of what they did. share = 1 and a new H otherwise.
        """
        if self.outputs == 1 and self._gram is not None:
            kept, then, H = self._gram[1], self._gram[0], self._gram[2]
            order = np.argsort(kept)
            place = order[np.minimum(np.searchsorted(kept, coords, sorter=order), len(kept) - 1)]
            with np.errstate(divide="ignore", invalid="ignore"):
                share = float(np.where(then > 0, P / then, np.inf).min(initial=np.inf))
            if np.array_equal(kept[place], coords) and 0.9 < share <= 1.0:
                return H[np.ix_(place, place)], share * (1.0 - 1e-12)
        return self.gram(coords, P), 1.0

    def _form_gram(self, coords: Array, P: Array) -> Array:
        features, k = np.divmod(coords, self.outputs)
        columns, place = np.unique(features, return_inverse=True)
        if self.outputs == 1:
            (total,) = self._weighted(columns, [P[:, 0]])
            total /= self.n
            return total if np.array_equal(place, np.arange(len(place))) else total[np.ix_(place, place)]
        H = np.empty((len(coords), len(coords)))
        members = [np.flatnonzero(k == a) for a in range(self.outputs)]
        for a in range(self.outputs):
            pairs = [P[:, a] * (1.0 - P[:, a]), *(P[:, a] * P[:, b] for b in range(a))]
            for b, block in zip([a, *range(a)], self._weighted(columns, pairs), strict=True):
                block *= (1.0 if a == b else -1.0) / self.n
                part = block[np.ix_(place[members[a]], place[members[b]])]
                H[np.ix_(members[a], members[b])] = part
                H[np.ix_(members[b], members[a])] = part.T
        return H

    def _split(self, features: Array) -> tuple[Array, bool]:
        """Return (sorted features without the column of ones, whether that was among them)."""
        ones = bool(self.problem.intercept and len(features) and features[-1] == self.problem.n_features)
        return features[: len(features) - ones], ones

    def _keep(self, plain: Array) -> sparse.csr_array:
        """Return the columns kept apart, after taking them from X where `plain` has others."""
        if self.part is None or not np.isin(plain, self.columns).all():
            local = np.full(self.problem.n_features, -1, dtype=np.int32)
            local[plain] = np.arange(len(plain))
            X = self.problem.X
            data, indices, indptr = take_columns(X.data, unsigned(X.indices), X.indptr, local)
            self.part = sparse.csr_array((data, indices, indptr), shape=(self.n, len(plain)))
            self.columns = plain
        return self.part

    def _weighted(self, features: Array, weights: list[Array]) -> list[Array]:
        """Return X_F^T diag(v) X_F for each nonnegative v, F sorted columns of the design."""
        plain, ones = self._split(features)
        m = len(features)
        totals = [np.zeros((m, m)) for _ in weights]
        if self.sparse:
            part = self._keep(plain)
            local = np.full(part.shape[1], -1, dtype=np.int32)
            local[np.searchsorted(self.columns, plain)] = np.arange(len(plain))
            for H, v in zip(totals, weights, strict=True):
                gram_rows(part.data, unsigned(part.indices), part.indptr, v, local, m - 1 if ones else -1, H)
                H += np.tril(H, -1).T
            return totals
        for rows, A in self._dense_blocks(plain, ones):
            for H, v in zip(totals, weights, strict=True):
                weight = v[rows]
                scaled = A if (weight == 1.0).all() else A * np.sqrt(weight)[:, None]
                H += scaled.T @ scaled
        return totals

    def _dense_blocks(self, plain: Array, ones: bool) -> Iterator[tuple[slice, Array]]:
        """Yield (rows, X[rows][:, plain] in float64), with the column of ones last where it is asked for."""
        size = max(1, BLOCK // (len(plain) + 1))
        for begin in range(0, self.n, size):
            rows = slice(begin, min(begin + size, self.n))
            part = self.problem.X[rows]
            A = part if len(plain) == self.problem.n_features else np.take(part, plain, axis=1)
            A = A.astype(np.float64, copy=False)
            yield rows, np.hstack([A, np.ones((len(A), 1))]) if ones else A

    def columns_of(self, features: Array) -> tuple[sparse.csr_array, sparse.csc_array]:
        """Return the design's columns `features` (sorted) in float64, by rows and by columns."""
        if not np.array_equal(features, self._chosen):
            plain, ones = self._split(features)
            if self.sparse:
                part = self._keep(plain)
                rows = part if len(plain) == part.shape[1] else part[:, np.searchsorted(self.columns, plain)]
            else:
                rows = sparse.csr_array(self.problem.X[:, plain].astype(np.float64))
            if ones:
                rows = sparse.csr_array(sparse.hstack([rows, np.ones((self.n, 1))], format="csr"))
            self._chosen, self._taken = features, (rows, sparse.csc_array(rows))
        return self._taken


def unsigned(indices: Array) -> Array:
    """Return a view of column indices, none negative, for which compiled loops need not test their sign."""
    return indices.view(f"u{indices.dtype.itemsize}")
