"""A small calculus: new regularizers from those at hand, each with prox, structure, residual and margin.

    Tilted(psi, a)     psi(w) + <a, w>        Translated(psi, b)                           psi(w - b)
    Scaled(psi, c)     c psi(w)               Blocks([(psi_1, n_1), (psi_2, n_2), ...])    psi_1(w_1) + psi_2(w_2) + ...

as in ProximalOperators.jl (Stella, Antonello and Faelt). `conjugate_prox` is the prox of psi^* by Moreau's identity.
Points are vectors (*batch, n); arrays of parameters have n entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.regularizers.total_variation import TotalVariation
from manifold_id.validation import integer, real


def conjugate_prox(psi: Regularizer, w: Array, step: Any) -> Array:
    """Return argmin_u psi^*(u) + |u - w|^2 / (2 step) = w - step prox_{psi / step}(w / step), for a convex psi.

    `step` > 0 is a number. For l1 that is the projection onto the box of radius lam.

    Raises
    ------
    ValueError
        If psi is not convex, or step not > 0.
    """
    if not psi.convex:
        raise ValueError(f"psi={psi!r} is not convex: Moreau's identity does not hold")
    step = real("step", step, 0, open_low=True)
    return w - step * psi.prox(w / step, 1.0 / step)


@dataclass(frozen=True)
class _Changed(Regularizer):
    """What the changes of one psi share: atoms, dimension and tangent space are psi's."""

    psi: Regularizer

    def __post_init__(self) -> None:
        if not isinstance(self.psi, Regularizer):
            raise TypeError(f"psi={self.psi!r} must be a Regularizer such as L1(0.1)")

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """Whether psi is."""
        return self.psi.convex

    @property
    def event_ndim(self) -> int | None:  # type: ignore[override]
        """The axes of one point of psi."""
        return self.psi.event_ndim

    @property
    def atom_names(self) -> tuple[str, ...] | None:
        """Those of psi."""
        return self.psi.atom_names

    def atom_norms(self, w: Array) -> Array:
        """Return psi's."""
        return self.psi.atom_norms(w)

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return psi's."""
        return self.psi.dimension(codes, shape)


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be a vector of finite numbers, one for each coordinate, not {values!r}")
    return tuple(array.tolist())


def _like(values: tuple[float, ...], w: Array) -> Array:
    if w.shape[-1] != len(values):
        raise ValueError(f"w has shape {tuple(w.shape)}, but its last axis must have {len(values)} entries")
    return array_namespace(w).asarray(values, dtype=w.dtype, device=device(w))


def _steps(step: Any) -> Any:
    """Return a step, or one for each batch point, against points (*batch, n)."""
    return step[..., None] if getattr(step, "ndim", 0) else step


@dataclass(frozen=True)
class Tilted(_Changed):
    """psi(w) + <a, w>: a gradient a that every point has besides. `slope` = a, a vector."""

    slope: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "slope", _numbers("slope", self.slope))

    def value(self, w: Array) -> Array:
        """Return psi(w) + <a, w>."""
        return self.psi.value(w) + (w * _like(self.slope, w)).sum(-1)

    def prox(self, w: Array, step: Array) -> Array:
        """Return psi's at w - step a."""
        return self.psi.prox(w - _steps(step) * _like(self.slope, w), step)

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return psi's at w - step a / d."""
        return self.psi.prox_metric(w - _steps(step) * _like(self.slope, w) / d, step, d)

    def structure(self, w: Array) -> Array:
        """Return psi's."""
        return self.psi.structure(w)

    def residual(self, w: Array, g: Array) -> Array:
        """Return psi's at the gradient g + a."""
        return self.psi.residual(w, g + _like(self.slope, w))

    def margin(self, w: Array, g: Array) -> Array:
        """Return psi's at the gradient g + a."""
        return self.psi.margin(w, g + _like(self.slope, w))

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return psi's."""
        return self.psi.tangent(codes, v, w)


@dataclass(frozen=True)
class Translated(_Changed):
    """psi(w - b): structure around another point than 0, such as a network trained before. `shift` = b, a vector.

    Raises TypeError for a total variation: entries that are equal in w - b are not, in floating point, in w.
    """

    shift: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.psi, TotalVariation):
            raise TypeError(f"psi={self.psi!r}: entries that are equal in w - b are not in w, up to rounding; use l1")
        object.__setattr__(self, "shift", _numbers("shift", self.shift))

    def _moved(self, w: Array) -> Array:
        return w - _like(self.shift, w)

    def value(self, w: Array) -> Array:
        """Return psi(w - b)."""
        return self.psi.value(self._moved(w))

    def prox(self, w: Array, step: Array) -> Array:
        """Return b + psi's at w - b."""
        return _like(self.shift, w) + self.psi.prox(self._moved(w), step)

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return b + psi's at w - b."""
        return _like(self.shift, w) + self.psi.prox_metric(self._moved(w), step, d)

    def atom_norms(self, w: Array) -> Array:
        """Return psi's at w - b."""
        return self.psi.atom_norms(self._moved(w))

    def structure(self, w: Array) -> Array:
        """Return psi's at w - b, which is exactly 0 where w is b."""
        return self.psi.structure(self._moved(w))

    def residual(self, w: Array, g: Array) -> Array:
        """Return psi's at w - b."""
        return self.psi.residual(self._moved(w), g)

    def margin(self, w: Array, g: Array) -> Array:
        """Return psi's at w - b."""
        return self.psi.margin(self._moved(w), g)

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return psi's at w - b."""
        return self.psi.tangent(codes, v, None if w is None else self._moved(w))


