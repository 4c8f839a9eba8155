"""The labels of a reshaped tensor: axes merged, axes split."""

from __future__ import annotations

import numpy as np

from manifold_id.optim.flow.flow import Flow
from manifold_id.optim.flow.values import KEPT, Axis, Value


def reshaped(flow: Flow, x: Value, shape: tuple[int, ...]) -> Value:
    """Return x with another shape: runs of axes with equal products are merged and split among themselves."""
    axes: list[Axis] = []
    for run, sizes in _runs(x.shape, shape):
        own = [x.axes[i] for i in run if x.shape[i] > 1]
        if len(own) == 1 and sum(n > 1 for n in sizes) == 1:
            axes += [own[0] if n > 1 else KEPT for n in sizes]
            continue
        sources = frozenset().union(*(axis.sources for axis in own))
        ids = _merged(flow, [x.shape[i] for i in run if x.shape[i] > 1], [axis.ids for axis in own])
        axes += [Axis(part, sources) for part in _split(flow, ids, sizes)]
    return Value(shape, tuple(axes), x.live)


def _runs(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Return (axes of the old shape, sizes in the new one) of equal products, the shortest that there are."""
    found = []
    i = j = 0
    while i < len(old) or j < len(new):
        run, sizes = [], []
        a = b = 1
        if i < len(old):
            run, a, i = [i], old[i], i + 1
        if j < len(new):
            sizes, b, j = [new[j]], new[j], j + 1
        while a != b:
            if (a < b or j >= len(new)) and i < len(old):
                run, a, i = [*run, i], a * old[i], i + 1
            else:
                sizes, b, j = [*sizes, new[j]], b * new[j], j + 1
        found.append((run, sizes))
    return found


def _merged(flow: Flow, sizes: list[int], ids: list[np.ndarray | None]) -> np.ndarray | None:
    """Return the labels of axes flattened to one."""
    grids = np.indices(sizes).reshape(len(sizes), -1) if sizes else np.zeros((0, 1), int)
    parts = [own[grid] for own, grid in zip(ids, grids, strict=True) if own is not None]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else flow.labels.compose(parts)


def _split(flow: Flow, ids: np.ndarray | None, sizes: list[int]) -> list[np.ndarray | None]:
    """Return the labels of one axis cut into several."""
    wide = [n for n in sizes if n > 1]
    if ids is None or len(wide) < 2:
        return [ids if n > 1 else None for n in sizes]
    fresh = [flow.labels.fresh(n) for n in wide]
    grids = np.indices(wide).reshape(len(wide), -1)
    together = flow.labels.compose([own[grid] for own, grid in zip(fresh, grids, strict=True)])
    flow.labels.unite(ids, together, flow.why("a reshape that mixes what could be removed"))
    left = iter(fresh)
    return [next(left) if n > 1 else None for n in sizes]
