"""A network as a graph of torch's core operations, by torch.export."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

# Operations kept whole: their own rules say more than those of their parts.
WHOLE = ("linear", "layer_norm", "group_norm", "scaled_dot_product_attention")


@dataclass(frozen=True)
class Trace:
    """The graph of one call; its get_attr nodes are parameters and buffers under their names in the model."""

    graph: fx.GraphModule
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    model: str  # name of the class
    any_batch: bool  # whether the graph takes other batch sizes than the example's

    def layer(self, node: fx.Node) -> str:
        """Return the path of the submodule that a node belongs to; the model's class for its own forward."""
        stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if not path.startswith("_empty")]
        return stack[-1] if stack and stack[-1] else f"{self.model}.forward"

    def flat(self) -> list[Any]:
        """Return the inputs in the order of the graph's placeholders."""
        return torch.utils._pytree.tree_leaves((self.args, self.kwargs))


def call_of(example_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return (args, kwargs) of an example: a tensor, a tuple of arguments, or a mapping of named ones."""
    if isinstance(example_input, Mapping):
        return (), dict(example_input)
    return (tuple(example_input) if isinstance(example_input, (tuple, list)) else (example_input,)), {}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode for a while, each layer back in its own mode afterwards."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


def trace(model: nn.Module, example_input: Any) -> Trace:
    """Return the graph of model(example_input) in evaluation mode.

    Parameters
    ----------
    model
        Any module. Its forward may branch on shapes and options, but not on the values of its tensors.
    example_input
        A tensor, a tuple of arguments, or a mapping of named arguments, on the model's device.

    Raises
    ------
    TypeError
        If there is no tensor in the example.
    ValueError
        If torch.export cannot follow the model; its message says where.
    """
    args, kwargs = call_of(example_input)
    leaves = torch.utils._pytree.tree_leaves((args, kwargs))
    if not any(isinstance(x, Tensor) for x in leaves):
        raise TypeError(
            f"example_input={type(example_input).__name__} holds no tensor: give what forward is called with"
        )
    with _plain_kernels(), evaluating(model), torch.enable_grad():
        first: Exception | None = None
        for dynamic in (True, False):  # any batch size where the model allows it
            try:
                graph = _exported(model, args, kwargs, dynamic)
            except Exception as error:  # torch.export raises many kinds
                first = first or error
            else:
                return Trace(graph, args, kwargs, type(model).__name__, dynamic)
    assert first is not None
    reason = str(first).strip().splitlines() or [type(first).__name__]
    raise ValueError(
        f"{type(model).__name__} can't be followed with this example_input: {reason[0]} (check that the model runs on "
        "it, and that its forward branches on no values of tensors)"
    ) from first


def _exported(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool) -> fx.GraphModule:
    program = exported(model, args, kwargs, dynamic)
    table = torch.export.default_decompositions()
    for op in list(table):
        schema = getattr(op, "_schema", None)
        if schema is not None and schema.name.removeprefix("aten::") in WHOLE:
            table.pop(op)
    module = program.run_decompositions(table).module()
    assert isinstance(module, fx.GraphModule)
    for node in list(module.graph.nodes):  # checks of the input's shape
        if node.op == "call_module" and not node.users:
            module.graph.erase_node(node)
        if node.target is torch.ops.aten.view.default:  # whatever the strides of what is smaller
            node.target = torch.ops.aten.reshape.default
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def exported(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], any_batch: bool = True
) -> torch.export.ExportedProgram:
    """Return torch.export's program of a call, of any batch size unless the model has its own."""
    shapes = _batch_shapes(model, args, kwargs) if any_batch else None
    return torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)


def _batch_shapes(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return dynamic_shapes with a free first axis of every tensor."""

    def free(x: Any) -> Any:
        return {0: torch.export.Dim.AUTO} if isinstance(x, Tensor) and x.ndim else None

    bound = inspect.signature(model.forward).bind(*args, **kwargs)
    return {name: torch.utils._pytree.tree_map(free, value) for name, value in bound.arguments.items()}


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Trace attention and recurrent layers as their formulas, not as one opaque kernel, and without torch's notes."""
    fast, notes = torch.backends.mha.get_fastpath_enabled(), logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = notes.level
    torch.backends.mha.set_fastpath_enabled(False)
    notes.setLevel(logging.ERROR)  # of a model that can't be traced the error says what there is to say
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # torch prints the graph so far
            warnings.simplefilter("ignore")  # torch.export and the flags warn of matters that are none here
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        notes.setLevel(level)
