"""The W-shaped regularizer that draws every coordinate to -1 or +1."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from array_api_compat import array_namespace, device

from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


@dataclass(frozen=True)
class Binary(Regularizer):
    """psi(w) = lam sum_j min(|w_j - 1|, |w_j + 1|) on w of shape (*batch, n): nonconvex, with kinks at -1 and +1.

    Atoms are the coordinates, with code 0 at -1, -1 at +1 and 1 elsewhere. The subdifferential is the limiting one:
    [-lam, lam] at -1 and +1, {-lam, lam} at the concave kink 0 (which no prox with step > 0 returns), else the slope.

    With s = sign(w_j), and s = 1 at 0 where both signs are equally good, prox is s + S(w_j - s, step lam) for the
    soft-threshold S: by symmetry a minimizer lies on the side of w_j, where psi is lam |x - s|.

    Raises
    ------
    TypeError, ValueError
        Unless lam is a finite number >= 0.

    References
    ----------
    Y. Bai, Y.-X. Wang, E. Liberty, "ProxQuant: quantized neural networks via proximal operators", ICLR 2019.
    """

    lam: float
    convex = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "lam", real("lam", self.lam, 0))

    def value(self, w: Array) -> Array:
        """Return psi(w), one number for each point of the batch."""
        xp = array_namespace(w)
        return self.lam * xp.sum(xp.abs(xp.abs(w) - 1), axis=-1)

    def prox(self, w: Array, step: Array) -> Array:
        """Return a minimizer of psi(x) + |x - w|^2 / (2 step). `step` >= 0 is a number, or one for each batch point."""
        xp = array_namespace(w)
        return self.prox_metric(w, step, xp.ones_like(w))

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return a minimizer of psi(x) + sum_j d_j (x_j - w_j)^2 / (2 step), for a metric d > 0 of w's shape."""
        xp = array_namespace(w)
        step = xp.asarray(step, dtype=w.dtype, device=device(w))[..., None]
        threshold = self.lam * step / d
        s = xp.where(w >= 0, xp.ones_like(w), -xp.ones_like(w))
        offset = w - s
        # Beyond the threshold w moves directly, so that step = 0 returns w to the last digit.
        return xp.where(xp.abs(offset) <= threshold, xp.where(threshold > 0, s, w), w - xp.sign(offset) * threshold)

    def structure(self, w: Array) -> Array:
        """Return int8 codes (*batch, n): 0 at -1, -1 at +1, else 1."""
        xp = array_namespace(w)
        return xp.where(w == -1, 0, xp.where(w == 1, -1, xp.ones_like(w, dtype=xp.int8)))

    def residual(self, w: Array, g: Array) -> Array:
        """Return max(|g| - lam, 0) at -1 and +1, ||g| - lam| at 0, |g + psi'(w)| elsewhere."""
        xp = array_namespace(w)
        size = xp.abs(w)
        slope = self.lam * xp.sign(w) * xp.sign(size - 1)
        excess = xp.abs(g) - self.lam
        at_vertex = xp.maximum(excess, xp.zeros_like(excess))
        return xp.where(size == 1, at_vertex, xp.where(size == 0, xp.abs(excess), xp.abs(g + slope)))

    def margin(self, w: Array, g: Array) -> Array:
        """Return lam - |g| at -1 and +1, +inf elsewhere."""
        xp = array_namespace(w)
        return xp.where(xp.abs(w) == 1, self.lam - xp.abs(g), xp.inf)

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the number of coordinates off -1 and +1, for each point of the batch."""
        xp = array_namespace(codes)
        return xp.sum(codes > 0, axis=-1, dtype=xp.int64)

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return v with 0 in the coordinates at -1 and +1."""
        xp = array_namespace(v)
        return xp.where(codes > 0, v, xp.zeros_like(v))

    def with_lam(self, lam: float) -> Self:
        """Return the same regularizer with another strength lam."""
        return dataclasses.replace(self, lam=lam)
