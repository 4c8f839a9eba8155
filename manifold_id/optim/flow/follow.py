"""Follow the labels of all slices through a traced network."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from manifold_id.optim.flow import rules, sums
from manifold_id.optim.flow.flow import Flow, bound
from manifold_id.optim.flow.trace import Trace
from manifold_id.optim.flow.values import Value


@torch.no_grad()
def follow(trace: Trace) -> Flow:
    """Return the labels of a traced network."""
    flow = Flow(trace)
    _Follower(flow).run(*trace.flat())
    return flow


class _Follower(fx.Interpreter):
    """Runs the graph on the example and asks the rule of each operation."""

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow.trace.graph)
        self.flow = flow

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        flow = self.flow
        flow.node = n
        if n.op == "get_attr" and isinstance(out, Tensor):
            value = flow.tensors.setdefault(str(n.target), flow.new(out.shape, name=str(n.target)))
            flow.values[n] = value
        elif n.op == "placeholder" and isinstance(out, Tensor):
            flow.values[n] = flow.kept(out.shape)
        elif n.op == "output":
            for given in n.all_input_nodes:
                for value in _all(flow.values.get(given)):
                    for axis in value.axes:
                        flow.pin(axis, "an output of the network")
        elif n.target is operator.getitem and n.args[0] in flow.values:
            flow.values[n] = flow.values[n.args[0]][n.args[1]]  # type: ignore[index]
        elif any(isinstance(x, Tensor) for x in (out if isinstance(out, (tuple, list)) else [out])):
            many = isinstance(out, (tuple, list))
            shapes = [tuple(x.shape) if isinstance(x, Tensor) else () for x in (out if many else [out])]
            arguments = bound(n, self.env)
            try:
                made = _rule_of(n.target)(flow, arguments, shapes)
            except (LookupError, TypeError, ValueError, AttributeError):  # a form that the rule does not know
                made = None
            if made is None or not all(map(_fits, _all(made), shapes)):
                made = rules.unknown(flow, arguments, shapes)
            flow.values[n] = made if not many or isinstance(made, list) else [made]
        return out


def _rule_of(op: Any) -> rules.Rule:
    if rules.is_entrywise(op):
        return rules.of_entries
    name = rules.name_of(op)
    return rules.RULES.get(name) or sums.RULES.get(name) or rules.unknown


def _fits(value: Value, shape: tuple[int, ...]) -> bool:
    sizes = [n if axis.ids is None else len(axis.ids) for axis, n in zip(value.axes, value.shape, strict=False)]
    return value.shape == shape and tuple(sizes) == shape


def _all(value: Any) -> list[Value]:
    return [] if value is None else value if isinstance(value, list) else [value]
