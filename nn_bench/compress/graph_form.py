"""The traced graph without the removed units: smaller tensors, and other numbers where the code wrote sizes."""

from __future__ import annotations

import copy
import operator
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from manifold_id.optim.flow import Flow
from manifold_id.optim.flow.rules import name_of
from manifold_id.optim.flow.values import Value
from nn_bench.compress.removable import Removal, magnitude_of

_SIZED = (
    "view",
    "reshape",
    "_unsafe_view",
    "expand",
    "zeros",
    "ones",
    "full",
    "empty",
    "new_zeros",
    "new_ones",
    "new_full",
)


def kept_along(value: Value, removal: Removal) -> list[np.ndarray]:
    """Return for each axis of a value which indices stay."""
    return [removal.keeps(axis.ids, n) for axis, n in zip(value.axes, value.shape, strict=True)]


def cut(x: Tensor, keep: list[np.ndarray]) -> Tensor:
    """Return a tensor without the removed slices; itself where none are."""
    for axis, own in enumerate(keep):
        if not own.all():
            x = x.index_select(axis, torch.from_numpy(np.flatnonzero(own)).to(x.device))
    return x


@torch.no_grad()
def small_tensors(flow: Flow, removal: Removal) -> dict[str, Tensor]:
    """Return the changed parameters and buffers by name."""
    graph = flow.trace.graph
    found = {}
    for name, value in flow.tensors.items():
        old = _tensor(graph, name)
        new = old.detach()
        if name in removal.added:
            new = (new.double() + removal.added[name]).to(new.dtype)
        direction = next((v for v in flow.normed if magnitude_of(v) == name), None)
        if direction is not None:
            new = _rescaled(new, _tensor(graph, direction).detach(), kept_along(flow.tensors[direction], removal))
        new = cut(new, kept_along(value, removal))
        if new.shape != old.shape or not torch.equal(new, old):
            parameter = isinstance(old, nn.Parameter)
            found[name] = nn.Parameter(new.clone(), old.requires_grad) if parameter else new.clone()
    return found


def _rescaled(g: Tensor, v: Tensor, keep: list[np.ndarray]) -> Tensor:
    """Return the magnitude g of g v / |v| for the v without its removed slices: the entries that stay are the same."""
    along = [i for i in range(v.ndim) if g.shape[i] == 1]
    left = v.double()
    for axis in along:
        own = torch.from_numpy(keep[axis]).to(v.device)
        left = left * own.reshape([-1 if i == axis else 1 for i in range(v.ndim)])
    if torch.equal(left, v.double()):
        return g
    ratio = left.norm(dim=along, keepdim=True) / v.double().norm(dim=along, keepdim=True)
    return (g.double() * ratio).to(g.dtype)


def _tensor(module: nn.Module, name: str) -> Tensor:
    where, _, leaf = name.rpartition(".")
    found = getattr(module.get_submodule(where), leaf)
    assert isinstance(found, Tensor)
    return found


def graph_form(flow: Flow, removal: Removal, tensors: dict[str, Tensor]) -> fx.GraphModule:
    """Return the graph with the changed tensors in the place of the old ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch copies its own tree of arguments by an old name
        small = copy.deepcopy(flow.trace.graph)
    twins = dict(zip(flow.trace.graph.graph.nodes, small.graph.nodes, strict=True))
    for name, new in tensors.items():
        where, _, leaf = name.rpartition(".")
        setattr(small.get_submodule(where), leaf, new)
    for old, node in twins.items():
        if old.op == "call_function" and old in flow.values:
            _resize(flow, removal, old, node)
    small.graph.lint()
    small.recompile()
    return small


def _resize(flow: Flow, removal: Removal, old: fx.Node, node: fx.Node) -> None:
    """Rewrite the sizes in the arguments of one operation."""
    value, name = flow.values[old], name_of(old.target)
    values = value if isinstance(value, list) else [value]
    keep = [kept_along(v, removal) for v in values]
    if name in ("convolution", "group_norm"):
        place = 8 if name == "convolution" else 1
        whole, left = values[0].shape[1], int(keep[0][1].sum())
        groups = _argument(old, place)
        if groups > 1 and left < whole:
            _set(node, place, groups * left // whole)
        return
    read = next((flow.values[x] for x in old.all_input_nodes if x in flow.values), None)
    cuts = read is not None and not isinstance(read, list) and any(not k.all() for k in kept_along(read, removal))
    if not cuts and all(k.all() for each in keep for k in each):
        return
    if name in _SIZED:
        place = next(i for i, x in enumerate(old.args) if isinstance(x, (list, tuple)))
        sizes = _sizes(node, list(node.args[place]), values[0].shape, [int(k.sum()) for k in keep[0]])  # type: ignore
        _set(node, place, sizes)
    elif name in ("split", "split_with_sizes", "chunk"):
        assert read is not None
        dim = _argument(old, 2, 0) % len(read.shape)
        sizes = [int(each[dim].sum()) for each in keep]
        node.target = torch.ops.aten.split_with_sizes.default
        node.args, node.kwargs = (node.args[0], sizes, dim), {}
    elif name == "slice":
        assert read is not None
        dim = _argument(old, 1, 0) % len(read.shape)
        own = kept_along(read, removal)[dim]
        if not own.all():
            start, end, _ = slice(_argument(old, 2, None), _argument(old, 3, None)).indices(len(own))
            node.args, node.kwargs = (node.args[0], dim, int(own[:start].sum()), int(own[:end].sum())), {}
    elif name == "constant_pad_nd":
        assert read is not None
        pads = list(old.args[1])  # type: ignore[arg-type]
        for back in range(1, len(pads) // 2 + 1):
            own, (low, high) = keep[0][-back], pads[2 * back - 2 : 2 * back]
            before = kept_along(read, removal)[-back]
            if not (own.all() and before.all()):
                low = int(own[:low].sum()) if low > 0 else -int(before[: max(-low, 0)].sum())
                high = (
                    int(own[len(own) - high :].sum()) if high > 0 else -int(before[len(before) + min(high, 0) :].sum())
                )
                pads[2 * back - 2 : 2 * back] = low, high
        _set(node, 1, pads)


def _argument(node: fx.Node, place: int, default: Any = None) -> Any:
    if len(node.args) > place:
        return node.args[place]
    name = node.target._schema.arguments[place].name  # type: ignore[union-attr]
    return node.kwargs.get(name, default)


def _set(node: fx.Node, place: int, value: Any) -> None:
    args = list(node.args)
    args[place] = value
    node.args = tuple(args)


def _sizes(node: fx.Node, given: list[Any], old: tuple[int, ...], new: list[int]) -> list[Any]:
    """Return the sizes as written, those that changed replaced: numbers by numbers, expressions by scaled ones."""
    found = list(given)
    for i, (before, after) in enumerate(zip(old, new, strict=True)):
        if before == after or found[i] == -1:
            continue
        if isinstance(found[i], fx.Node):
            with node.graph.inserting_before(node):
                scaled = node.graph.call_function(operator.mul, (found[i], after))
                found[i] = node.graph.call_function(operator.floordiv, (scaled, before))
        else:
            found[i] = after
    return found
