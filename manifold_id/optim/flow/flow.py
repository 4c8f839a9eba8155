"""The labels of all slices of a traced network, as they are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, fx

from manifold_id.optim.flow.labels import Labels
from manifold_id.optim.flow.trace import Trace
from manifold_id.optim.flow.values import KEPT, Axis, Source, Value


@dataclass(frozen=True)
class Contraction:
    """A sum over an axis of `left` (times the axis of `right`, where there is one): slices that add zero can go."""

    node: fx.Node
    ids: np.ndarray
    left: tuple[fx.Node, int]
    right: tuple[fx.Node, int] | None


@dataclass
class Flow:
    """The labels of a traced network.

    `values` has a Value for each tensor of the graph (a list for several); `contractions` all sums over labelled axes;
    `produced` the axes of parameters along which they make the slices of a value, rather than read them.
    """

    trace: Trace
    labels: Labels = field(default_factory=Labels)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    contractions: list[Contraction] = field(default_factory=list)
    produced: set[Source] = field(default_factory=set)
    tensors: dict[str, Value] = field(default_factory=dict)  # parameters and buffers by name
    normed: set[str] = field(default_factory=set)  # those divided by their own norm, which must not be zero
    node: fx.Node | None = None

    def why(self, what: str) -> str:
        """Return a reason: what happens, and in which layer."""
        assert self.node is not None
        return f"{what} in {self.trace.layer(self.node)}"

    def new(self, shape: Sequence[int], live: bool = False, name: str | None = None) -> Value:
        """Return a value whose axes have new labels."""
        axes = []
        for i, n in enumerate(shape):
            sources = frozenset() if name is None else frozenset({(name, i)})
            axes.append(Axis(self.labels.fresh(n) if n > 1 else None, sources))
        return Value(tuple(shape), tuple(axes), live)

    def kept(self, shape: Sequence[int], live: bool = True) -> Value:
        """Return a value of which nothing can be removed."""
        return Value(tuple(shape), (KEPT,) * len(shape), live)

    def pin(self, axis: Axis, reason: str) -> None:
        """Let all slices along an axis stay."""
        if axis.ids is not None:
            self.labels.pin(axis.ids, reason)

    def same(self, axes: Iterable[Axis], reason: str) -> np.ndarray | None:
        """Let equal indices of the axes be removed together; return their labels."""
        axes = list(axes)
        if any(axis.ids is None for axis in axes):
            for axis in axes:
                self.pin(axis, reason)
            return None
        first = axes[0].ids
        assert first is not None
        for axis in axes[1:]:
            assert axis.ids is not None
            self.labels.unite(first, axis.ids, reason)
        return first

    def made(self, axes: Iterable[tuple[Axis, bool]], live: bool, reason: str) -> Axis:
        """Return the axis of a result that (axis, of a live value) together make."""
        axes = list(axes)
        if not axes:
            return KEPT
        sources = frozenset().union(*(axis.sources for axis, of_live in axes if not of_live))
        if live:
            self.produced |= sources
        return Axis(self.same((axis for axis, _ in axes), reason), frozenset() if live else sources)

    def contract(self, left: tuple[fx.Node, int], right: tuple[fx.Node, int] | None) -> None:
        """Record a sum over an axis."""
        assert self.node is not None
        sides = [left] if right is None else [left, right]
        ids = self.same((self.values[node].axes[axis] for node, axis in sides), self.why("a sum with what is kept"))
        if ids is not None:
            self.contractions.append(Contraction(self.node, ids, left, right))


def bound(node: fx.Node, env: dict[fx.Node, Any]) -> dict[str, Any]:
    """Return the arguments of an operation by name, defaults filled in; tensors are nodes, numbers are numbers."""

    def concrete(given: fx.Node) -> Any:
        value = env[given]
        return given if isinstance(value, (Tensor, tuple, list)) else value

    schema = getattr(node.target, "_schema", None)
    args, kwargs = fx.node.map_arg(node.args, concrete), fx.node.map_arg(node.kwargs, concrete)
    if schema is None:
        return {f"arg{i}": x for i, x in enumerate(args)} | dict(kwargs)
    found = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    found |= {a.name: x for a, x in zip(schema.arguments, args, strict=False)}
    return found | dict(kwargs)
