"""Losses l(m; y) of one row as functions of its margins m = x w: value, derivatives, conjugate.

Shapes: n rows, K classes; `margins` is (..., n) for a scalar loss and (..., n, K) for the multinomial one, `y` is (n,)
as returned by `encode`. Everything is float64 and free of overflow for margins of any size. Sources: Boyd and
Vandenberghe, Convex Optimization (2004), sections 3.3 (conjugates) and 7.1 (logistic); Boehning, Ann. Inst. Statist.
Math. 44 (1992), for the curvature bound 1/2 of the multinomial loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit, logsumexp, softmax, xlogy

from convex_bench.problem.arrays import EXACT, LARGEST, is_missing

Array = np.ndarray


def _numeric(y: Array, loss: str) -> Array:
    """Return labels as float64; raises where they are not finite numbers that it can hold."""
    check_finite_labels(y)
    if y.dtype.kind not in "fiub":
        raise TypeError(f"y has dtype {y.dtype}, but loss={loss!r} needs real numbers: convert y")
    if y.dtype.kind in "iu":
        _check_exact(y, "divide y by a constant")
    return y.astype(np.float64)


def _classes(y: Array) -> tuple[Array, Array]:
    """Return (classes in rising order, index of each label in them); raises where a label is missing or ambiguous."""
    check_finite_labels(y)
    if y.dtype.kind in "cV":
        raise TypeError(f"y has dtype {y.dtype}, but labels must be numbers, names or dates: convert y")
    if y.dtype.kind == "f":
        _check_exact(y, "give the labels as integers or strings")
    try:
        classes, codes = np.unique(y, return_inverse=True)
    except TypeError as error:
        kinds = ", ".join(sorted({type(label).__name__ for label in y}))
        raise TypeError(f"y has labels of types that have no order ({kinds}): convert them to one") from error
    return classes, codes


def check_finite_labels(y: Array) -> None:
    """Raise ValueError that names the first row of y with a missing or infinite label, which may be of any type."""
    kind = y.dtype.kind
    if kind in "fc":
        bad = ~np.isfinite(y)
    elif kind in "mM":
        bad = np.isnat(y)
    elif kind == "O":
        bad = np.array([is_missing(label) for label in y], dtype=bool)
    else:
        return
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"y[{row}] is {y[row]}: remove the row or give it a label")


def _check_exact(y: Array, remedy: str) -> None:
    """Raise ValueError that names the first row of y that float64 may have merged, or would merge, with another."""
    bad = (y > EXACT) | (y < -EXACT)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"y[{row}] is {y[row]}, beyond 2**53 where float64 merges different integers: {remedy}")


class Loss(ABC):
    """One convex smooth loss; see the module's text for shapes."""

    name: ClassVar[str]
    curvature_bound: ClassVar[float]  # sup over m of the largest eigenvalue of l''(m)

    @abstractmethod
    def encode(self, y: Array) -> tuple[Array, Array | None]:
        """Return (encoded labels, classes in the order of their codes or None); raises on labels of a wrong kind."""

    def outputs(self, classes: Array | None) -> int:
        """Return K, the number of margins of a row."""
        return 1

    @abstractmethod
    def value(self, margins: Array, y: Array) -> Array:
        """Return l for every row, (..., n)."""

    @abstractmethod
    def derivative(self, margins: Array, y: Array) -> Array:
        """Return dl/dm, of the shape of `margins`."""

    @abstractmethod
    def curvature(self, margins: Array, y: Array) -> Array:
        """Return d2l/dm2: (..., n) for a scalar loss, (..., n, K, K) for the multinomial one."""

    @abstractmethod
    def root(self, margins: Array, d: Array) -> tuple[Array, Array]:
        """Return (B, t), (n, K, K) and (n, K): B^T B is the curvature of each row and B^T t = d, its derivative."""

    @abstractmethod
    def conjugate(self, u: Array, y: Array) -> Array:
        """Return l*(u) = sup_m <u, m> - l(m), (..., n); +inf outside its domain. `u` has the shape of margins."""

    @abstractmethod
    def null_margin(self, y: Array) -> Array:
        """Return the constant margin, (K,), that minimizes the mean loss: the null model's intercept."""


@dataclass(frozen=True)
class Logistic(Loss):
    """l(m) = log(1 + exp(-y m)) with y in {-1, +1}; of two label values the greater one is encoded as +1."""

    name: ClassVar[str] = "logistic"
    curvature_bound: ClassVar[float] = 0.25

    def encode(self, y: Array) -> tuple[Array, Array | None]:
        """Return y as -1.0 / +1.0, and the two classes; raises ValueError unless there are exactly two values."""
        classes, codes = _classes(y)
        if len(classes) != 2:
            shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
            raise ValueError(
                f"y has {len(classes)} distinct values ({shown}), but loss='logistic' needs exactly two: "
                "use loss='multinomial' for several classes, loss='squared' for a numeric response"
            )
        return 2.0 * codes - 1.0, classes

    def value(self, margins: Array, y: Array) -> Array:
        """Return log(1 + exp(-y m))."""
        return np.logaddexp(0.0, -y * margins)

    def derivative(self, margins: Array, y: Array) -> Array:
        """Return -y / (1 + exp(y m))."""
        return -y * expit(-y * margins)

    def curvature(self, margins: Array, y: Array) -> Array:
        """Return s (1 - s), s = 1 / (1 + exp(-m)), without cancellation."""
        return expit(margins) * expit(-margins)

    def root(self, margins: Array, d: Array) -> tuple[Array, Array]:
        """Return (sqrt(s (1 - s)), d over it), (n, 1, 1) and (n, 1)."""
        root = np.sqrt(np.maximum(self.curvature(margins, d), np.finfo(float).tiny))
        return root[:, None, None], d / root[:, None]

    def conjugate(self, u: Array, y: Array) -> Array:
        """Return v log v + (1 - v) log(1 - v) with v = -y u in [0, 1]."""
        v = -y * u
        inside = (v >= 0) & (v <= 1)
        v = np.clip(v, 0.0, 1.0)
        return np.where(inside, xlogy(v, v) + xlogy(1 - v, 1 - v), np.inf)

    def null_margin(self, y: Array) -> Array:
        """Return log(n_plus / n_minus)."""
        positive = np.count_nonzero(y > 0)
        return np.array([np.log(positive / (len(y) - positive))])


