"""The grouping of features by labels: equal contiguous blocks, or any partition."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_torch_namespace

from manifold_id.regularizers.base import Array
from manifold_id.regularizers.groupings import Grouping


@dataclass(frozen=True)
class Blocks(Grouping):
    """Groups of features, axis -event_ndim of a point; a group holds all entries of its features.

    `groups` is an int, the size of equal contiguous blocks, or one label 0 ... G-1 for each feature.
    """

    groups: int | tuple[int, ...]
    event_ndim: int | None = 1

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.bincount(np.asarray(self.groups))

    @cached_property
    def _block(self) -> int:
        """The size of equal contiguous blocks, 0 for other groups."""
        if isinstance(self.groups, int):
            return self.groups
        sizes = self._sizes
        contiguous = np.array_equal(np.asarray(self.groups), np.repeat(np.arange(len(sizes)), sizes))
        return int(sizes[0]) if contiguous and np.all(sizes == sizes[0]) else 0

    def _features(self, shape: tuple[int, ...]) -> int:
        """Return the number of features of a point; raises ValueError where the groups do not fit."""
        if isinstance(self.groups, int):
            if shape[0] % self.groups:
                raise ValueError(
                    f"groups={self.groups} does not divide the {shape[0]} features of a point of shape {shape}: "
                    "give a divisor, or one label for each feature"
                )
        elif len(self.groups) != shape[0]:
            raise ValueError(
                f"groups has {len(self.groups)} labels, but a point of shape {shape} has {shape[0]} features: "
                "give one label for each feature"
            )
        return shape[0]

    def size(self, shape: tuple[int, ...]) -> int | np.ndarray:
        """Return the entries of each group."""
        self._features(shape)
        rest = math.prod(shape[1:])
        return self._block * rest if self._block else self._sizes * rest

    def labels(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the group of the feature of every flat coordinate."""
        features = self._features(shape)
        block = self.groups if isinstance(self.groups, int) else 0
        labels = np.arange(features) // block if block else np.asarray(self.groups, dtype=np.int64)
        return np.repeat(labels, math.prod(shape[1:]))

    def _rows(self, x: Array) -> Array:
        """Return x as (*batch, features, rest)."""
        event = self.event(x)
        self._features(event)
        return x.reshape(*x.shape[: x.ndim - len(event)], event[0], math.prod(event[1:]))

    def reduce(self, function: Callable[[Array, tuple[int, ...]], Array], x: Array) -> Array:
        """Return function over equal blocks (a view), or over groups gathered in a padded table of similar sizes."""
        xp, rows = array_namespace(x), self._rows(x)
        if self._block:
            return function(rows.reshape(*rows.shape[:-2], -1, self._block * rows.shape[-1]), (-1,))
        tables, position, _ = self._plan(x)
        parts = []
        for index, valid in tables:
            entries = xp.take(rows, index.reshape(-1), axis=-2)
            entries = entries.reshape(*rows.shape[:-2], *index.shape, rows.shape[-1])
            if valid is not None:
                entries = xp.where(valid, entries, xp.zeros_like(entries))
            parts.append(function(entries, (-2, -1)))
        return xp.take(xp.concat(parts, axis=-1), position, axis=-1) if len(parts) > 1 else parts[0]

    def _spread(self, a: Array, x: Array) -> Array:
        """Return the number of each feature's group, with length 1 along the other axes."""
        xp, event = array_namespace(x), self.event(x)
        if self._block:
            repeated = xp.broadcast_to(a[..., None], (*a.shape, self._block)).reshape(*a.shape[:-1], event[0])
        else:
            repeated = xp.take(a, self._plan(x)[2], axis=-1)
        return repeated.reshape(*repeated.shape, *(1 for _ in event[1:]))

    def _plan(self, x: Array) -> tuple[list[tuple[Array, Array | None]], Array, Array]:
        """Return (tables, position, labels) on x's device.

        Each table (groups, width) lists the features of groups whose sizes lie within a factor of 2, so that padding
        at most doubles the work; `position` finds each group in the concatenated results.
        """
        xp, key = array_namespace(x), str(device(x))
        if is_torch_namespace(xp):
            key = f"torch {key}"
        if key not in self._plans:
            order, sizes = np.argsort(np.asarray(self.groups), kind="stable"), self._sizes
            starts = np.cumsum(sizes) - sizes
            width_class = np.zeros(1, int) if np.all(sizes == sizes[0]) else np.ceil(np.log2(sizes)).astype(int)
            width_class = np.broadcast_to(width_class, sizes.shape)
            tables, found = [], []
            for kind in np.unique(width_class):
                members = np.flatnonzero(width_class == kind)
                column = np.arange(sizes[members].max())
                valid = column < sizes[members, None]
                index = order[starts[members, None] + np.where(valid, column, 0)]
                mask = None if valid.all() else xp.asarray(valid[:, :, None], device=device(x))
                tables.append((xp.asarray(index, device=device(x)), mask))
                found.append(members)
            position = xp.asarray(np.argsort(np.concatenate(found)), device=device(x))
            self._plans[key] = tables, position, xp.asarray(np.asarray(self.groups), device=device(x))
        return self._plans[key]

    @cached_property
    def _plans(self) -> dict[str, Any]:
        return {}

    def _own_shape(self) -> tuple[int, ...]:
        if self.event_ndim != 1:
            return super()._own_shape()
        return (self.groups if isinstance(self.groups, int) else len(self.groups),)
