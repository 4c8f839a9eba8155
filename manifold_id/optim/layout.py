"""How the groups along one axis lie in a tensor's memory: (outer, groups, inner), whatever its strides."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from torch import Tensor


class Layout(NamedTuple):
    """A dense tensor read in the order of its memory is (outer, groups, inner); group i is [:, i, :]."""

    outer: int
    groups: int
    inner: int

    def view(self, x: Tensor) -> Tensor:
        """Return the (outer, groups, inner) view of a tensor that has this layout."""
        strides = (self.groups * self.inner, self.inner, 1)
        return x.as_strided((self.outer, self.groups, self.inner), strides, x.storage_offset())


def is_dense(x: Tensor) -> bool:
    """Return whether the entries fill one block of memory without gaps or overlaps, in any order of the axes."""
    return _is_dense(x.shape, x.stride())


def layout(x: Tensor, axis: int | None) -> Layout:
    """Return the layout of the slices of a dense `x` along `axis`; None = one group per entry."""
    return Layout(1, x.numel(), 1) if axis is None else _layout(x.shape, x.stride(), axis)


# Asked anew in every step, of the same few shapes.


@lru_cache(maxsize=4096)
def _is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for size, stride in sorted(zip(shape, strides, strict=True), key=lambda pair: (pair[1], pair[0])):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return math.prod(shape) > 0


@lru_cache(maxsize=4096)
def _layout(shape: tuple[int, ...], strides: tuple[int, ...], axis: int) -> Layout:
    groups, stride, size = shape[axis], strides[axis], math.prod(shape)
    if groups == 1:
        return Layout(1, 1, size)
    inner = math.prod(n for n, other in zip(shape, strides, strict=True) if n > 1 and other < stride)
    return Layout(size // (groups * inner), groups, inner)