@dataclass(frozen=True)
class Squared(Loss):
    """l(m) = (m - y)^2 / 2 with real y."""

    name: ClassVar[str] = "squared"
    curvature_bound: ClassVar[float] = 1.0

    def encode(self, y: Array) -> tuple[Array, Array | None]:
        """Return y as float64; raises TypeError unless it is numeric, ValueError where a square overflows."""
        y = _numeric(y, self.name)
        if np.abs(y).max(initial=0.0) > LARGEST:
            row = int(np.argmax(np.abs(y)))
            raise ValueError(
                f"y[{row}] is {y[row]}: squares of numbers beyond {LARGEST:g} overflow, divide y by a power of ten"
            )
        return y, None

    def value(self, margins: Array, y: Array) -> Array:
        """Return (m - y)^2 / 2."""
        return 0.5 * (margins - y) ** 2

    def derivative(self, margins: Array, y: Array) -> Array:
        """Return m - y."""
        return margins - y

    def curvature(self, margins: Array, y: Array) -> Array:
        """Return 1."""
        return np.ones_like(margins)

    def root(self, margins: Array, d: Array) -> tuple[Array, Array]:
        """Return (1, d), (n, 1, 1) and (n, 1)."""
        return np.ones((len(margins), 1, 1)), d

    def conjugate(self, u: Array, y: Array) -> Array:
        """Return u^2 / 2 + u y."""
        return 0.5 * u**2 + u * y

    def null_margin(self, y: Array) -> Array:
        """Return the mean of y."""
        return np.array([y.mean()])


@dataclass(frozen=True)
class Multinomial(Loss):
    """l(m) = log sum_k exp(m_k) - m_y with y in {0, ..., K-1}, K classes in sorted order."""

    name: ClassVar[str] = "multinomial"
    curvature_bound: ClassVar[float] = 0.5

    def encode(self, y: Array) -> tuple[Array, Array | None]:
        """Return class indices (int64) and the classes; raises ValueError for fewer than two classes or a response."""
        classes, codes = _classes(y)
        if y.dtype.kind == "f" and np.any(y != np.floor(y)):
            row = int(np.argmax(y != np.floor(y)))
            raise ValueError(
                f"y[{row}]={y[row]} is not a class label: loss='multinomial' needs integers or names, "
                "use loss='squared' for a numeric response"
            )
        if len(classes) < 2:
            raise ValueError(f"y has {len(classes)} class, but loss='multinomial' needs at least two: check y")
        return codes.astype(np.int64), classes

    def outputs(self, classes: Array | None) -> int:
        """Return the number of classes."""
        assert classes is not None
        return len(classes)

    def _one_hot(self, y: Array, k: int) -> Array:
        return (y[:, None] == np.arange(k)).astype(np.float64)

    def value(self, margins: Array, y: Array) -> Array:
        """Return log sum_k exp(m_k) - m_y, computed as log sum_k exp(m_k - m_y)."""
        index = np.broadcast_to(y[:, None], (*margins.shape[:-1], 1))
        return np.asarray(logsumexp(margins - np.take_along_axis(margins, index, axis=-1), axis=-1))

    def derivative(self, margins: Array, y: Array) -> Array:
        """Return softmax(m) - e_y."""
        return softmax(margins, axis=-1) - self._one_hot(y, margins.shape[-1])

    def curvature(self, margins: Array, y: Array) -> Array:
        """Return diag(p) - p p^T with p = softmax(m); its rows sum to zero."""
        p = softmax(margins, axis=-1)
        return p[..., :, None] * (np.eye(p.shape[-1]) - p[..., None, :])

    def root(self, margins: Array, d: Array) -> tuple[Array, Array]:
        """Return (B, d p^-1/2), (n, K, K) and (n, K), B = diag(p)^1/2 - p^1/2 p^T; d sums to zero."""
        p = np.maximum(softmax(margins, axis=-1), np.finfo(float).tiny)
        half = np.sqrt(p)
        return half[:, :, None] * (np.eye(p.shape[-1]) - p[:, None, :]), d / half

    def conjugate(self, u: Array, y: Array) -> Array:
        """Return sum_k p_k log p_k with p = u + e_y in the simplex (its sum is tested up to 1e-12)."""
        p = u + self._one_hot(y, u.shape[-1])
        inside = (p >= 0).all(axis=-1) & (np.abs(u.sum(axis=-1)) <= 1e-12)
        p = np.maximum(p, 0.0)
        return np.where(inside, xlogy(p, p).sum(axis=-1), np.inf)

    def null_margin(self, y: Array) -> Array:
        """Return the log frequencies of the classes, centred to sum zero (they are unique up to a constant)."""
        log_frequency = np.log(np.bincount(y) / len(y))
        return log_frequency - log_frequency.mean()


LOSSES: dict[str, Loss] = {loss.name: loss for loss in (Logistic(), Squared(), Multinomial())}
