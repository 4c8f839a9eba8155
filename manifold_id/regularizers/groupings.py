"""Groupings: which numbers r_g a point consists of. Entries, and slices along an axis; see also blocks.py."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_torch_namespace

from manifold_id.regularizers.base import Array


def vector_norm(x: Array, axes: tuple[int, ...]) -> Array:
    """Return the Euclidean norm over `axes`, in x's dtype; positive iff any entry is nonzero.

    Single precision is summed in float64. Sums of float64 squares that leave the range of normal numbers are repeated
    on entries divided by the largest one; on an accelerator always, because asking would stall it.
    """
    xp = array_namespace(x)
    if x.dtype != xp.float64:
        if is_torch_namespace(xp):
            return xp.linalg.vector_norm(x, axis=axes, dtype=xp.float64).to(x.dtype)
        return xp.astype(xp.linalg.vector_norm(xp.astype(x, xp.float64), axis=axes), x.dtype)
    host = str(device(x)) == "cpu"
    norm = _plain_norm(x, axes)
    if host and bool(xp.all((norm > 1e-140) & (norm < math.inf))):
        return norm
    top = xp.max(xp.abs(x), axis=axes, keepdims=True)
    safe = (top > 0) & (top < math.inf)
    if host and bool(xp.all((norm > 1e-140) & (norm < math.inf) | ~safe.reshape(norm.shape))):
        return norm
    scale = xp.where(safe, top, xp.ones_like(top))
    return xp.where(safe.reshape(norm.shape), scale.reshape(norm.shape) * _plain_norm(x / scale, axes), norm)


def _plain_norm(x: Array, axes: tuple[int, ...]) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        return array_namespace(x).linalg.vector_norm(x, axis=axes)


class Grouping(ABC):
    """A partition of the entries of a point into groups; the last `event_ndim` axes are one point (None: all axes).

    Arrays with one number for each group have shape (*batch, groups). All sums are over fixed axes or padded gathers,
    hence deterministic on every device.
    """

    event_ndim: int | None
    metric = True  # whether the prox in a diagonal metric separates over the groups

    @abstractmethod
    def size(self, shape: tuple[int, ...]) -> int | np.ndarray:
        """Return the entries of each group for points of `shape`: one int where all are alike, else (groups,)."""

    @abstractmethod
    def labels(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the group of each flat coordinate (C order) of a point of `shape`, as (size,) int64."""

    @abstractmethod
    def reduce(self, function: Callable[[Array, tuple[int, ...]], Array], x: Array) -> Array:
        """Return function(entries, axes) for each group; `function` reduces `axes` and ignores zero entries."""

    @abstractmethod
    def _spread(self, a: Array, x: Array) -> Array:
        """Return (*batch, groups) numbers as an array that broadcasts against x."""

    def spread(self, a: Any, x: Array) -> Any:
        """Return (*batch, groups) or (*batch, 1) numbers as an array that broadcasts against x; a number stays one."""
        if getattr(a, "ndim", 0) == 0:
            return a
        if a.shape[-1] == 1:
            return a.reshape(*a.shape[:-1], *(1 for _ in self.event(x)))
        return self._spread(a, x)

    def point_axes(self, shape: tuple[int, ...]) -> int:
        """Return how many axes of an array of `shape` one point has; raises ValueError where there are fewer."""
        ndim = max(len(shape), 1) if self.event_ndim is None else self.event_ndim
        if len(shape) < ndim:
            raise ValueError(f"w has shape {tuple(shape)}, but a point has at least {ndim} axes")
        return ndim

    def event(self, x: Array) -> tuple[int, ...]:
        """Return the shape of one point of x; raises ValueError where x has too few axes."""
        shape = tuple(x.shape)
        return shape[len(shape) - self.point_axes(shape) :]

    def count(self, shape: tuple[int, ...]) -> int:
        """Return the number of groups of points of `shape`; raises ValueError where they do not fit."""
        size = self.size(shape)
        return math.prod(shape) // size if isinstance(size, int) and size else np.size(size)

    def norms(self, x: Array) -> Array:
        """Return the Euclidean norm of each group; positive iff any entry is nonzero."""
        return self.reduce(vector_norm, x)

    def sums(self, x: Array) -> Array:
        """Return the sum over each group."""
        xp = array_namespace(x)
        return self.reduce(lambda a, axes: xp.sum(a, axis=axes, dtype=a.dtype), x)

    def largest(self, x: Array) -> Array:
        """Return the largest entry of each group, for x >= 0."""
        xp = array_namespace(x)
        return self.reduce(lambda a, axes: xp.max(a, axis=axes), x)

    def active(self, x: Array) -> Array:
        """Return whether any entry of each group is nonzero: the one definition of an active group."""
        xp = array_namespace(x)
        return self.reduce(lambda a, axes: xp.any(a != 0, axis=axes), x)

    # What a penalty on the numbers r_g needs. Here r_g is the norm of the group and w_g = r_g times a unit vector.

    def numbers(self, w: Array) -> Array:
        """Return the numbers r_g that the penalty acts on."""
        return self.norms(w)

    def polar(self, w: Array) -> tuple[Array, Any]:
        """Return (numbers, frame): what `compose` needs to put other numbers in their place."""
        return self.numbers(w), w

    def compose(self, numbers: Array, old: Array, frame: Any) -> Array:
        """Return the point with `numbers` >= 0 in place of the `old` ones: exact zeros where a number is 0.

        A group whose old number is NaN or infinite becomes NaN as a whole.
        """
        xp = array_namespace(old)
        zero = old == 0
        factor = xp.where(zero, xp.zeros_like(old), numbers / xp.where(zero, xp.ones_like(old), old))
        return frame * self.spread(factor, frame)

    def split_gradient(self, w: Array, g: Array, derivative: Callable[[Array], Any]) -> tuple[Array, Array]:
        """Return (tangential, normal), each (*batch, groups).

        tangential = |g_g + derivative(r_g) w_g / r_g|, which counts where the group is active; normal = the number
        of -g_g, to be compared with the penalty's slope at zero where it is off.
        """
        xp = array_namespace(w, g)
        r = self.numbers(w)
        direction = w / self.spread(xp.where(r == 0, xp.ones_like(r), r), w)
        slope = derivative(r)
        return self.norms(g + direction * self.spread(slope, w)), self.numbers(-g)

    def dimension(self, active: Array, shape: tuple[int, ...] | None) -> Any:
        """Return the number of entries of the active groups; `shape` of a point is needed unless groups carry it."""
        if shape is None:
            shape = self._own_shape()
        xp = array_namespace(active)
        size = self.size(shape)
        sizes = size if isinstance(size, int) else xp.asarray(size, device=device(active))
        return xp.sum(xp.astype(active, xp.int64) * sizes, axis=-1)

    def _own_shape(self) -> tuple[int, ...]:
        raise ValueError("shape=None: the codes do not say how many entries a group has; pass shape=w.shape")

    def project(self, active: Array, v: Array, w: Array | None) -> Array:
        """Return v with zeros in the inactive groups."""
        xp = array_namespace(v)
        return xp.where(self.spread(active, v), v, xp.zeros_like(v))


