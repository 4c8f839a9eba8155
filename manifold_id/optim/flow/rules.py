"""What each operation does to the labels of its inputs. An operation without a rule keeps all it touches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from manifold_id.optim.flow.flow import Flow
from manifold_id.optim.flow.reshape import reshaped
from manifold_id.optim.flow.values import KEPT, Axis, Value

Given = dict[str, Any]
Shape = tuple[int, ...]
Rule = Callable[[Flow, Given, list[Shape]], Any]
RULES: dict[str, Rule] = {}
# Entrywise, though not tagged so.
ENTRYWISE = ("_to_copy", "lift_fresh_copy", "alias", "copy", "_prelu_kernel", "hardswish", "hardsigmoid", "dropout")


def name_of(op: Any) -> str:
    """Return the name of an operation, such as "linear"."""
    schema = getattr(op, "_schema", None)
    return schema.name.removeprefix("aten::") if schema is not None else getattr(op, "__name__", str(op))


def is_entrywise(op: Any) -> bool:
    """Return whether entry i of the result depends on entry i of the (broadcast) inputs alone."""
    return torch.Tag.pointwise in getattr(op, "tags", ()) or name_of(op) in ENTRYWISE


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def _inputs(flow: Flow, given: Given) -> Iterator[Value]:
    """Yield the values among the arguments."""
    for x in torch.utils._pytree.tree_leaves(list(given.values())):
        if isinstance(x, fx.Node):
            found = flow.values[x]
            yield from found if isinstance(found, list) else [found]


def unknown(flow: Flow, given: Given, shapes: list[Shape]) -> Any:
    """Keep all that an operation without a rule touches."""
    assert flow.node is not None
    reason = flow.why(f"{name_of(flow.node.target)}, which is not followed,")
    inputs = list(_inputs(flow, given))
    for value in inputs:
        for axis in value.axes:
            flow.pin(axis, reason)
    out = [flow.kept(shape) for shape in shapes]
    return out if len(out) > 1 else out[0]


# ---------------------------------------------------------------- entry by entry


def of_entries(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    """The rule of what acts entry by entry."""
    inputs = list(_inputs(flow, given))
    return entrywise(flow, inputs, shapes[0])


def entrywise(flow: Flow, inputs: Sequence[Value], shape: Shape) -> Value:
    """Return the value of a broadcast operation."""
    live = any(v.live for v in inputs)
    axes = []
    for back, n in enumerate(reversed(shape), 1):
        there = [(v.axes[-back], v.live) for v in inputs if len(v.shape) >= back and v.shape[-back] == n > 1]
        axes.append(flow.made(there, live, flow.why("a sum or product with what is kept")))
    return Value(shape, tuple(reversed(axes)), live)


@_rule("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "scalar_tensor", "empty_permuted")
def _filled(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    return flow.new(shapes[0])  # all entries are alike: any may go


@_rule("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like")
def _like(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    like: Value = flow.values[given["self"]]
    return Value(like.shape, tuple(Axis(axis.ids) for axis in like.axes), live=False)


@_rule("arange")
def _arange(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    return flow.kept(shapes[0], live=False)


# ---------------------------------------------------------------- shapes and places


@_rule("view", "reshape", "_unsafe_view", "squeeze", "unsqueeze", "flatten", "unflatten", "view_copy")
def _reshape(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    return reshaped(flow, flow.values[given["self"]], shapes[0])


@_rule("permute", "transpose", "t", "movedim", "numpy_T")
def _permute(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    x: Value = flow.values[given["self"]]
    order = list(range(len(x.shape)))
    if "dims" in given:
        order = [d % len(order) for d in given["dims"]]
    elif "dim0" in given:
        a, b = (given[key] % len(order) for key in ("dim0", "dim1"))
        order[a], order[b] = order[b], order[a]
    else:
        order.reverse()
    return Value(shapes[0], tuple(x.axes[i] for i in order), x.live)


@_rule("expand")
def _expand(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    x: Value = flow.values[given["self"]]
    return _spread(flow, x, shapes[0])


def _spread(flow: Flow, x: Value, shape: Shape) -> Value:
    """Return x repeated along axes of size 1, whose new labels are free."""
    axes = []
    for back, n in enumerate(reversed(shape), 1):
        own = len(x.shape) >= back and x.shape[-back] == n
        axes.append(x.axes[-back] if own else Axis(flow.labels.fresh(n) if n > 1 else None))
    return Value(shape, tuple(reversed(axes)), x.live)


@_rule("repeat")
def _repeat(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    x: Value = flow.values[given["self"]]
    missing = len(shapes[0]) - len(x.shape)
    axes = []
    for i, n in enumerate(shapes[0]):
        old = x.shape[i - missing] if i >= missing else 1
        axis = x.axes[i - missing] if i >= missing else KEPT
        if old == 1:  # copies, such as one for each image of the batch: nobody asks to remove one
            axes.append(KEPT)
        else:
            axes.append(Axis(None if axis.ids is None else np.tile(axis.ids, n // old), axis.sources))
    return Value(shapes[0], tuple(axes), x.live)


@_rule("slice", "flip", "narrow")
def _slice(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    x: Value = flow.values[given["self"]]
    axes = list(x.axes)
    for dim in given["dims"] if "dims" in given else [given["dim"]]:
        ids, n = axes[dim].ids, x.shape[dim]
        if "dims" in given:
            places = slice(None, None, -1)
        elif "length" in given:
            places = slice(given["start"], given["start"] + given["length"])
        else:
            places = slice(*(None if v is None else v for v in (given["start"], given["end"], given["step"])))
        if ids is None or places.indices(n) == (0, n, 1):
            continue
        if places.step not in (None, 1, -1):
            flow.pin(axes[dim], flow.why("a slice with steps"))
            axes[dim] = KEPT
        else:
            axes[dim] = Axis(_several(flow, ids[places]), axes[dim].sources)
    return Value(shapes[0], tuple(axes), x.live)


def _several(flow: Flow, ids: np.ndarray) -> np.ndarray | None:
    """Return the labels; of a single entry, which stays, None."""
    if len(ids) > 1:
        return ids
    flow.labels.pin(ids, flow.why("a slice of one entry"))
    return None


@_rule("split", "split_with_sizes", "chunk", "unbind")
def _split(flow: Flow, given: Given, shapes: list[Shape]) -> list[Value]:
    x: Value = flow.values[given["self"]]
    dim = given["dim"] % len(x.shape)
    assert flow.node is not None
    if name_of(flow.node.target) == "unbind":
        flow.pin(x.axes[dim], flow.why("unbind"))
        axes = x.axes[:dim] + x.axes[dim + 1 :]
        return [Value(shape, axes, x.live) for shape in shapes]
    found, start = [], 0
    for shape in shapes:
        stop = start + shape[dim]
        ids = x.axes[dim].ids
        part = None if ids is None else _several(flow, ids[start:stop])
        axes = (*x.axes[:dim], Axis(part, x.axes[dim].sources), *x.axes[dim + 1 :])
        found.append(Value(shape, axes, x.live))
        start = stop
    return found


@_rule("select")
def _select(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    x: Value = flow.values[given["self"]]
    dim = given["dim"] % len(x.shape)
    flow.pin(x.axes[dim], flow.why("select"))
    return Value(shapes[0], x.axes[:dim] + x.axes[dim + 1 :], x.live)


@_rule("cat")
def _cat(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    inputs = [v for v in _inputs(flow, given) if math.prod(v.shape)]
    dim, live = given.get("dim", 0) % len(shapes[0]), any(v.live for v in inputs)
    axes = []
    for i in range(len(shapes[0])):
        if i != dim:
            axes.append(flow.made([(v.axes[i], v.live) for v in inputs], live, flow.why("cat with what is kept")))
            continue
        parts = []
        for v in inputs:
            ids = v.axes[i].ids
            if ids is None:
                ids = flow.labels.fresh(v.shape[i])
                flow.labels.pin(ids, flow.why("cat of what is kept"))
            parts.append(ids)
            if live and not v.live:
                flow.produced |= v.axes[i].sources
        alone = all(v.axes[i].ids is None for v in inputs)
        axes.append(KEPT if alone else Axis(np.concatenate(parts)))
    return Value(shapes[0], tuple(axes), live)


@_rule("stack")
def _stack(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    inputs, dim = list(_inputs(flow, given)), given.get("dim", 0) % len(shapes[0])
    inner = shapes[0][:dim] + shapes[0][dim + 1 :]
    one = entrywise(flow, inputs, inner)
    return Value(shapes[0], (*one.axes[:dim], KEPT, *one.axes[dim:]), one.live)


@_rule("constant_pad_nd")
def _pad(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    x: Value = flow.values[given["self"]]
    axes = list(x.axes)
    for back, (low, high) in enumerate(zip(given["pad"][::2], given["pad"][1::2], strict=True), 1):
        ids = axes[-back].ids
        if (low or high) and ids is not None:
            if low < 0 or high < 0:
                ids = ids[max(-low, 0) : len(ids) - max(-high, 0)]
            axes[-back] = Axis(
                np.concatenate([flow.labels.fresh(max(low, 0)), ids, flow.labels.fresh(max(high, 0))]).astype(int)
            )
        elif low or high:
            axes[-back] = KEPT
    return Value(shapes[0], tuple(axes), x.live)


@_rule("index")
def _index(flow: Flow, given: Given, shapes: list[Shape]) -> Any:
    x: Value = flow.values[given["self"]]
    places = [i for i, index in enumerate(given["indices"]) if index is not None]
    if len(places) != 1:
        return unknown(flow, given, shapes)
    flow.pin(x.axes[places[0]], flow.why("index"))
    index: Value = flow.values[given["indices"][places[0]]]
    axes = (*x.axes[: places[0]], *(KEPT for _ in index.shape), *x.axes[places[0] + 1 :])
    for axis in index.axes:
        flow.pin(axis, flow.why("index"))
    return _lookup(flow, Value(shapes[0], axes, x.live), index)


@_rule("index_select")
def _index_select(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    x: Value = flow.values[given["self"]]
    dim = given["dim"] % len(x.shape)
    flow.pin(x.axes[dim], flow.why("index"))
    axes = (*x.axes[:dim], KEPT, *x.axes[dim + 1 :])
    return _lookup(flow, Value(shapes[0], axes, x.live), flow.values[given["index"]])


@_rule("embedding")
def _embedding(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    weight, indices = flow.values[given["weight"]], flow.values[given["indices"]]
    flow.pin(weight.axes[0], flow.why("the words"))
    axes = (*(KEPT for _ in indices.shape), weight.axes[1])
    return _lookup(flow, Value(shapes[0], axes, weight.live), indices)


def _lookup(flow: Flow, x: Value, index: Value) -> Value:
    """Return x, live if the index is."""
    if not index.live or x.live:
        return x
    return Value(x.shape, tuple(flow.made([(axis, False)], True, "") for axis in x.axes), live=True)


_POOLS = ("max_pool{}d_with_indices", "max_pool{}d", "avg_pool{}d", "adaptive_avg_pool{}d", "_adaptive_avg_pool{}d",
          "adaptive_max_pool{}d", "reflection_pad{}d", "replication_pad{}d")  # fmt: skip
_SCALES: dict[int, tuple[str, ...]] = {1: ("upsample_nearest1d", "upsample_linear1d")}
_SCALES[3] = ("upsample_nearest3d", "upsample_trilinear3d")
_SCALES[2] = ("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa")
SPATIAL = {name.format(k): k for k in (1, 2, 3) for name in (*_POOLS, *_SCALES[k])}


def _spatial(flow: Flow, given: Given, shapes: list[Shape]) -> Any:
    """Pooling and the like, channel by channel."""
    assert flow.node is not None
    k = SPATIAL[name_of(flow.node.target)]
    x: Value = flow.values[given["self"] if "self" in given else given["input"]]
    for axis in x.axes[-k:]:
        flow.pin(axis, flow.why("pooling over it"))
    found = [Value(shape, (*x.axes[:-k], *(KEPT,) * k), x.live) for shape in shapes]
    return found if len(found) > 1 else found[0]


RULES.update(dict.fromkeys(SPATIAL, _spatial))
