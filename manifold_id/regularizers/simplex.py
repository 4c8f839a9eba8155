"""The indicator of a scaled probability simplex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, device

from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class Simplex(Regularizer):
    """psi(w) = 0 if w >= 0 and sum w = radius, else +inf; w has shape (*batch, n), radius > 0.

    Atoms are the coordinates, with code 1 where w is positive: manifolds are the open faces. The normal cone at w is
    {u: u_i = c where w_i > 0, u_i <= c elsewhere, c real}. residual and margin take for c the mean of -g over the
    support: the residual is |-g_i - c| on it and max(-g_i - c, 0) off it; the margin of a zero is c + g_i, the amount
    by which its own gradient may fall before the coordinate enters.

    Feasibility is tested up to the rounding of a sum: |sum w - radius| <= 4 n eps radius, eps of w's dtype. Outside,
    the value and all residuals are +inf.

    Raises
    ------
    TypeError, ValueError
        Unless radius is a finite number > 0.
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", real("radius", self.radius, 0, open_low=True))

    def _outside(self, w: Array) -> Array:
        xp = array_namespace(w)
        tolerance = 4 * w.shape[-1] * float(xp.finfo(w.dtype).eps) * self.radius
        inside = xp.all(w >= 0, axis=-1) & (xp.abs(xp.sum(w, axis=-1) - self.radius) <= tolerance)
        return ~inside  # NaN is outside

    def value(self, w: Array) -> Array:
        """Return 0 on the simplex and +inf outside, one number for each point of the batch."""
        xp = array_namespace(w)
        infinity = xp.asarray(xp.inf, dtype=w.dtype, device=device(w))
        return xp.where(self._outside(w), infinity, xp.zeros_like(w[..., 0]))

    def prox(self, w: Array, step: Array) -> Array:
        """Return the Euclidean projection, whatever the step; NaN at points with an entry NaN or +inf."""
        return self.prox_metric(w, step, array_namespace(w).ones_like(w))

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return the projection in the metric d > 0 of w's shape, whatever the step: x_i = max(w_i - c / d_i, 0).

        With the keys k_i = d_i w_i in descending order, the support is the longest prefix whose own threshold
        c = (sum w - radius) / sum(1 / d) lies below its last key.
        """
        xp = array_namespace(w)
        d = xp.broadcast_to(d, w.shape)
        keys = d * w
        keys = keys - xp.max(keys, axis=-1, keepdims=True)  # moves c alone, and keeps the digits of near-ties
        order = xp.argsort(keys, axis=-1, descending=True)
        key, inverse = (xp.take_along_axis(a, order, axis=-1) for a in (keys, 1 / d))
        threshold = xp.cumulative_sum(key * inverse, axis=-1) - self.radius
        threshold = threshold / xp.cumulative_sum(inverse, axis=-1)
        last = xp.sum(~(key <= threshold), axis=-1, keepdims=True, dtype=xp.int64) - 1  # >= 0 for NaN too
        x = (keys - xp.take_along_axis(threshold, last, axis=-1)) / d
        x = xp.maximum(x, xp.zeros_like(x))
        return x * (self.radius / xp.sum(x, axis=-1, keepdims=True))  # a correction of the rounding alone

    def structure(self, w: Array) -> Array:
        """Return int8 codes (*batch, n): 1 where w is positive."""
        xp = array_namespace(w)
        return xp.astype(w > 0, xp.int8)

    def _rise(self, w: Array, g: Array) -> Array:
        """Return g + c: how far each g_i lies above its mean over the support."""
        xp = array_namespace(w)
        support = w > 0
        count = xp.maximum(xp.sum(xp.astype(support, g.dtype), axis=-1, keepdims=True), xp.ones_like(g[..., :1]))
        return g - xp.sum(xp.where(support, g, xp.zeros_like(g)), axis=-1, keepdims=True) / count

    def residual(self, w: Array, g: Array) -> Array:
        """Return |-g_i - c| on the support, max(-g_i - c, 0) off it, +inf where w is not on the simplex."""
        xp = array_namespace(w)
        rise = self._rise(w, g)
        inside = xp.where(w > 0, xp.abs(rise), xp.maximum(-rise, xp.zeros_like(rise)))
        return xp.where(self._outside(w)[..., None], xp.inf, inside)

    def margin(self, w: Array, g: Array) -> Array:
        """Return c + g_i where w is 0, +inf on the support."""
        xp = array_namespace(w)
        return xp.where(w > 0, xp.inf, self._rise(w, g))

    def atom_norms(self, w: Array) -> Array:
        """Return w."""
        return w

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the dimension of the face, the size of the support less one, for each point of the batch."""
        xp = array_namespace(codes)
        return xp.sum(codes > 0, axis=-1, dtype=xp.int64) - 1

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return v less its mean on the support, and 0 off it."""
        xp = array_namespace(v)
        support = codes > 0
        held = xp.where(support, v, xp.zeros_like(v))
        count = xp.maximum(xp.sum(xp.astype(support, v.dtype), axis=-1, keepdims=True), xp.ones_like(v[..., :1]))
        return xp.where(support, v - xp.sum(held, axis=-1, keepdims=True) / count, held)
