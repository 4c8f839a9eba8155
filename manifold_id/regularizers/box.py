"""The indicator of a box, of which the l-infinity ball is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real

Bound = float | tuple[float, ...]


def _bound(name: str, value: Any) -> Bound:
    """Return a bound as a float, or as a tuple with one float per coordinate; infinite ones are allowed."""
    if not isinstance(value, (Real, Sequence, np.ndarray)) or isinstance(value, (bool, str)):
        raise TypeError(f"{name}={value!r} must be a number or one number for each coordinate")
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: leave a coordinate free by an infinite bound")
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: give a number or one number for each coordinate")
    if np.isnan(array).any():
        raise ValueError(f"{name}={value!r} contains NaN: leave a coordinate free by an infinite bound")
    return tuple(array.tolist()) if array.ndim else float(array)


@dataclass(frozen=True, repr=False)
class Box(Regularizer):
    """psi(w) = 0 if lower <= w <= upper in every coordinate, else +inf; w has shape (*batch, n).

    Atoms are the coordinates, with code 0 at the lower bound, -1 at the upper one, 1 between. Bounds are compared in
    the dtype of w, into which prox rounds them. Where lower = upper the coordinate is fixed (code 0): its normal cone
    is the whole line, so that the residual is 0 and the margin +inf.

    Parameters
    ----------
    lower, upper
        A number, or one number for each coordinate; -inf and +inf leave a side open.

    Raises
    ------
    TypeError, ValueError
        For bounds that are not numbers, are NaN, differ in length, or leave nothing between them. All methods raise
        ValueError for a w whose last axis does not fit the bounds.
    """

    lower: Bound
    upper: Bound

    def __post_init__(self) -> None:
        lower, upper = _bound("lower", self.lower), _bound("upper", self.upper)
        low, high = np.asarray(lower), np.asarray(upper)
        if low.ndim and high.ndim and low.shape != high.shape:
            raise ValueError(f"lower has {low.size} entries and upper {high.size}: give one for each coordinate")
        if np.any((low > high) | (low == math.inf) | (high == -math.inf)):
            raise ValueError(f"lower={lower} and upper={upper}: lower <= upper must hold, with a number between them")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    def __repr__(self) -> str:
        lower, upper = (repr(b).replace("inf", "float('inf')") for b in (self.lower, self.upper))
        return f"Box(lower={lower}, upper={upper})"

    def _bounds(self, w: Array) -> tuple[Array, Array]:
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if isinstance(bound, tuple) and len(bound) != w.shape[-1]:
                raise ValueError(f"{name} has {len(bound)} entries, but points of w have {w.shape[-1]}")
        xp = array_namespace(w)
        low, high = (xp.asarray(b, dtype=w.dtype, device=device(w)) for b in (self.lower, self.upper))
        return low, high

    def value(self, w: Array) -> Array:
        """Return 0 inside and +inf outside, one number for each point of the batch."""
        xp = array_namespace(w)
        low, high = self._bounds(w)
        inside = xp.all((w >= low) & (w <= high), axis=-1)  # False for NaN
        return xp.where(inside, xp.zeros_like(w[..., 0]), xp.asarray(xp.inf, dtype=w.dtype, device=device(w)))

    def prox(self, w: Array, step: Array) -> Array:
        """Return the projection: w clipped to the bounds, whatever the step. Infinite entries go to the bound too."""
        xp = array_namespace(w)
        low, high = self._bounds(w)
        return xp.minimum(xp.maximum(w, low), high)

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return the projection in the metric d > 0, which is the same: coordinates do not interact."""
        return self.prox(w, step)

    def structure(self, w: Array) -> Array:
        """Return int8 codes (*batch, n): 0 at (or below) the lower bound, -1 at (or above) the upper one, else 1."""
        xp = array_namespace(w)
        low, high = self._bounds(w)
        return xp.where(w <= low, 0, xp.where(w >= high, -1, xp.ones_like(w, dtype=xp.int8)))

    def residual(self, w: Array, g: Array) -> Array:
        """Return max(-g, 0) at the lower bound, max(g, 0) at the upper, |g| between, +inf outside the box."""
        xp = array_namespace(w)
        low, high = self._bounds(w)
        codes = self.structure(w)
        one_sided = xp.where(codes == 1, xp.abs(g), xp.maximum(xp.where(codes == 0, -g, g), xp.zeros_like(g)))
        inside = xp.where(low == high, 0 * xp.abs(g), one_sided)  # 0, NaN where g is no number
        return xp.where((w >= low) & (w <= high), inside, xp.inf)

    def margin(self, w: Array, g: Array) -> Array:
        """Return g at the lower bound, -g at the upper, +inf between and where lower = upper."""
        xp = array_namespace(w)
        low, high = self._bounds(w)
        codes = self.structure(w)
        return xp.where((codes == 1) | (low == high), xp.inf, xp.where(codes == 0, g, -g))

    def atom_norms(self, w: Array) -> Array:
        """Return the distance to the nearer bound."""
        xp = array_namespace(w)
        low, high = self._bounds(w)
        below, above = w - low, high - w
        return xp.where(below < above, below, above)

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the number of coordinates off their bounds, for each point of the batch."""
        xp = array_namespace(codes)
        return xp.sum(codes > 0, axis=-1, dtype=xp.int64)

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return v with 0 in the coordinates at a bound."""
        xp = array_namespace(v)
        return xp.where(codes > 0, v, xp.zeros_like(v))


@dataclass(frozen=True)
class LInfBall(Box):
    """psi(w) = 0 if |w|_inf <= radius, else +inf: Box(-radius, radius), with radius >= 0."""

    lower: Bound = field(init=False, repr=False)
    upper: Bound = field(init=False, repr=False)
    radius: float

    def __post_init__(self) -> None:
        radius = real("radius", self.radius, 0)
        object.__setattr__(self, "radius", radius)
        object.__setattr__(self, "lower", -radius)
        object.__setattr__(self, "upper", radius)
