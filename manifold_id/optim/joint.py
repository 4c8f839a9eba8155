"""Groups that span tensors, such as a filter with its bias and the batch normalization after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from manifold_id.regularizers.base import Regularizer


def join(tensors: Sequence[Tensor], axes: Sequence[int]) -> Tensor:
    """Return the matrix (groups, entries) whose row i is slice i of every tensor along its axis; fresh memory."""
    rows = [x.movedim(axis, 0).reshape(x.shape[axis], -1) for x, axis in zip(tensors, axes, strict=True)]
    return torch.cat(rows, dim=1)


def split(joined: Tensor, like: Sequence[Tensor], axes: Sequence[int]) -> list[Tensor]:
    """Return the tensors of a joined matrix, with the shapes of `like`."""
    ends = accumulate((x.numel() // len(joined) for x in like), initial=0)
    parts = []
    for (a, b), x, axis in zip(pairwise(ends), like, axes, strict=True):
        slices = x.movedim(axis, 0).shape
        parts.append(joined[:, a:b].reshape(slices).movedim(0, axis))
    return parts


class Part(NamedTuple):
    """What one regularizer acts on: a tensor, or the slices of several as the rows of one matrix."""

    name: str  # that of the first tensor
    tensors: tuple[Tensor, ...]
    joint: tuple[int, ...] | None  # the axes of the slices; None: one tensor as it is
    regularizer: Regularizer

    def point(self, of: Callable[[Tensor], Tensor] = Tensor.detach) -> Tensor:
        """Return of(tensor), joined where there are several."""
        points = [of(p) for p in self.tensors]
        return points[0] if self.joint is None else join(points, self.joint)


def parts(param_groups: Iterable[dict[str, Any]]) -> Iterator[Part]:
    """Yield the parts of all groups with a regularizer; names are those of named parameters, else "group.place".

    Raises
    ------
    TypeError
        If a group's `regularizer` is something else than a Regularizer or None.
    """
    for number, group in enumerate(param_groups):
        regularizer = group.get("regularizer")
        if regularizer is None:
            continue
        if not isinstance(regularizer, Regularizer):
            raise TypeError(
                f"param group {number} has regularizer={regularizer!r}: give a Regularizer such as L1(1e-3)"
            )
        params = group["params"]
        names = group.get("param_names") or [f"{number}.{place}" for place in range(len(params))]
        if group.get("joint") is not None:
            yield Part(names[0], tuple(params), tuple(group["joint"]), regularizer)
        else:
            for name, p in zip(names, params, strict=True):
                yield Part(name, (p,), None, regularizer)
