"""The convex problem: mean loss over the rows of X plus a regularizer, and all that methods and solvers ask of it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import zlib
from functools import cached_property
from typing import Any, Self

import numpy as np

from convex_bench.problem import null_model
from convex_bench.problem.arrays import check_same_rows, plain_labels
from convex_bench.problem.losses import LOSSES, Loss
from convex_bench.problem.row_matrix import Design, RowMatrix
from convex_bench.storage import digest
from manifold_id.regularizers import Unpenalized
from manifold_id.regularizers.base import Regularizer, Separable
from manifold_id.validation import unknown_name

Array = np.ndarray


def check_labels(y: Any, n: int, loss: Loss) -> tuple[Array, Array | None]:
    """Return (encoded y, classes) for `n` rows; raises ValueError or TypeError where y does not fit."""
    y = plain_labels(y).copy()  # a problem stays what it was, whatever becomes of the caller's array
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.reshape(-1)
    if y.ndim != 1:
        raise ValueError(f"y has shape {y.shape}, but must be 1-D with one label for each row of X")
    if len(y) != n:
        raise ValueError(f"y has {len(y)} entries, but X has {n} rows: give one label for each row")
    return loss.encode(y)


def _fit_regularizer(regularizer: Any, ndim: int, loss: Loss) -> Regularizer:
    """Return the regularizer for points of `ndim` axes, so that leading axes are a batch."""
    if not isinstance(regularizer, Regularizer):
        raise TypeError(f"regularizer={regularizer!r} must be a Regularizer such as L1(0.1)")
    if regularizer.event_ndim == ndim:
        return regularizer
    if dataclasses.is_dataclass(regularizer) and "event_ndim" in {f.name for f in dataclasses.fields(regularizer)}:
        with contextlib.suppress(ValueError):  # a penalty of matrices refuses vectors
            return dataclasses.replace(regularizer, event_ndim=ndim)
    raise ValueError(
        f"regularizer={regularizer!r} acts on {regularizer.event_ndim}-D points, but the variable of "
        f"loss={loss.name!r} is {ndim}-D: choose another regularizer"
    )


class Problem:
    r"""min_w F(w) = f(w) + psi(w), f(w) = (1/n) sum_i l(x_i w; y_i).

    Parameters
    ----------
    X : (n, p) ndarray, SciPy sparse matrix or pandas DataFrame of numbers
        Float32 is kept (products are still float64), other numbers become float64; sparse formats become CSR.
    y : (n,)
        Two values of any type (logistic), numbers (squared), class labels of any type (multinomial).
    loss : "logistic" | "squared" | "multinomial"
        log(1 + exp(-y m)), (m - y)^2 / 2, log sum_k exp(m_k) - m_y.
    regularizer : Regularizer
        psi. For the multinomial loss a group label of a feature names the group of its whole row of w.
    intercept : bool
        Append a row to w that multiplies a column of ones and is not penalized.

    Attributes
    ----------
    X, design : the checked copy of X, and X with the column of ones where there is an intercept.
    y, classes : labels as encoded by the loss, and the classes (None for squared).
    n, n_features, n_outputs : rows, columns of X, margins of a row (1 or K).
    shape : shape of w: (p,) or (p, K), with p = n_features + intercept; the last row is the intercept.
    penalty, regularizer : psi on the rows of the features, and on the whole variable (the intercept left free).

    All functions of w accept leading batch axes, (\*batch, \*shape), and return float64; rows are processed in
    blocks, so that memory stays bounded. A Problem is not changed after construction.

    Raises
    ------
    ValueError, TypeError
        On NaN, infinity, masked or other missing entries, empty or disagreeing shapes, labels of the wrong kind, an
        unknown loss, a regularizer that does not fit the variable, or pandas objects whose indices differ.
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        loss: str = "logistic",
        regularizer: Regularizer | None = None,
        *,
        intercept: bool = False,
    ) -> None:
        if not isinstance(loss, str) or loss not in LOSSES:
            raise unknown_name("loss", loss, LOSSES)
        if not isinstance(intercept, (bool, np.bool_)):
            raise TypeError(f"intercept={intercept!r} must be True or False")
        self.loss = LOSSES[loss]
        self.intercept = bool(intercept)
        self._matrix = RowMatrix(X, self.intercept)
        check_same_rows(X, y)
        self.X, self.n, self.n_features = self._matrix.X, self._matrix.n, self._matrix.p
        self.y, self.classes = check_labels(y, self.n, self.loss)
        self.n_outputs = self.loss.outputs(self.classes)
        columns = (self.n_outputs,) if self.loss.name == "multinomial" else ()
        self.shape: tuple[int, ...] = (self._matrix.size, *columns)
        self._checksum = self._checksum_now()
        self._set_regularizer(regularizer)

    def check_unchanged(self) -> None:
        """Raise ValueError where X or y was written to: results would be stored as those of other data."""
        if self._checksum_now() != self._checksum:
            raise ValueError(
                f"X or y of {self!r} was changed after the problem was made, so that its constants and the keys of its "
                "results are those of other data: make a new Problem of the new data"
            )

    def _checksum_now(self) -> int:
        total = 0
        for part in (*self._entries(), self.y):
            total = zlib.crc32(part.data, total)
        return total

    def _entries(self) -> tuple[Array, ...]:
        """Return the arrays that X is made of."""
        return (self.X.data, self.X.indices, self.X.indptr) if self._matrix.sparse else (self.X,)

    def _set_regularizer(self, regularizer: Regularizer | None) -> None:
        self.penalty = _fit_regularizer(regularizer, len(self.shape), self.loss)
        self.penalty.structure(np.zeros((self.n_features, *self.shape[1:])))  # raises where groups miss a column
        self.regularizer: Regularizer = Unpenalized(self.penalty, rows=1) if self.intercept else self.penalty

    def with_regularizer(self, regularizer: Regularizer) -> Self:
        """Return the problem with another psi; X, y and the Lipschitz constants are shared."""
        other = copy.copy(self)
        other.__dict__.pop("separable", None)
        other._set_regularizer(regularizer)
        return other

    def with_columns(self, X: Any) -> Self:
        """Return the problem with an X of the same shape in place of this one; y and psi are the same."""
        other = copy.copy(self)
        other.__dict__.pop("digest", None)
        other._matrix = RowMatrix(X, self.intercept)
        other.X = other._matrix.X
        other._checksum = other._checksum_now()
        return other

    def with_lam(self, lam: float) -> Self:
        """Return the problem with strength lam; X, y and the Lipschitz constants are shared."""
        return self.with_regularizer(self.penalty.with_lam(lam))

    def __repr__(self) -> str:
        kind = "csr" if self._matrix.sparse else "dense"
        return (
            f"Problem(<{self.n} x {self.n_features} {kind} {self.X.dtype}>, loss={self.loss.name!r}, "
            f"regularizer={self.penalty!r}, intercept={self.intercept})"
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of X, y, loss and intercept, for keys of stored results; the regularizer comes beside it."""
        values, *indices = self._entries()
        parts = [values, *(i.astype(np.int64) for i in indices)]
        return digest(self.loss.name, str(self.intercept), str(self.X.shape), *parts, self.y)

    @property
    def design(self) -> Design:
        """X, with a column of ones appended where there is an intercept; of X's type."""
        return self._matrix.design

    @cached_property
    def separable(self) -> Separable | None:
        """The form of psi that compiled loops use, or None where it has none."""
        return self.regularizer.separable(self.shape)

    # Points (*batch, *shape) travel as columns (rows of w, batch * K), so that one product serves all seeds; losses
    # see margins as (batch, rows) or (batch, rows, K).

    def _columns(self, w: Any) -> tuple[Array, tuple[int, ...]]:
        """Return (columns, batch shape) of points w; raises unless the last axes of w are `shape`."""
        w = np.asarray(w, dtype=np.float64)
        axes = w.ndim - len(self.shape)
        if axes < 0 or w.shape[axes:] != self.shape:
            raise ValueError(f"w has shape {w.shape}, but its last axes must be {self.shape}")
        columns = w.reshape(-1, self.shape[0], self.n_outputs).transpose(1, 0, 2).reshape(self.shape[0], -1)
        return np.ascontiguousarray(columns), w.shape[:axes]

    def _points(self, columns: Array, batch: tuple[int, ...]) -> Array:
        points = columns.reshape(self.shape[0], -1, self.n_outputs).transpose(1, 0, 2)
        return np.ascontiguousarray(points).reshape(*batch, *self.shape)

    def _to_loss(self, margins: Array) -> Array:
        if len(self.shape) == 1:
            return margins.T
        return margins.reshape(len(margins), -1, self.n_outputs).transpose(1, 0, 2)

    def _from_loss(self, d: Array) -> Array:
        if len(self.shape) == 1:
            return np.ascontiguousarray(d.T)
        return np.ascontiguousarray(d.transpose(1, 0, 2)).reshape(d.shape[1], -1)

    def margins(self, w: Any) -> Array:
        """Return x_i w for every row: (*batch, n) or (*batch, n, K)."""
        columns, batch = self._columns(w)
        parts = [self._matrix.apply(part, columns) for _, part in self._matrix.blocks(columns.shape[1])]
        margins = self._to_loss(np.concatenate(parts))
        return np.ascontiguousarray(margins).reshape(*batch, self.n, *self.shape[1:])

    def adjoint(self, d: Any) -> Array:
        """Return (1/n) design^T d for d of the shape of `margins`: the gradient when d is the loss's derivative."""
        d = np.asarray(d, dtype=np.float64)
        batch = d.shape[: d.ndim - len(self.shape)]
        flat = self._from_loss(d.reshape(-1, self.n, *self.shape[1:]))
        total = np.zeros((self.shape[0], flat.shape[1]))
        for rows, part in self._matrix.blocks(flat.shape[1]):
            total += self._matrix.adjoint(part, flat[rows])
        return self._points(total / self.n, batch)

    def _evaluate(self, w: Any, value: bool, gradient: bool) -> tuple[Any, Any]:
        """Return (f(w), its gradient) from one pass over the rows; what is not asked for is None."""
        columns, batch = self._columns(w)
        values, total = np.zeros(columns.shape[1] // self.n_outputs), np.zeros_like(columns)
        for rows, part in self._matrix.blocks(columns.shape[1]):
            margins = self._to_loss(self._matrix.apply(part, columns))
            if value:
                values += self.loss.value(margins, self.y[rows]).sum(axis=-1)
            if gradient:
                d = self.loss.derivative(margins, self.y[rows])
                total += self._matrix.adjoint(part, self._from_loss(d))
        mean = (values / self.n).reshape(batch) if batch else float(values[0] / self.n)
        return mean if value else None, self._points(total / self.n, batch) if gradient else None

    def smooth(self, w: Any) -> tuple[Any, Array]:
        """Return (f(w), gradient of f) from one pass over the rows."""
        return self._evaluate(w, True, True)

    def smooth_value(self, w: Any) -> Any:
        """Return f(w): a float, or an array of the batch's shape."""
        return self._evaluate(w, True, False)[0]

    def value(self, w: Any) -> Any:
        """Return F(w) = f(w) + psi(w): a float, or an array of the batch's shape."""
        total = self.smooth_value(w) + np.asarray(self.regularizer.value(np.asarray(w, dtype=np.float64)))
        return total if total.ndim else float(total)

    def gradient(self, w: Any) -> Array:
        """Return the gradient of f, of w's shape."""
        return self._evaluate(w, False, True)[1]

    def _row_derivatives(self, w: Any, rows: Any) -> tuple[Design, Array, tuple[int, ...]]:
        """Return (X[rows], loss derivatives (batch, rows[, K]), batch shape)."""
        columns, batch = self._columns(w)
        rows = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        if rows.size == 0 or rows.min() < 0 or rows.max() >= self.n:
            raise ValueError(f"rows={rows} must be indices in [0, {self.n}), at least one")
        part = self._matrix.take(rows)
        return part, self.loss.derivative(self._to_loss(self._matrix.apply(part, columns)), self.y[rows]), batch

    def minibatch_gradient(self, w: Any, rows: Any) -> Array:
        """Return the mean over `rows` (indices, repeats allowed) of the rows' gradients, of w's shape."""
        part, d, batch = self._row_derivatives(w, rows)
        return self._points(self._matrix.adjoint(part, self._from_loss(d)) / part.shape[0], batch)

    def row_gradients(self, w: Any, rows: Any) -> Array:
        """Return the gradient of every row in `rows`: (*batch, len(rows), *shape)."""
        part, d, batch = self._row_derivatives(w, rows)
        dense = part if isinstance(part, np.ndarray) else part.toarray()
        if self.intercept:
            dense = np.hstack([dense, np.ones((len(dense), 1))])
        result = dense * d[..., None] if len(self.shape) == 1 else dense[:, :, None] * d[..., None, :]
        return result.reshape(*batch, *result.shape[1:])

    def gradient_noise(self, w: Any) -> Array:
        """Return the variance over rows of every coordinate of the single-row gradient at w, of w's shape.

        The trace of the covariance is its sum; the mean of b rows drawn with replacement has 1/b of it.
        """
        columns, batch = self._columns(w)
        first, second = np.zeros_like(columns), np.zeros_like(columns)
        for rows, part in self._matrix.blocks(columns.shape[1]):
            margins = self._to_loss(self._matrix.apply(part, columns))
            d = self._from_loss(self.loss.derivative(margins, self.y[rows]))
            first += self._matrix.adjoint(part, d)
            second += self._matrix.adjoint(part.power(2) if self._matrix.sparse else part**2, d**2)
        return self._points(np.maximum(second / self.n - (first / self.n) ** 2, 0.0), batch)

    def atom_noise(self, w: Any) -> Array:
        """Return, for each atom at one point w, the standard deviation of the single-row gradient on its coordinates.

        That is sqrt(E |g_i - E g_i|^2), to be compared with the atom's margin.

        Raises
        ------
        ValueError
            If the regularizer has no separable form: its atoms then have no coordinates of their own.
        """
        if self.separable is None:
            raise ValueError(f"regularizer={self.penalty!r} is not separable: use gradient_noise instead")
        variance = self.gradient_noise(w).reshape(-1)
        if self.separable.atoms == "entries":
            return np.sqrt(variance)
        return np.sqrt(np.bincount(self.separable.labels, weights=variance, minlength=len(self.separable.lam)))

    def null_model(self) -> Array:
        """Return the minimizer of F over the coordinates without a kink (groups of weight 0, intercept), others 0."""
        return null_model.fit(self)[0]

    def lambda_max(self) -> float:
        """Return the smallest lam for which the null model is stationary.

        psi's own lambda_max at the gradient of f at `null_model()`, coordinates without a kink left out: they are at
        rest there. Raises NotImplementedError where psi has none.
        """
        return float(self.penalty.lambda_max(null_model.gradient(self)))

    def is_trivial(self) -> bool:
        """Whether lam >= lambda_max, so that the null model is a solution; False where psi has no lambda_max."""
        try:
            return bool(self.penalty.lam >= self.lambda_max())  # type: ignore[attr-defined]
        except (NotImplementedError, AttributeError):
            return False

    def lipschitz(self) -> float:
        """Return a Lipschitz constant of the gradient of f: curvature bound * |design|_2^2 / n."""
        return self.loss.curvature_bound * self._matrix.spectral / self.n

    def column_squares(self) -> Array:
        """Return |x_j|^2 of the column of every flat coordinate of w, of the column of ones at the intercept."""
        return np.repeat(self._matrix.column_squares, self.n_outputs)

    def row_lipschitz(self) -> Array:
        """Return (n,) Lipschitz constants of the rows' gradients: curvature bound * |x_i|^2."""
        return self.loss.curvature_bound * self._matrix.row_norms

    def hessian(self, w: Any, coords: Any = None) -> Array:
        """Return the Hessian of f at one point w, restricted to flat (C order) coordinates: (m, m), dense.

        Without `coords` all of them. Raises ValueError where a coordinate is out of range.
        """
        margins = self.margins(w)
        if margins.ndim != len(self.shape):
            raise ValueError(f"w has shape {np.shape(w)}, but the Hessian is taken at one point of shape {self.shape}")
        size = self.shape[0] * self.n_outputs
        coords = np.arange(size) if coords is None else np.asarray(coords, dtype=np.int64).reshape(-1)
        if coords.size and (coords.min() < 0 or coords.max() >= size):
            raise ValueError(f"coords must lie in [0, {size}), but reach from {coords.min()} to {coords.max()}")
        features, outputs = np.divmod(coords, self.n_outputs)
        members = [np.flatnonzero(outputs == k) for k in range(self.n_outputs)]
        curvature = self.loss.curvature(margins, self.y).reshape(self.n, self.n_outputs, self.n_outputs)
        result = np.zeros((coords.size, coords.size))
        for k, left in enumerate(members):
            for other, right in enumerate(members[: k + 1]):
                if left.size and right.size:
                    block = self._matrix.gram(features[left], features[right], curvature[:, k, other]) / self.n
                    result[np.ix_(left, right)] = block
                    result[np.ix_(right, left)] = block.T
        return 0.5 * (result + result.T)

    def hessian_product(self, w: Any, v: Any) -> Array:
        """Return the Hessian of f at one point w times v, both of `shape`, without forming it."""
        curvature, direction = self.loss.curvature(self.margins(w), self.y), self.margins(v)
        if len(self.shape) == 1:
            return self.adjoint(curvature * direction)
        return self.adjoint(np.einsum("ikl,il->ik", curvature, direction))
