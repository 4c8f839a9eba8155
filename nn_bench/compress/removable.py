"""Which units can be removed without a change of the outputs, and what their constants add to biases."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, fx

from manifold_id.optim.flow import Contraction, Flow, Units
from manifold_id.optim.flow.flow import bound
from manifold_id.optim.flow.rules import name_of
from nn_bench.compress.known import Known


@dataclass
class _Sum:
    """What the example shows of one contraction, index by index."""

    where: Contraction
    units: np.ndarray  # of each index
    adds: np.ndarray  # (units of the results, or one row) x index: whether it may add something
    rows: np.ndarray  # the unit of each row, -1 where it stays
    constant: np.ndarray  # the constant value of what is summed, NaN where it is none
    bias: str | None  # where a constant may go
    weight: Tensor | None


@dataclass
class Removal:
    """The units to remove, what is added to biases, and what had to stay: (layer, reason) -> slices."""

    units: Units
    removed: set[int] = field(default_factory=set)
    added: dict[str, Tensor] = field(default_factory=dict)
    kept: Counter[tuple[str, str]] = field(default_factory=Counter)

    def keeps(self, ids: np.ndarray | None, count: int) -> np.ndarray:
        """Return which indices of an axis stay, as a mask."""
        return ~_among(self.units.of(ids, count), self.gone())

    def gone(self) -> np.ndarray:
        """Return for each unit whether it goes."""
        return _flags(self.units, self.removed)


@torch.no_grad()
def removable(flow: Flow) -> Removal:
    """Return the units of a followed network that can go."""
    units = Units(flow)
    sums = _sums(flow, units)
    removal = Removal(units)
    blocked: set[int] = set()
    while True:
        removed: set[int] = set()
        while True:  # what reads a unit may go first
            more = set(range(len(units))) - blocked - removed
            gone = _flags(units, removed)
            for each in sums:
                more -= set(each.units[_bad(each, gone)].tolist())
            if not more:
                break
            removed |= more
        emptied = _emptied(flow, units, removed)
        if emptied is None:
            break
        blocked.add(emptied)
    removal.removed = removed
    for each in sums:
        _add_constants(each, removal)
    _name_kept(flow, units, removal, sums)
    return removal


def _bad(each: _Sum, gone: np.ndarray) -> np.ndarray:
    """Return the indices that add something to what stays and can't move to a bias."""
    adds = each.adds[~_among(each.rows, gone)].any(axis=0)
    return adds & (np.isnan(each.constant) | (each.bias is None))


def _emptied(flow: Flow, units: Units, removed: set[int]) -> int | None:
    """Return a unit of an axis of which nothing would be left."""
    if not removed:
        return None
    seen: set[int] = set()
    gone = _flags(units, removed)
    for value in [
        *flow.tensors.values(),
        *(v for x in flow.values.values() for v in (x if isinstance(x, list) else [x])),
    ]:
        for axis in value.axes:
            if axis.ids is None or id(axis.ids) in seen or not len(axis.ids):
                continue
            seen.add(id(axis.ids))
            own = units.of(axis.ids, len(axis.ids))
            if _among(own, gone).all():
                return int(own[0])
    return None


def _sums(flow: Flow, units: Units) -> list[_Sum]:
    at: dict[fx.Node, list[Contraction]] = {}
    for c in flow.contractions:
        at.setdefault(c.node, []).append(c)
    found: list[_Sum] = []

    def visit(node: fx.Node, env: dict, masks: dict) -> None:
        for c in at.get(node, []):
            found.append(_measured(flow, units, c, env, masks))

    Known(flow.trace.graph, visit).run(*flow.trace.flat())
    return found


