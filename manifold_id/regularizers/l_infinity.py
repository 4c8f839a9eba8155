"""The l-infinity norm: entries held together at the largest magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from array_api_compat import array_namespace

from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class LInfNorm(Regularizer):
    """psi(w) = lam max_i |w_i| on vectors (*batch, n).

    Atoms are the entries: code 1 where |w_i| is below the largest magnitude (psi does not feel it), 0 where w_i is at
    it and positive, -1 where negative, -2 everywhere at w = 0. The manifold of a point other than 0 keeps the entries
    at the largest magnitude equal to it and moves it.

    At w != 0 the subdifferential holds u with u_i = 0 below, u_i sign(w_i) >= 0 of sum lam at the largest magnitude;
    at 0 it is the l1 ball of radius lam. residual: |-g_i - P_i|, P the projection of -g onto it. margin: +inf below;
    at the largest magnitude -g_i sign(w_i), and +inf where one entry alone is there; at 0 (lam - |g|_1) / sqrt(n).

    Raises
    ------
    TypeError, ValueError
        Unless lam is a finite number >= 0.

    References
    ----------
    N. Parikh, S. Boyd, "Proximal algorithms", Foundations and Trends in Optimization 1, 2014, section 6.5.2.
    """

    lam: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lam", real("lam", self.lam, 0))

    def value(self, w: Array) -> Array:
        """Return lam max |w_i|, one number for each point of the batch."""
        xp = array_namespace(w)
        return self.lam * xp.max(xp.abs(w), axis=-1)

    def prox(self, w: Array, step: Array) -> Array:
        """Return w cut at -c and c, with sum (|w| - c)_+ = step lam: w less its projection onto an l1 ball."""
        xp = array_namespace(w)
        radius = self.lam * (step[..., None] if getattr(step, "ndim", 0) else step)
        c = _threshold(xp.abs(w), radius)
        c = xp.where(c < 0, xp.zeros_like(c), c)
        cut = xp.where(w > c, c, xp.where(w < -c, -c, w))
        return xp.where(xp.isnan(xp.sum(w, axis=-1, keepdims=True)), xp.nan, cut)

    def _held(self, w: Array) -> Array:
        xp = array_namespace(w)
        size = xp.abs(w)
        return size == xp.max(size, axis=-1, keepdims=True)

    def structure(self, w: Array) -> Array:
        """Return int8 codes (*batch, n)."""
        xp = array_namespace(w)
        zero = xp.all(w == 0, axis=-1, keepdims=True)
        codes = xp.where(self._held(w), xp.where(w > 0, 0, -1), 1)
        return xp.astype(xp.where(zero, -2, codes), xp.int8)

    def residual(self, w: Array, g: Array) -> Array:
        """Return |-g_i - P_i|."""
        xp = array_namespace(w)
        zero = xp.all(w == 0, axis=-1, keepdims=True)
        held = self._held(w)
        s = -g * xp.sign(w)
        on = xp.where(held, s, -xp.inf)
        c = _threshold(on, self.lam)
        shifted = s - c
        projected = xp.where(held, xp.where(shifted < 0, xp.zeros_like(s), shifted), xp.zeros_like(s))
        size = xp.abs(g)
        ball = _threshold(size, self.lam)
        over = xp.where(ball > 0, xp.where(size < ball, size, ball + xp.zeros_like(size)), xp.zeros_like(size))
        return xp.where(zero, over, xp.abs(xp.where(held, s, g) - projected))

    def margin(self, w: Array, g: Array) -> Array:
        """Return the distance of -g to the relative boundary."""
        xp = array_namespace(w)
        zero = xp.all(w == 0, axis=-1, keepdims=True)
        held = self._held(w)
        alone = xp.sum(xp.astype(held, w.dtype), axis=-1, keepdims=True) == 1
        at_zero = (self.lam - xp.sum(xp.abs(g), axis=-1, keepdims=True)) / w.shape[-1] ** 0.5
        inside = xp.where(held & ~alone, -g * xp.sign(w), xp.inf)
        return xp.where(zero, at_zero + xp.zeros_like(g), inside)

    def atom_norms(self, w: Array) -> Array:
        """Return how far |w_i| is below the largest magnitude."""
        xp = array_namespace(w)
        return xp.max(xp.abs(w), axis=-1, keepdims=True) - xp.abs(w)

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the number of entries below the largest magnitude plus one, 0 at w = 0."""
        xp = array_namespace(codes)
        below = xp.sum(codes == 1, axis=-1, dtype=xp.int64)
        return xp.where(xp.any(codes == -2, axis=-1), 0, below + 1)

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return v where it is below; on the others its mean along their signs; 0 at w = 0."""
        xp = array_namespace(v)
        held, zero = codes <= 0, codes == -2
        sign = xp.astype(xp.where(codes == 0, 1, -1), v.dtype)
        count = xp.sum(xp.astype(held, v.dtype), axis=-1, keepdims=True)
        mean = xp.sum(xp.where(held, v * sign, xp.zeros_like(v)), axis=-1, keepdims=True) / xp.where(
            count > 0, count, 1.0
        )
        return xp.where(zero, xp.zeros_like(v), xp.where(held, mean * sign, v))

    def lambda_max(self, g: Array) -> float:
        """Return |g|_1."""
        xp = array_namespace(g)
        return float(xp.sum(xp.abs(g)))

    def with_lam(self, lam: float) -> Self:
        """Return the same with another strength."""
        return type(self)(lam)


def _threshold(x: Array, radius: Any) -> Array:
    """Return c, (*batch, 1), with sum (x - c)_+ = radius; negative where sum x_+ is less than that."""
    xp = array_namespace(x)
    ordered = xp.sort(x, axis=-1, descending=True)
    count = xp.cumulative_sum(xp.ones_like(ordered), axis=-1)
    finite = xp.isfinite(ordered)
    total = xp.cumulative_sum(xp.where(finite, ordered, xp.zeros_like(ordered)), axis=-1)
    c = (total - radius) / count
    last = xp.sum(finite & (ordered > c), axis=-1, keepdims=True, dtype=xp.int64) - 1
    last = xp.where(last < 0, 0, last)
    return xp.take_along_axis(c, last, axis=-1)
