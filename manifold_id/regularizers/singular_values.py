"""The grouping of a matrix into its singular values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from manifold_id.regularizers.base import Array
from manifold_id.regularizers.groupings import Grouping, vector_norm


@dataclass(frozen=True)
class SingularValues(Grouping):
    """The min(m, n) singular values of the m x n matrices in the last two axes, in decreasing order.

    A matrix rebuilt from its singular vectors has no exactly zero singular values. The rank is therefore the number
    of singular values above 10 max(m, n) eps times the largest, eps of the dtype, in all functions.
    """

    event_ndim: int | None = 2
    metric = False

    def size(self, shape: tuple[int, ...]) -> int:
        """Return 1: weights do not depend on sizes."""
        return 1

    def count(self, shape: tuple[int, ...]) -> int:
        """Return min(m, n)."""
        return min(shape)

    def labels(self, shape: tuple[int, ...]) -> np.ndarray:
        """Raise NotImplementedError: the singular values do not partition the coordinates."""
        raise NotImplementedError("singular values are not groups of coordinates")

    def reduce(self, function: Callable[[Array, tuple[int, ...]], Array], x: Array) -> Array:
        """Raise NotImplementedError: the singular values do not partition the entries."""
        raise NotImplementedError("singular values are not groups of entries")

    def _spread(self, a: Array, x: Array) -> Array:
        """Raise NotImplementedError: the singular values do not partition the entries."""
        raise NotImplementedError("singular values are not groups of entries")

    def _without_rounding(self, s: Array, shape: tuple[int, ...]) -> Array:
        """Return the singular values with exact zeros for those of rounding size; NaN stays NaN."""
        xp = array_namespace(s)
        eps = float(xp.finfo(s.dtype).eps)
        return xp.where(s <= 10 * max(shape) * eps * s[..., :1], xp.zeros_like(s), s)

    def numbers(self, w: Array) -> Array:
        """Return the singular values, those of rounding size as exact zeros."""
        self.event(w)
        x, missing = _finite(w)
        return self._without_rounding(array_namespace(w).linalg.svdvals(x) + missing[..., 0], self.event(w))

    def active(self, x: Array) -> Array:
        """Return whether each singular value is above rounding size: the first `rank` ones (all where NaN)."""
        return self.numbers(x) != 0

    def polar(self, w: Array) -> tuple[Array, Any]:
        """Return (singular values, (U, V^T))."""
        self.event(w)
        x, missing = _finite(w)
        u, s, vt = array_namespace(w).linalg.svd(x, full_matrices=False)
        return s + missing[..., 0], (u + missing, vt + missing)

    def compose(self, numbers: Array, old: Array, frame: Any) -> Array:
        """Return U diag(numbers) V^T, the numbers below rounding size replaced by zero."""
        u, vt = frame
        return (u * self._without_rounding(numbers, (u.shape[-2], vt.shape[-1]))[..., None, :]) @ vt

    def split_gradient(self, w: Array, g: Array, derivative: Callable[[Array], Any]) -> tuple[Array, Array]:
        """Return (tangential, normal), each (*batch, min(m, n)).

        The tangent part of g + U diag(derivative) V^T is shared out to the singular values by its rows in the basis of
        U and its columns in that of V, so that the squares add up to its squared Frobenius norm. The normal numbers
        of the off atoms are the singular values of g on the complements of U and V.
        """
        xp = array_namespace(w, g)
        s, (u, vt) = self.polar(w)
        r = self._without_rounding(s, self.event(w))
        active = r != 0
        u, vt = self._active_frames(u, vt, active)
        left, right = _transpose(u) @ g, g @ _transpose(vt)  # rows of U^T g, columns of g V
        core = left @ _transpose(vt)
        slope = xp.where(active, derivative(r), xp.zeros_like(r))
        core_residual = core + slope[..., None] * xp.eye(r.shape[-1], dtype=w.dtype, device=device(w))
        squares = (
            (vector_norm(core_residual, (-1,)) ** 2 + vector_norm(core_residual, (-2,)) ** 2) / 2
            + vector_norm(left - core @ vt, (-1,)) ** 2
            + vector_norm(right - u @ core, (-2,)) ** 2
        )
        rest, missing = _finite(g - u @ left - (right - u @ core) @ vt)
        normal = xp.linalg.svdvals(rest) + missing[..., 0]
        rank = xp.sum(xp.astype(active, xp.int64), axis=-1, keepdims=True)
        position = xp.cumulative_sum(xp.ones_like(xp.astype(active, xp.int64)), axis=-1) - 1 - rank
        index = xp.where(position < 0, xp.zeros_like(position), position)
        return xp.sqrt(squares), xp.take_along_axis(normal, index, axis=-1)

    def _active_frames(self, u: Array, vt: Array, active: Array) -> tuple[Array, Array]:
        """Return U and V^T with zeros in place of the inactive singular vectors."""
        xp = array_namespace(u)
        kept = xp.astype(active, u.dtype)
        return u * kept[..., None, :], vt * kept[..., :, None]

    def dimension(self, active: Array, shape: tuple[int, ...] | None) -> Any:
        """Return r (m + n - r) for rank r; raises ValueError without the `shape` (m, n) of a point."""
        if shape is None:
            raise ValueError("shape=None: the codes give min(m, n) only; pass shape=w.shape")
        xp = array_namespace(active)
        rank = xp.sum(xp.astype(active, xp.int64), axis=-1)
        return rank * (sum(shape) - rank)

    def project(self, active: Array, v: Array, w: Array | None) -> Array:
        """Return P_U v + v P_V - P_U v P_V with the leading singular spaces of w: {U A^T + B V^T}."""
        if w is None:
            raise ValueError("w=None: the manifold of fixed rank is curved; pass the point of tangency w")
        _, (u, vt) = self.polar(w)
        u, vt = self._active_frames(u, vt, active)
        left, right = u @ (_transpose(u) @ v), (v @ _transpose(vt)) @ vt
        return left + right - u @ (_transpose(u) @ right)


def _finite(x: Array) -> tuple[Array, Array]:
    """Return (x, 0) for finite matrices, (0, NaN) for others, the second as (*batch, 1, 1).

    The decomposition of a matrix that is not finite may fail, never end or, in torch, be one of zeros. No value is
    read, which would stall an accelerator.
    """
    xp = array_namespace(x)
    fine = xp.all(xp.isfinite(x), axis=(-2, -1), keepdims=True)
    missing = xp.where(fine, xp.zeros_like(x[..., :1, :1]), math.nan)
    return xp.where(fine, x, xp.zeros_like(x)), missing


def _transpose(x: Array) -> Array:
    return array_namespace(x).matrix_transpose(x)
