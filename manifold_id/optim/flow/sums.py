"""The labels of operations that sum or normalize over an axis: layers with weights, reductions, norms, attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import fx

from manifold_id.optim.flow.flow import Flow
from manifold_id.optim.flow.rules import Given, Rule, Shape, entrywise, name_of
from manifold_id.optim.flow.values import KEPT, Axis, Value

RULES: dict[str, Rule] = {}


def _biased(flow: Flow, out: Axis, live: bool, bias: fx.Node | None) -> Axis:
    """Return an output axis to which a bias is added."""
    if bias is None:
        return out
    own: Value = flow.values[bias]
    return flow.made([(out, live), (own.axes[-1], own.live)], live or own.live, flow.why("a bias"))


def _linear(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    x, w = flow.values[given["input"]], flow.values[given["weight"]]
    flow.contract((given["input"], len(x.shape) - 1), (given["weight"], 1))
    live = x.live or w.live
    out = flow.made([(w.axes[0], w.live)], live, "")
    return Value(shapes[0], (*x.axes[:-1], _biased(flow, out, live, given.get("bias"))), live)


def _matmul(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    """mm, bmm, mv, dot and their sums with a bias: (batch, i, k) (batch, k, j)."""
    left, right = (given[key] for key in operands(given))
    x, y = flow.values[left], flow.values[right]
    live = x.live or y.live
    flow.contract((left, len(x.shape) - 1), (right, max(len(y.shape) - 2, 0)))
    axes = []
    if len(x.shape) == 3:
        axes.append(flow.made([(x.axes[0], x.live), (y.axes[0], y.live)], live, flow.why("a batch of products")))
    axes += [flow.made([(x.axes[-2], x.live)], live, "")] if len(x.shape) > 1 else []
    axes += [flow.made([(y.axes[-1], y.live)], live, "")] if len(y.shape) > 1 else []
    out = Value(shapes[0], tuple(axes), live)
    added = flow.values[given["self"]] if left != given.get("self") else None
    return out if added is None else entrywise(flow, [out, added], shapes[0])


def operands(given: Given) -> Sequence[str]:
    """Return the names of the two factors of a matrix product."""
    for pair in (("mat1", "mat2"), ("batch1", "batch2"), ("mat", "vec"), ("self", "mat2"), ("self", "vec")):
        if all(key in given for key in pair):
            return pair
    return ("self", "tensor")


def _convolution(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    """The weight is (out, in / groups, ...), transposed (in, out / groups, ...)."""
    x, w = flow.values[given["input"]], flow.values[given["weight"]]
    groups, live = given["groups"], x.live or w.live
    k = len(w.shape) - 2
    channel = len(x.shape) - k - 1
    for axis in (*x.axes[channel + 1 :], *w.axes[2:]):
        flow.pin(axis, flow.why("a convolution over it"))
    outer, inner = (1, 0) if given["transposed"] else (0, 1)
    if groups == 1:
        flow.contract((given["input"], channel), (given["weight"], inner))
        out = flow.made([(w.axes[outer], w.live)], live, "")
    else:
        out = _blocks(flow, x.axes[channel], x.shape[channel], w, groups, given["transposed"])
        flow.produced |= w.axes[0].sources if live and not w.live else frozenset()
    out = _biased(flow, out, live, given.get("bias"))
    return Value(shapes[0], (*x.axes[:channel], out, *(KEPT,) * k), live)


def _blocks(flow: Flow, x: Axis, inputs: int, w: Value, groups: int, transposed: bool) -> Axis:
    """Return the output axis of a grouped convolution: a block's inputs and outputs go together."""
    flow.pin(w.axes[1], flow.why("a block of a grouped convolution"))
    outputs = w.shape[1] * groups if transposed else w.shape[0]
    block = flow.labels.fresh(groups)
    reason = flow.why("a grouped convolution of what is kept")
    out = Axis(np.repeat(block, outputs // groups))
    for axis, n in ((x, inputs), (w.axes[0], inputs if transposed else outputs)):
        flow.same([Axis(np.repeat(block, n // groups)), axis], reason)
    return out if outputs > 1 else KEPT


def _reduced(given: Given, ndim: int) -> list[int]:
    dims = given.get("dim", given.get("dims"))
    if dims is None or dims == []:
        return list(range(ndim))
    return [d % ndim for d in (dims if isinstance(dims, (list, tuple)) else [dims])] if ndim else []


def _reduce(flow: Flow, given: Given, shapes: list[Shape]) -> Any:
    """Sums and norms, to which zero adds nothing; what depends on the number of entries keeps them."""
    node = given["self"]
    x: Value = flow.values[node]
    dims = _reduced(given, len(x.shape))
    assert flow.node is not None
    name = name_of(flow.node.target)
    if name == "linalg_vector_norm" and node.op == "get_attr":
        flow.normed.add(str(node.target))
    for d in dims:
        if x.axes[d].ids is None:
            continue
        if name == "sum" or (name == "linalg_vector_norm" and given["ord"] > 0):
            flow.contract((node, d), None)
        else:
            flow.pin(x.axes[d], flow.why(f"{name} over it"))
    keep = bool(given.get("keepdim", False))
    axes = tuple(KEPT if i in dims else axis for i, axis in enumerate(x.axes) if keep or i not in dims)
    out = [Value(shape, axes, x.live) for shape in shapes]
    return out if len(out) > 1 else out[0]


def _along(flow: Flow, given: Given, shapes: list[Shape]) -> Any:
    """Softmax, cumulative sums, sorting: the axis stays."""
    x: Value = flow.values[given["self"]]
    assert flow.node is not None
    dim = given["dim"] % max(len(x.shape), 1)
    if x.axes:
        flow.pin(x.axes[dim], flow.why(f"{name_of(flow.node.target)} over it"))
    out = [Value(shape, tuple(KEPT if i == dim else a for i, a in enumerate(x.axes)), x.live) for shape in shapes]
    return out if len(out) > 1 else out[0]


def _batch_norm(flow: Flow, given: Given, shapes: list[Shape]) -> list[Value]:
    x: Value = flow.values[given["input"]]
    others = [flow.values[given[k]] for k in ("weight", "bias", "running_mean", "running_var") if given.get(k)]
    parts = [(x.axes[1], x.live), *((v.axes[0], v.live) for v in others)]
    axis = flow.made(parts, x.live, flow.why("batch normalization of what is kept"))
    first = Value(shapes[0], (x.axes[0], axis, *x.axes[2:]), x.live)
    return [first, *(flow.kept(shape) for shape in shapes[1:])]


def _layer_norm(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    x: Value = flow.values[given["input"]]
    k = len(given["normalized_shape"])
    axes = list(x.axes)
    for i in range(1, k + 1):
        flow.pin(axes[-i], flow.why("layer normalization over it"))
        for name in ("weight", "bias"):
            if given.get(name) is not None:
                flow.pin(flow.values[given[name]].axes[-i], flow.why("layer normalization over it"))
        axes[-i] = KEPT
    return Value(shapes[0], tuple(axes), x.live)


def _group_norm(flow: Flow, given: Given, shapes: list[Shape]) -> Value:
    """The channels of one group share their mean and variance: they go together."""
    x: Value = flow.values[given["input"]]
    groups, channels = given["num_groups"], x.shape[1]
    for axis in x.axes[2:]:
        flow.pin(axis, flow.why("group normalization over it"))
    others = [flow.values[given[k]] for k in ("weight", "bias") if given.get(k) is not None]
    parts = [(x.axes[1], x.live), *((v.axes[0], v.live) for v in others)]
    axis = flow.made(parts, x.live, flow.why("group normalization of what is kept"))
    if groups == 1:
        flow.pin(axis, flow.why("group normalization over all channels"))
        axis = KEPT
    elif axis.ids is not None:
        shared = np.repeat(flow.labels.fresh(groups), channels // groups)
        flow.labels.unite(axis.ids, shared, flow.why("group normalization"))
    return Value(shapes[0], (x.axes[0], axis, *(KEPT for _ in x.axes[2:])), x.live)


def _attention(flow: Flow, given: Given, shapes: list[Shape]) -> Any:
    """softmax(q k' / sqrt(d)) v for q (..., t, d), k (..., s, d), v (..., s, e)."""
    q, k, v = (flow.values[given[key]] for key in ("query", "key", "value"))
    if not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        return _kept(flow, [q, k, v], shapes)
    mask = [flow.values[given["attn_mask"]]] if given.get("attn_mask") is not None else []
    for axis in (q.axes[-1], k.axes[-1], k.axes[-2], v.axes[-2], *(m.axes[i] for m in mask for i in (-1, -2))):
        flow.pin(axis, flow.why("attention over it"))
    heads = entrywise(
        flow,
        [Value(x.shape[:-2], x.axes[:-2], x.live) for x in (q, k, v, *mask)],
        shapes[0][:-2],
    )
    live = q.live or k.live or v.live
    return Value(shapes[0], (*heads.axes, q.axes[-2], v.axes[-1]), live)


def _kept(flow: Flow, inputs: list[Value], shapes: list[Shape]) -> Value:
    for x in inputs:
        for axis in x.axes:
            flow.pin(axis, flow.why("attention with heads of unequal number"))
    return flow.kept(shapes[0])


RULES |= {"linear": _linear, "convolution": _convolution, "scaled_dot_product_attention": _attention}
RULES |= dict.fromkeys(("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv"), _matmul)
_OVER = (
    "sum",
    "mean",
    "amax",
    "amin",
    "max",
    "min",
    "prod",
    "any",
    "all",
    "var",
    "var_mean",
    "std",
    "argmax",
    "argmin",
)
RULES |= dict.fromkeys((*_OVER, "logsumexp", "linalg_vector_norm", "norm", "median"), _reduce)
_ALONG = ("softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum", "cumprod", "logcumsumexp", "sort", "topk")
RULES |= dict.fromkeys(_ALONG, _along)
RULES |= {"_native_batch_norm_legit_no_training": _batch_norm, "_native_batch_norm_legit": _batch_norm}
RULES |= {"native_batch_norm": _batch_norm, "layer_norm": _layer_norm, "group_norm": _group_norm}
