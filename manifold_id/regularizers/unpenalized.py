"""No regularizer at all, and a regularizer that leaves some rows (an intercept) free."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from array_api_compat import array_namespace, device

from manifold_id.regularizers.base import Array, Regularizer, Separable
from manifold_id.validation import integer


@dataclass(frozen=True)
class Zero(Regularizer):
    """psi = 0 on points of `event_ndim` axes (None: the whole array is one point).

    The whole point is one atom with code 1, so that stationarity shows in its residual |g|_2; the margin is +inf.
    """

    event_ndim: int | None = 1

    def __post_init__(self) -> None:
        if self.event_ndim is not None:
            integer("event_ndim", self.event_ndim, 1)

    def _atom(self, w: Array, fill: float) -> Array:
        """Return (*batch, 1) of w's dtype."""
        batch = () if self.event_ndim is None else w.shape[: w.ndim - self.event_ndim]
        return array_namespace(w).full((*batch, 1), fill, dtype=w.dtype, device=device(w))

    def value(self, w: Array) -> Array:
        """Return 0, one number for each point of the batch."""
        return self._atom(w, 0.0)[..., 0]

    def prox(self, w: Array, step: Array) -> Array:
        """Return w."""
        return w

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return w."""
        return w

    def structure(self, w: Array) -> Array:
        """Return int8 codes (*batch, 1): 1."""
        xp = array_namespace(w)
        return xp.astype(self._atom(w, 1.0), xp.int8)

    def atom_norms(self, w: Array) -> Array:
        """Return +inf: there is no kink."""
        return self._atom(w, math.inf)

    def residual(self, w: Array, g: Array) -> Array:
        """Return |g|_2 as (*batch, 1)."""
        flat = g.reshape(*self._atom(g, 0.0).shape[:-1], -1)
        return array_namespace(g).linalg.vector_norm(flat, axis=-1, keepdims=True)

    def margin(self, w: Array, g: Array) -> Array:
        """Return +inf as (*batch, 1)."""
        return self._atom(g, math.inf)

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the number of entries of a point of `shape`; raises ValueError without it."""
        if shape is None:
            raise ValueError("shape=None: the codes do not say how many entries a point has; pass its shape")
        xp = array_namespace(codes)
        return xp.full(codes.shape[:-1], math.prod(shape), dtype=xp.int64, device=device(codes))

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return v."""
        return v

    def separable(self, shape: tuple[int, ...]) -> Separable:
        """Return one group with lam = 0."""
        labels = np.zeros(math.prod(shape), dtype=np.int64)
        return Separable("abs", (0.0, 0.0), labels, np.zeros(1), 0.0, "groups")


@dataclass(frozen=True)
class Unpenalized(Regularizer):
    """psi(w) = regularizer(w without its last `rows` rows): those are free, as an intercept is.

    Rows are counted along the first axis of a point, axis -event_ndim of the inner regularizer. Its atoms come first;
    then one atom for each free row: code 1, residual |g_row|_2, margin +inf. A certificate that asks for residual = 0
    thus covers the free rows.

    Raises
    ------
    TypeError, ValueError
        Unless `regularizer` is a Regularizer and rows an integer >= 1; by all methods, if w has no other rows.
    """

    regularizer: Regularizer
    rows: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.regularizer, Regularizer):
            raise TypeError(f"regularizer={self.regularizer!r} must be a Regularizer such as L1(0.1)")
        integer("rows", self.rows, 1)
        object.__setattr__(self, "event_ndim", self.regularizer.event_ndim)
        object.__setattr__(self, "convex", self.regularizer.convex)

    @property
    def atom_names(self) -> tuple[str, ...] | None:
        """The names of the inner atoms, then one for each free row."""
        inner = self.regularizer.atom_names
        free = ("intercept",) if self.rows == 1 else tuple(f"free row {k}" for k in range(self.rows))
        return None if inner is None else inner + free

    def _split(self, w: Array) -> tuple[Array, Array]:
        """Return the penalized rows and the free rows of w."""
        axis = w.ndim - (self.event_ndim or w.ndim)
        if w.shape[axis] <= self.rows:
            raise ValueError(f"rows={self.rows} of the {w.shape[axis]} rows of w are free: nothing is left to penalize")
        before = (slice(None),) * axis
        return w[(*before, slice(None, -self.rows))], w[(*before, slice(-self.rows, None))]

    def _join(self, penalized: Array, free: Array) -> Array:
        axis = free.ndim - (self.event_ndim or free.ndim)
        return array_namespace(free).concat([penalized, free], axis=axis)

    def _row_norms(self, free: Array) -> Array:
        """Return (*batch, rows): the norm of each free row."""
        axis = free.ndim - (self.event_ndim or free.ndim)
        return array_namespace(free).linalg.vector_norm(free.reshape(*free.shape[: axis + 1], -1), axis=-1)

    def value(self, w: Array) -> Array:
        """Return psi(w), one number for each point of the batch."""
        return self.regularizer.value(self._split(w)[0])

    def prox(self, w: Array, step: Array) -> Array:
        """Return the prox of the penalized rows; free rows are returned as they are."""
        penalized, free = self._split(w)
        return self._join(self.regularizer.prox(penalized, step), free)

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return the prox of the penalized rows in the metric d; free rows are returned as they are."""
        penalized, free = self._split(w)
        return self._join(self.regularizer.prox_metric(penalized, step, self._split(d)[0]), free)

    def atom_norms(self, w: Array) -> Array:
        """Return those of the penalized rows, then +inf for each free row."""
        penalized, free = self._split(w)
        inner = self.regularizer.atom_norms(penalized)
        norms = self._row_norms(free)
        return array_namespace(w).concat([inner, norms + math.inf], axis=-1)

    def structure(self, w: Array) -> Array:
        """Return the codes of the penalized rows, then 1 for each free row."""
        xp = array_namespace(w)
        penalized, free = self._split(w)
        ones = xp.ones_like(self._row_norms(free), dtype=xp.int8)
        return xp.concat([self.regularizer.structure(penalized), ones], axis=-1)

    def residual(self, w: Array, g: Array) -> Array:
        """Return the residuals of the penalized rows, then |g_row|_2 for each free row."""
        (penalized, _), (gradient, free) = self._split(w), self._split(g)
        inner = self.regularizer.residual(penalized, gradient)
        return array_namespace(g).concat([inner, self._row_norms(free)], axis=-1)

    def margin(self, w: Array, g: Array) -> Array:
        """Return the margins of the penalized rows, then +inf for each free row."""
        xp = array_namespace(g)
        (penalized, _), (gradient, free) = self._split(w), self._split(g)
        inner = self.regularizer.margin(penalized, gradient)
        return xp.concat([inner, xp.full_like(self._row_norms(free), math.inf)], axis=-1)

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the inner dimension plus the number of free entries; `shape` of a point is needed unless 1-D."""
        inner: Any = self.regularizer
        if shape is not None:
            penalized = (shape[0] - self.rows, *shape[1:])
            return inner.dimension(codes[..., : -self.rows], shape=penalized) + self.rows * math.prod(shape[1:])
        if self.event_ndim != 1:
            raise ValueError("shape=None: the codes do not say how many entries a free row has; pass that of a point")
        return inner.dimension(codes[..., : -self.rows]) + self.rows

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return the inner projection of the penalized rows; free rows are returned as they are."""
        penalized, free = self._split(v)
        at = None if w is None else self._split(w)[0]
        return self._join(self.regularizer.tangent(codes[..., : -self.rows], penalized, at), free)

    def separable(self, shape: tuple[int, ...]) -> Separable | None:
        """Return the inner form with one more group, of lam = 0, for each free row.

        None where the inner one is None, and where that form cannot leave a row free: an entrywise part or a ridge
        acts on all groups alike.
        """
        inner = self.regularizer.separable((shape[0] - self.rows, *shape[1:]))
        if inner is None or inner.l1 > 0 or inner.penalty == "elastic_net":
            return None
        row = math.prod(shape[1:])
        labels = len(inner.lam) + np.repeat(np.arange(self.rows), row)
        lam = np.concatenate([inner.lam, np.zeros(self.rows)])
        return inner._replace(labels=np.concatenate([inner.labels, labels]), lam=lam)

    def lambda_max(self, g: Array) -> float:
        """Return the inner lambda_max for the penalized rows of g."""
        return self.regularizer.lambda_max(self._split(g)[0])

    def with_lam(self, lam: float) -> Self:
        """Return the same free rows around the inner regularizer with strength lam."""
        return dataclasses.replace(self, regularizer=self.regularizer.with_lam(lam))
