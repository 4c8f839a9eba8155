"""Groups that span tensors, such as a filter with its bias and the batch normalization after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from manifold_id.regularizers.base import Regularizer

Along = int | tuple[int, tuple[int, ...]]  # an axis; or an axis and the group of each of its slices


def join(tensors: Sequence[Tensor], axes: Sequence[Along], fill: float = 0.0) -> Tensor:
    """Return the matrix (groups, entries) whose row i is slice i of every tensor along its axis; fresh memory.

    Where slices say their groups, row i holds all slices of group i, and `fill` behind them up to the longest row.
    """
    if _ragged(axes):
        places, _ = _places(tuple(tuple(x.shape) for x in tensors), tuple(axes), tensors[0].device)
        flat = torch.cat([*(x.reshape(-1) for x in tensors), tensors[0].new_full((1,), fill)])
        return flat[places]
    rows = []
    for x, axis in zip(tensors, axes, strict=True):
        assert isinstance(axis, int)
        rows.append(x.movedim(axis, 0).reshape(x.shape[axis], -1))
    return torch.cat(rows, dim=1)


def split(joined: Tensor, like: Sequence[Tensor], axes: Sequence[Along]) -> list[Tensor]:
    """Return the tensors of a joined matrix, with the shapes of `like`."""
    if _ragged(axes):
        _, back = _places(tuple(tuple(x.shape) for x in like), tuple(axes), joined.device)
        flat = joined.reshape(-1)[back].split([x.numel() for x in like])
        return [part.reshape(x.shape) for part, x in zip(flat, like, strict=True)]
    ends = accumulate((x.numel() // len(joined) for x in like), initial=0)
    parts = []
    for (a, b), x, axis in zip(pairwise(ends), like, axes, strict=True):
        assert isinstance(axis, int)
        slices = x.movedim(axis, 0).shape
        parts.append(joined[:, a:b].reshape(slices).movedim(0, axis))
    return parts


def groups_of(shape: Sequence[int], along: Along) -> int:
    """Return how many groups there are along an axis; the highest number + 1 where slices say their groups."""
    return shape[along] if isinstance(along, int) else max(along[1]) + 1


def row_sizes(shapes: Sequence[Sequence[int]], axes: Sequence[Along]) -> np.ndarray:
    """Return how many entries each group has."""
    sizes = np.zeros(max(groups_of(shape, along) for shape, along in zip(shapes, axes, strict=True)), dtype=int)
    for shape, along in zip(shapes, axes, strict=True):
        axis, groups = (along, range(shape[along])) if isinstance(along, int) else along
        np.add.at(sizes, np.asarray(groups), math.prod(shape) // shape[axis])
    return sizes


def _ragged(axes: Sequence[Along]) -> bool:
    return not all(isinstance(axis, int) for axis in axes)


@lru_cache(maxsize=256)
def _places(
    shapes: tuple[tuple[int, ...], ...], axes: tuple[Along, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return where each entry of the joined matrix lies in the flat tensors (one behind them: nowhere), and back."""
    groups = []
    for shape, along in zip(shapes, axes, strict=True):
        axis, own = (along, range(shape[along])) if isinstance(along, int) else along
        at = [1] * len(shape)
        at[axis] = -1
        groups.append(np.broadcast_to(np.asarray(own).reshape(at), shape).reshape(-1))
    group = np.concatenate(groups)
    sizes = np.bincount(group)
    order = np.argsort(group, kind="stable")
    place = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = np.full((len(sizes), sizes.max()), len(group))
    places[group[order], place] = order
    back = np.empty(len(group), dtype=np.int64)
    back[order] = group[order] * places.shape[1] + place
    return torch.from_numpy(places).to(device), torch.from_numpy(back).to(device)


class Part(NamedTuple):
    """What one regularizer acts on: a tensor, or the slices of several as the rows of one matrix."""

    name: str  # that of the first tensor
    tensors: tuple[Tensor, ...]
    joint: tuple[Along, ...] | None  # the axes of the slices; None: one tensor as it is
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
