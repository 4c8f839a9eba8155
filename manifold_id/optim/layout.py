"""How the groups along one axis lie in a tensor's memory: (outer, groups, inner), whatever its strides."""

from __future__ import annotations

import math
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
    expected = 1
    for size, stride in sorted(zip(x.shape, x.stride(), strict=True), key=lambda pair: (pair[1], pair[0])):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return x.numel() > 0


def layout(x: Tensor, axis: int | None) -> Layout:
    """Return the layout of the slices of a dense `x` along `axis`; None = one group per entry."""
    if axis is None:
        return Layout(1, x.numel(), 1)
    groups, stride = x.shape[axis], x.stride(axis)
    if groups == 1:
        return Layout(1, 1, x.numel())
    inner = math.prod(size for size, other in zip(x.shape, x.stride(), strict=True) if size > 1 and other < stride)
    return Layout(x.numel() // (groups * inner), groups, inner)
