"""A regularizer applied to a tensor read in another shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

from array_api_compat import array_namespace

from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import integer


@dataclass(frozen=True)
class Reshaped(Regularizer):
    """psi(w) = sum over batch of regularizer(w.reshape(shape)); the atoms of the batch in one row.

    Grouped convolutions need it: the weight (out, in / g, ...) has an input channel for each pair (block, index),
    which is no axis of the tensor, but two of its shape (g, out / g, in / g, ...). NuclearNorm acts in this way on a
    convolution as a matrix: Reshaped(NuclearNorm(lam), shape=(out, in * height * width)).

    Raises
    ------
    TypeError, ValueError
        Unless `regularizer` is a Regularizer and shape a tuple of integers >= 1; by all methods, if w has another size.
    """

    regularizer: Regularizer
    shape: tuple[int, ...]
    event_ndim: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.regularizer, Regularizer):
            raise TypeError(f"regularizer={self.regularizer!r} must be a Regularizer such as GroupLasso(0.1, axis=1)")
        object.__setattr__(self, "shape", tuple(integer("shape", n, 1) for n in self.shape))
        if self.event_ndim is not None:
            raise ValueError(f"event_ndim={self.event_ndim}: the whole tensor is one point, leave it None")
        object.__setattr__(self, "convex", self.regularizer.convex)

    def _inner(self, w: Array) -> Array:
        if math.prod(w.shape) != math.prod(self.shape):
            raise ValueError(f"shape={self.shape} does not fit a tensor of shape {tuple(w.shape)}: the sizes differ")
        return array_namespace(w).reshape(w, self.shape)

    def _codes(self, codes: Array) -> Array:
        """Return flat codes as the inner regularizer wants them: (*batch, atoms)."""
        ndim = self.regularizer.event_ndim
        batch = () if ndim is None else self.shape[: len(self.shape) - ndim]
        return array_namespace(codes).reshape(codes, (*batch, -1))

    def value(self, w: Array) -> Array:
        """Return psi(w)."""
        return array_namespace(w).sum(self.regularizer.value(self._inner(w)))

    def prox(self, w: Array, step: Array) -> Array:
        """Return the prox, in w's shape."""
        return array_namespace(w).reshape(self.regularizer.prox(self._inner(w), step), tuple(w.shape))

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return the prox in the metric d, in w's shape."""
        inner = self.regularizer.prox_metric(self._inner(w), step, self._inner(d))
        return array_namespace(w).reshape(inner, tuple(w.shape))

    def structure(self, w: Array) -> Array:
        """Return the codes of all atoms, (atoms,)."""
        return self.regularizer.structure(self._inner(w)).reshape(-1)

    def residual(self, w: Array, g: Array) -> Array:
        """Return dist(-g, d psi(w)) for each atom."""
        return self.regularizer.residual(self._inner(w), self._inner(g)).reshape(-1)

    def margin(self, w: Array, g: Array) -> Array:
        """Return the margins of the atoms."""
        return self.regularizer.margin(self._inner(w), self._inner(g)).reshape(-1)

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the manifold's dimension; the inner shape is known."""
        ndim = len(self.shape) if self.regularizer.event_ndim is None else self.regularizer.event_ndim
        inner = self.regularizer.dimension(self._codes(codes), shape=self.shape[len(self.shape) - ndim :])
        return array_namespace(codes).sum(inner)

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return the projection onto the tangent space, in v's shape."""
        at = None if w is None else self._inner(w)
        inner = self.regularizer.tangent(self._codes(codes), self._inner(v), at)
        return array_namespace(v).reshape(inner, tuple(v.shape))

    def lambda_max(self, g: Array) -> float:
        """Return the inner lambda_max."""
        return self.regularizer.lambda_max(self._inner(g))

    def with_lam(self, lam: float) -> Self:
        """Return the same with strength lam."""
        return replace(self, regularizer=self.regularizer.with_lam(lam))