def _measured(flow: Flow, units: Units, c: Contraction, env: dict, masks: dict) -> _Sum:
    node, axis = c.left
    if c.right is None and node.op == "get_attr" and str(node.target) in flow.normed and magnitude_of(str(node.target)):
        nothing = np.zeros((1, len(c.ids)), dtype=bool)  # what leaves the norm is made good in the magnitude
        return _Sum(c, units.of(c.ids, len(c.ids)), nothing, np.array([-1]), np.full(len(c.ids), np.nan), None, None)
    x, known = _slices(env[node], axis), _slices(masks[node], axis)
    zero = (known & (x == 0)).all(dim=1)
    low, high = x.amin(dim=1), x.amax(dim=1)
    even = (
        high - low <= 4 * torch.finfo(x.dtype).eps * torch.maximum(high.abs(), low.abs())
        if x.is_floating_point()
        else high == low
    )
    value = torch.where(known.all(dim=1) & even, low.double(), torch.nan)
    rows, adds = np.array([-1]), ~zero.cpu().numpy()[None]
    weight = bias = None
    if c.right is not None:
        node, axis = c.right
        w = env[node]
        nonzero = ~(masks[node] & (w == 0))
        others = [i for i, a in enumerate(flow.values[node].axes) if i != axis and a.ids is not None]
        if others:
            ids = flow.values[node].axes[others[0]].ids
            rows = units.of(ids, w.shape[others[0]])
            nonzero = nonzero.movedim((others[0], axis), (0, 1)).flatten(2).any(dim=2) if w.ndim > 2 else (
                nonzero if axis == 1 else nonzero.T)  # fmt: skip
        else:
            nonzero = _slices(nonzero, axis).any(dim=1)[None]
        adds = nonzero.cpu().numpy() & adds
        bias = _bias(flow, c.node, env) if bool(masks[node].all()) and axis == 1 else None
        weight = w if bias is not None else None
    return _Sum(c, units.of(c.ids, len(c.ids)), adds, rows, value.cpu().numpy(), bias, weight)


def _bias(flow: Flow, node: fx.Node, env: dict) -> str | None:
    """Return the bias that can take what a constant input adds: the same at every place, and of this sum alone."""
    name, given = name_of(node.target), bound(node, env)
    if name == "convolution":
        if given["transposed"] or any(given["padding"]):
            return None
    elif name != "linear":
        return None
    bias = given.get("bias")
    if bias is None or bias.op != "get_attr" or len(bias.users) != 1:
        return None
    same = [n for n in flow.trace.graph.graph.nodes if n.op == "get_attr" and n.target == bias.target]
    return str(bias.target) if len(same) == 1 else None


def _add_constants(each: _Sum, removal: Removal) -> None:
    """Move the constants of removed units into the bias that follows them."""
    gone = removal.gone()
    rows = ~_among(each.rows, gone)
    there = _among(each.units, gone) & each.adds[rows].any(axis=0)
    if each.bias is None or not there.any():
        return
    assert each.weight is not None
    w = each.weight.double()
    values = torch.from_numpy(np.where(there, np.nan_to_num(each.constant), 0.0)).to(w.device)
    extra = w.reshape(*w.shape[:2], -1).sum(dim=2) @ values
    removal.added[each.bias] = removal.added.get(each.bias, torch.zeros_like(extra)) + extra


def _name_kept(flow: Flow, units: Units, removal: Removal, sums: list[_Sum]) -> None:
    """Count the slices that are zero and stay all the same, with the reason."""
    read: dict[int, str] = {}
    gone = removal.gone()
    for each in sums:
        layer = flow.trace.layer(each.where.node)
        for i in np.flatnonzero(_bad(each, gone)):
            constant = each.constant[i]
            what = "a value" if np.isnan(constant) else f"the constant {constant:.3g}"
            read.setdefault(int(each.units[i]), f"{layer} reads {what} from it" + (
                "" if np.isnan(constant) else " and no bias can take it"))  # fmt: skip
    graph = flow.trace.graph
    for name, axis in sorted(flow.produced):
        tensor = graph.get_parameter(name) if name in dict(graph.named_parameters()) else None
        if tensor is None or tensor.ndim < 2:
            continue
        zero = _slices(tensor.detach() == 0, axis).all(dim=1).cpu().numpy()
        own = units.along(name, axis)
        for i in np.flatnonzero(zero & ~_among(own, gone)):
            reason = units.why(name, axis) if own[i] < 0 else read.get(int(own[i]), "one is kept where all could go")
            removal.kept[name, reason] += 1


def _flags(units: Units, removed: set[int]) -> np.ndarray:
    """Return for each unit whether it is removed, and False at the end for what stays (-1)."""
    flags = np.zeros(len(units) + 1, dtype=bool)
    flags[list(removed)] = True
    return flags


def _among(own: np.ndarray, gone: np.ndarray) -> np.ndarray:
    found: np.ndarray = gone[own]
    return found


def magnitude_of(name: str) -> str | None:
    """Return the name of the magnitude beside a direction of torch's weight normalization."""
    for direction, magnitude in (("original1", "original0"), ("weight_v", "weight_g")):
        if name.endswith(direction):
            return name.removesuffix(direction) + magnitude
    return None


def _slices(x: Tensor, axis: int) -> Tensor:
    """Return the slices along an axis as rows."""
    return x.movedim(axis, 0).reshape(x.shape[axis], -1)
