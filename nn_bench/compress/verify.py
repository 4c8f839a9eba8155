"""Outputs before and after, compared: the layer where they part is named."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from manifold_id.optim.flow import Flow
from manifold_id.optim.flow.trace import Trace, evaluating
from nn_bench.compress.graph_form import cut, kept_along
from nn_bench.compress.removable import Removal

# Sums of fewer terms round differently; the bounds are relative to the largest entry of a tensor.
ROUNDING = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}


class CompressionError(RuntimeError):
    """The smaller network has other outputs than the whole one."""


class NotRunError(CompressionError):
    """The smaller graph does not run: some size in it was not rewritten."""


class _Recorder(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.outputs: list[tuple[fx.Node, Any]] = []

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if n.op == "call_function" and isinstance(out, Tensor):
            self.outputs.append((n, out))
        return out


class _Comparer(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule, expected: dict[str, tuple[fx.Node, Tensor]], flow: Flow) -> None:
        super().__init__(graph)
        self.expected, self.flow = expected, flow

    def run_node(self, n: fx.Node) -> Any:
        where = self.flow.trace.layer(n)
        try:
            out = super().run_node(n)
        except Exception as error:
            raise NotRunError(f"the smaller network fails in {where} ({n.name}): {error}") from error
        if n.name in self.expected:
            _, old = self.expected.pop(n.name)
            gap = difference(old, out)
            if gap > bound_of(old):
                raise CompressionError(f"the smaller network differs by {gap:.2g} in {where} ({n.name}): "
                                       "nothing was changed; please report the layer")  # fmt: skip
        return out


@torch.no_grad()
def check_graph(flow: Flow, removal: Removal, small: fx.GraphModule) -> None:
    """Compare every operation of the two graphs on the example, but for what was removed.

    Raises
    ------
    CompressionError
        At the first operation whose result differs beyond rounding; the message names its layer.
    """
    recorder = _Recorder(flow.trace.graph)
    recorder.run(*flow.trace.flat())
    expected = {}
    for node, out in recorder.outputs:
        value = flow.values.get(node)
        if value is not None and not isinstance(value, list) and value.live:
            expected[node.name] = node, cut(out, kept_along(value, removal))
    _Comparer(small, expected, flow).run(*flow.trace.flat())


@torch.no_grad()
def run(model: nn.Module, trace: Trace) -> list[Tensor]:
    """Return the output tensors of a network for the example, in evaluation mode."""
    with evaluating(model):
        out = model(*trace.args, **trace.kwargs)
    return [x for x in torch.utils._pytree.tree_leaves(out) if isinstance(x, Tensor)]


def same_outputs(before: list[Tensor], after: list[Tensor]) -> bool:
    """Return whether outputs are equal up to rounding."""
    return len(before) == len(after) and all(
        difference(a, b) <= bound_of(a) for a, b in zip(before, after, strict=True)
    )


def bound_of(x: Tensor) -> float:
    """Return the largest difference that rounding may make."""
    if not x.is_floating_point():
        return 0.0
    finite = x[torch.isfinite(x)]
    scale = max(1.0, float(finite.abs().max())) if finite.numel() else 1.0
    return ROUNDING.get(x.dtype, 0.0) * scale


def difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference of entries; infinity for other shapes."""
    if a.shape != b.shape:
        return float("inf")
    if not a.numel():
        return 0.0
    if not a.is_floating_point():
        return 0.0 if torch.equal(a, b) else float("inf")
    same = (a == b) | (a.isnan() & b.isnan())
    gap = torch.where(same, 0.0, (a.double() - b.double()).abs())
    return float(torch.nan_to_num(gap, nan=float("inf")).max())