@dataclass(frozen=True)
class Scaled(_Changed):
    """c psi(w), c = `factor` > 0: a strength for a psi that has none."""

    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "factor", real("factor", self.factor, 0, open_low=True))

    def value(self, w: Array) -> Array:
        """Return c psi(w)."""
        return self.factor * self.psi.value(w)

    def prox(self, w: Array, step: Array) -> Array:
        """Return psi's with the step c step."""
        return self.psi.prox(w, self.factor * step)

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return psi's with the step c step."""
        return self.psi.prox_metric(w, self.factor * step, d)

    def structure(self, w: Array) -> Array:
        """Return psi's."""
        return self.psi.structure(w)

    def residual(self, w: Array, g: Array) -> Array:
        """Return c times psi's at g / c."""
        return self.factor * self.psi.residual(w, g / self.factor)

    def margin(self, w: Array, g: Array) -> Array:
        """Return c times psi's at g / c."""
        return self.factor * self.psi.margin(w, g / self.factor)

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return psi's."""
        return self.psi.tangent(codes, v, w)


@dataclass(frozen=True)
class Blocks(Regularizer):
    """The separable sum psi_1(w_1) + psi_2(w_2) + ... over consecutive blocks of a vector, (*batch, n).

    Parameters
    ----------
    parts
        (psi, entries) for each block. Atoms are those of the blocks, one after the other.

    Raises
    ------
    TypeError, ValueError
        For parts that are no pairs of a Regularizer of vectors and a number >= 1; by the methods, for a w of another
        length.
    """

    parts: tuple[tuple[Regularizer, int], ...]

    def __post_init__(self) -> None:
        try:
            parts = tuple((psi, integer("entries", size, 1)) for psi, size in self.parts)
        except TypeError as error:
            raise TypeError(f"parts={self.parts!r} must be pairs (Regularizer, entries): {error}") from None
        if not parts:
            raise ValueError("parts is empty: give at least one pair (Regularizer, entries)")
        for psi, _ in parts:
            if not isinstance(psi, Regularizer) or psi.event_ndim != 1:
                raise TypeError(f"parts: {psi!r} must be a Regularizer of vectors (event_ndim=1)")
        object.__setattr__(self, "parts", parts)

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """Whether all are."""
        return all(psi.convex for psi, _ in self.parts)

    def _split(self, *arrays: Array) -> list[list[Array]]:
        """Return for each block its part of each array."""
        ends = np.cumsum([size for _, size in self.parts]).tolist()
        for a in arrays:
            if a.shape[-1] != ends[-1]:
                raise ValueError(f"w has shape {tuple(a.shape)}, but its last axis must have {ends[-1]} entries")
        starts = [0, *ends[:-1]]
        return [[a[..., i:j] for a in arrays] for i, j in zip(starts, ends, strict=True)]

    def _codes(self, codes: Array) -> list[Array]:
        found, at = [], 0
        for psi, size in self.parts:
            count = psi.structure(np.zeros(size)).shape[-1]
            found.append(codes[..., at : at + count])
            at += count
        return found

    def _joined(self, parts: Sequence[Array]) -> Array:
        return array_namespace(*parts).concat(list(parts), axis=-1)

    def value(self, w: Array) -> Array:
        """Return the sum."""
        values = [psi.value(x) for (psi, _), (x,) in zip(self.parts, self._split(w), strict=True)]
        return sum(values[1:], values[0])

    def prox(self, w: Array, step: Array) -> Array:
        """Return each block's."""
        return self._joined([psi.prox(x, step) for (psi, _), (x,) in zip(self.parts, self._split(w), strict=True)])

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return each block's."""
        pairs = zip(self.parts, self._split(w, d), strict=True)
        return self._joined([psi.prox_metric(x, step, m) for (psi, _), (x, m) in pairs])

    def structure(self, w: Array) -> Array:
        """Return the blocks' codes."""
        return self._joined([psi.structure(x) for (psi, _), (x,) in zip(self.parts, self._split(w), strict=True)])

    def atom_norms(self, w: Array) -> Array:
        """Return the blocks' numbers."""
        return self._joined([psi.atom_norms(x) for (psi, _), (x,) in zip(self.parts, self._split(w), strict=True)])

    def residual(self, w: Array, g: Array) -> Array:
        """Return the blocks' residuals."""
        pairs = zip(self.parts, self._split(w, g), strict=True)
        return self._joined([psi.residual(x, h) for (psi, _), (x, h) in pairs])

    def margin(self, w: Array, g: Array) -> Array:
        """Return the blocks' margins."""
        pairs = zip(self.parts, self._split(w, g), strict=True)
        return self._joined([psi.margin(x, h) for (psi, _), (x, h) in pairs])

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the sum of the blocks' dimensions."""
        pairs = zip(self.parts, self._codes(codes), strict=True)
        found = [psi.dimension(c, (size,)) for (psi, size), c in pairs]
        return sum(found[1:], found[0])

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return the blocks' projections."""
        points = self._split(v) if w is None else self._split(v, w)
        triples = zip(self.parts, self._codes(codes), points, strict=True)
        return self._joined([psi.tangent(c, *part) for (psi, _), c, part in triples])