@dataclass(frozen=True)
class Entries(Grouping):
    """Every entry is a group; r = |w|."""

    event_ndim: int | None = 1

    def size(self, shape: tuple[int, ...]) -> int:
        """Return 1."""
        return 1

    def labels(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return 0, 1, 2 ..."""
        return np.arange(math.prod(shape))

    def flatten(self, x: Array) -> Array:
        """Return x with the axes of a point as one."""
        event = self.event(x)
        return x if len(event) == 1 else x.reshape(*x.shape[: x.ndim - len(event)], math.prod(event))

    def reduce(self, function: Callable[[Array, tuple[int, ...]], Array], x: Array) -> Array:
        """Return function of each entry."""
        return function(self.flatten(x)[..., None], (-1,))

    def _spread(self, a: Array, x: Array) -> Array:
        """Return the numbers in the shape of x."""
        return array_namespace(x).broadcast_to(a, self.flatten(x).shape).reshape(x.shape)

    def norms(self, x: Array) -> Array:
        """Return |x|."""
        return self.flatten(array_namespace(x).abs(x))

    def active(self, x: Array) -> Array:
        """Return x != 0."""
        return self.flatten(x) != 0

    def compose(self, numbers: Array, old: Array, frame: Any) -> Array:
        """Return the numbers with the signs of `frame`."""
        return array_namespace(old).copysign(numbers.reshape(frame.shape), frame)

    def _own_shape(self) -> tuple[int, ...]:
        return ()


@dataclass(frozen=True)
class SignedEntries(Entries):
    """Every entry is a group; r = w with its sign, for penalties that treat the two signs differently."""

    def numbers(self, w: Array) -> Array:
        """Return w."""
        return self.flatten(w)

    def compose(self, numbers: Array, old: Array, frame: Any) -> Array:
        """Return the numbers themselves."""
        return numbers.reshape(frame.shape)

    def split_gradient(self, w: Array, g: Array, derivative: Callable[[Array], Any]) -> tuple[Array, Array]:
        """Return (|g + derivative(w)|, -g)."""
        flat = self.flatten(g)
        return array_namespace(g).abs(flat + derivative(self.flatten(w))), -flat


@dataclass(frozen=True)
class Slices(Grouping):
    """The slices of a point along `axis` (negative: from its end): slice g holds all entries with index g there."""

    axis: int
    event_ndim: int | None = None

    def _axis(self, shape: tuple[int, ...]) -> int:
        if not -len(shape) <= self.axis < len(shape):
            raise ValueError(
                f"axis={self.axis} is out of range for a tensor of shape {shape}: choose one of 0 to {len(shape) - 1}"
            )
        return self.axis % len(shape)

    def size(self, shape: tuple[int, ...]) -> int:
        """Return the entries of a slice."""
        axis = self._axis(shape)
        return math.prod(shape[:axis]) * math.prod(shape[axis + 1 :])

    def count(self, shape: tuple[int, ...]) -> int:
        """Return the length of the axis."""
        return shape[self._axis(shape)]

    def labels(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the index along the axis of every flat coordinate."""
        return np.indices(shape, dtype=np.int64)[self._axis(shape)].ravel()

    def reduce(self, function: Callable[[Array, tuple[int, ...]], Array], x: Array) -> Array:
        """Return function over all axes of a point but one."""
        event = self.event(x)
        axis, first = self._axis(event), x.ndim - len(event)
        others = tuple(first + i for i in range(len(event)) if i != axis)
        return function(x, others) if others else function(x[..., None], (-1,))

    def _spread(self, a: Array, x: Array) -> Array:
        """Return a view with length 1 along the other axes."""
        event = self.event(x)
        axis = self._axis(event)
        return a.reshape(*a.shape[:-1], *(a.shape[-1] if i == axis else 1 for i in range(len(event))))
