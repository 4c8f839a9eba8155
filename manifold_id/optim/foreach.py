"""The step over lists of tensors: few launches, the group lasso of all tensors at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from manifold_id.optim.layout import is_dense, layout
from manifold_id.optim.step import Slot, Step, keep_gaps, proximal, proximal_each
from manifold_id.regularizers import GroupLasso
from manifold_id.regularizers.base import Regularizer
from manifold_id.regularizers.groupings import Entries
from manifold_id.regularizers.product import Product

if TYPE_CHECKING:
    from manifold_id.optim.base import ProximalOptimizer

_NEWTON = 100  # about 6 are needed; the bound is for NaN
_PER_CHECK = 3  # Newton steps between two looks at the device


def group_weights(regularizer: GroupLasso, shape: Sequence[int]) -> list[float] | float:
    """Return lam * weight_g for the slices of a tensor: one number, or one for each."""
    assert regularizer.axis is not None
    if regularizer.weights is None:
        return float(regularizer.lam)
    if regularizer.weights == "sqrt_size":
        return float(regularizer.lam * (torch.Size(shape).numel() / shape[regularizer.axis]) ** 0.5)
    return [float(regularizer.lam * weight) for weight in regularizer.weights]


def is_sliced(regularizer: Regularizer | None, w: Tensor) -> bool:
    """Return whether the regularizer is the group lasso over the slices of the whole dense tensor."""
    return (
        type(regularizer) is GroupLasso
        and regularizer.axis is not None
        and -w.ndim <= regularizer.axis < w.ndim
        and (regularizer.event_ndim is None or regularizer.event_ndim == w.ndim)
        and is_dense(w)
    )


def run(optimizer: ProximalOptimizer, group: dict[str, Any], step: Step, slots: list[Slot]) -> None:
    """Compute one step for all slots."""
    ws, gs, states = [s.w for s in slots], [s.g for s in slots], [s.state for s in slots]
    ys, ds = optimizer._foreach_center(ws, gs, states, step.numbers)
    zs, active = _points_and_activity(
        group["regularizer"], list(ys), step.prox, None if ds is None else list(ds), group.get("joint")
    )
    keep_gaps(group["regularizer"], ys, ds, zs, step.prox, states)
    for i, mask in active.items():
        optimizer._active[id(states[i])] = [mask]
    for state, z in zip(states, zs, strict=True):
        optimizer._keep(state, z)
    if step.blend == 1:
        torch._foreach_copy_(ws, zs)
    else:
        torch._foreach_lerp_(ws, zs, step.blend)
    if step.flush:
        for w in ws:
            w.masked_fill_(w.abs() < torch.finfo(w.dtype).tiny, 0)


def proximal_points(
    regularizer: Regularizer | None,
    ys: list[Tensor],
    step: float,
    ds: list[Tensor] | None,
    joint: Sequence[int] | None = None,
) -> list[Tensor]:
    """Return the prox at fresh tensors ys in the metrics ds; those with groups along an axis are overwritten.

    `joint`: the axes of the slices of all tensors together, where the groups span them.
    """
    return _points_and_activity(regularizer, ys, step, ds, joint)[0]


def _points_and_activity(
    regularizer: Regularizer | None,
    ys: list[Tensor],
    step: float,
    ds: list[Tensor] | None,
    joint: Sequence[int] | None,
) -> tuple[list[Tensor], dict[int, Tensor]]:
    """Return the proximal points, and which groups of each are active where that is known."""
    if regularizer is None or step == 0:
        return ys, {}
    if joint is not None:
        if type(regularizer) is GroupLasso and regularizer.event_ndim in (None, 2) and all(is_dense(y) for y in ys):
            mask = _shrink_groups(regularizer, _Slices(ys, joint, together=True), ys, step, ds)
            return ys, dict.fromkeys(range(len(ys)), mask)
        return proximal_each(regularizer, ys, step, [None] * len(ys) if ds is None else ds, joint), {}
    zs, activity = list(ys), {}
    sliced = [i for i, y in enumerate(ys) if is_sliced(regularizer, y)]
    if sliced:
        assert isinstance(regularizer, GroupLasso)
        assert regularizer.axis is not None
        chosen = [ys[i] for i in sliced]
        slices = _Slices(chosen, [regularizer.axis] * len(sliced), together=False)
        mask = _shrink_groups(regularizer, slices, chosen, step, None if ds is None else [ds[i] for i in sliced])
        activity = dict(zip(sliced, mask.split(slices.counts), strict=True))
    for call in _calls(regularizer, ys, sorted(set(range(len(ys))) - set(sliced))):
        points = _one_call(regularizer, [ys[i] for i in call], step, None if ds is None else [ds[i] for i in call])
        for i, z in zip(call, points, strict=True):
            zs[i] = z
    return zs, activity


def _calls(regularizer: Regularizer, ys: list[Tensor], left: list[int]) -> list[list[int]]:
    """Return the places `left` in parts whose prox is one call: all for an entrywise regularizer, else equal points."""
    parts: dict[Any, list[int]] = {}
    for i in left:
        batch = () if _is_entrywise(regularizer) else ys[i].shape if regularizer.event_ndim == ys[i].ndim else i
        parts.setdefault(batch, []).append(i)
    return list(parts.values())


def _is_entrywise(regularizer: Regularizer) -> bool:
    built_in = type(regularizer).__module__.startswith("manifold_id.")  # a prox of a user's own may couple entries
    return (
        isinstance(regularizer, Product)
        and built_in
        and regularizer.weights in (None, "sqrt_size")
        and isinstance(regularizer.grouping, Entries)
    )


def _one_call(regularizer: Regularizer, ys: list[Tensor], step: float, ds: list[Tensor] | None) -> list[Tensor]:
    """Return the prox of each tensor by one call: of all entries in a row, or of a batch of equal shapes."""
    if len(ys) == 1:
        return [proximal(regularizer, ys[0], step, None if ds is None else ds[0])]
    if not _is_entrywise(regularizer):
        return list(proximal(regularizer, torch.stack(ys), step, None if ds is None else torch.stack(ds)))
    y, d = (None if xs is None else torch.cat([x.reshape(-1) for x in xs]) for xs in (ys, ds))
    assert y is not None
    parts = proximal(regularizer, y, step, d).split([x.numel() for x in ys])
    return [z.view(x.shape) for z, x in zip(parts, ys, strict=True)]


class _Slices:
    """The slices of a list of tensors: their sums as one vector, and one vector's entries spread over them.

    Groups are the slices of each tensor or, `together`, slice i of all tensors.
    """

    def __init__(self, tensors: list[Tensor], axes: Sequence[int], together: bool) -> None:
        self.layouts = [layout(t, axis) for t, axis in zip(tensors, axes, strict=True)]
        self.counts = [where.groups for where in self.layouts]
        self.together = together

    def weights(self, regularizer: GroupLasso, tensors: list[Tensor]) -> np.ndarray:
        """Return lam * weight_g of all groups."""
        if self.together:
            size = sum(t.numel() for t in tensors)
            return np.broadcast_to(group_weights(regularizer, (self.counts[0], size // self.counts[0])), self.counts[0])
        each = zip(tensors, self.counts, strict=True)
        return np.concatenate([np.broadcast_to(group_weights(regularizer, t.shape), count) for t, count in each])

    def views(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [where.view(t) for where, t in zip(self.layouts, tensors, strict=True)]

    def norms(self, views: Sequence[Tensor]) -> Tensor:
        parts = [torch.linalg.vector_norm(v, dim=(0, 2)) for v in views]  # reads once, and writes no squares
        return torch.linalg.vector_norm(torch.stack(parts), dim=0) if self.together else torch.cat(parts)

    def sums(self, views: Sequence[Tensor]) -> Tensor:
        parts = [v.sum((0, 2)) for v in views]
        return torch.stack(parts).sum(0) if self.together else torch.cat(parts)

    def spread(self, values: Tensor) -> list[Tensor]:
        parts = [values] * len(self.counts) if self.together else values.split(self.counts)
        return [part.view(-1, 1) for part in parts]


def _shrink_groups(
    regularizer: GroupLasso, slices: _Slices, ys: list[Tensor], step: float, ds: list[Tensor] | None
) -> Tensor:
    """Apply the prox of the group lasso in place to all tensors; return which of the groups are active."""
    y = slices.views(ys)
    lam = slices.weights(regularizer, ys)
    t = torch.from_numpy(lam * step).to(ys[0].dtype).to(ys[0].device, non_blocking=True)
    if ds is None:
        norms = slices.norms(y)
        active = ~(norms <= t) | (t == 0)  # NaN is active, here and below
        torch._foreach_mul_(y, slices.spread(torch.where(active, torch.where(t == 0, 1, 1 - t / norms), 0)))
        return active
    d = slices.views(_like(ds, ys))
    pull = torch._foreach_mul(y, d)
    active, theta = _start(slices, y, d, pull, t)
    limit = slices.spread(torch.where(active, t, 0))
    tolerance = torch.finfo(t.dtype).eps * 4
    moving = active & (t > 0)
    for k in range(_NEWTON):
        if k % _PER_CHECK == 0 and not bool(moving.any()):
            break
        bottom = torch._foreach_mul(d, slices.spread(theta))
        torch._foreach_add_(bottom, limit)
        p = torch._foreach_div(pull, bottom)
        torch._foreach_mul_(p, p)
        square = slices.sums(p)
        torch._foreach_mul_(p, d)
        torch._foreach_div_(p, bottom)
        newton = square * (square.sqrt() - 1) / slices.sums(p)
        theta = torch.where(moving, theta + newton, theta)
        moving = moving & (newton > tolerance * theta)
    top = torch._foreach_mul(d, slices.spread(theta))
    bottom = torch._foreach_add(top, limit)
    torch._foreach_mul_(y, torch._foreach_div(top, bottom))
    torch._foreach_mul_(y, slices.spread(active.to(t.dtype)))
    return active


def _start(
    slices: _Slices, y: list[Tensor], d: list[Tensor], pull: tuple[Tensor, ...], t: Tensor
) -> tuple[Tensor, Tensor]:
    """Return which groups are active, and a lower bound of each root theta: Newton's steps from 0 and from infinity."""
    squares = torch._foreach_mul(pull, pull)
    total = slices.sums(squares)
    torch._foreach_mul_(squares, d)
    weighted = slices.sums(squares)
    flat = torch._foreach_mul(y, y)
    plain = slices.sums(flat)
    torch._foreach_div_(flat, d)
    inverse = slices.sums(flat)
    norm = total.sqrt()
    active = ~(norm <= t) | (t == 0)
    bound = torch.maximum((norm - t) * total / weighted, plain.sqrt() - t * inverse / plain)
    return active, torch.where(active & (t > 0), bound, 1)


def _like(ds: list[Tensor], ys: list[Tensor]) -> list[Tensor]:
    """Return the metrics with the memory order of the centres."""
    return [d if d.stride() == y.stride() else torch.empty_like(y).copy_(d) for d, y in zip(ds, ys, strict=True)]
