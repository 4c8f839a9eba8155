"""Any module, made smaller where the example shows that nothing changes, and verified."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from manifold_id.optim.flow import follow, trace
from manifold_id.optim.flow.trace import evaluating, exported
from nn_bench.checkpoint import read_metadata, read_weights, save_weights
from nn_bench.compress.graph_form import graph_form, small_tensors
from nn_bench.compress.module_form import Sizes, module_form, place_tensors, set_sizes, sizes_of
from nn_bench.compress.removable import removable
from nn_bench.compress.verify import CompressionError, NotRunError, check_graph, run, same_outputs


@dataclass(frozen=True)
class Compression:
    """A smaller network and what became of the units.

    model
        Of the class of the whole one where its code allows it; else its traced graph, a torch.fx.GraphModule with the
        same names of parameters.
    form
        "module" or "graph".
    removed
        How many units went.
    kept
        Slices that are zero and stayed, counted by (parameter, reason).
    example
        The arguments that it was verified with. A graph takes any batch size that the model takes, and recurrent layers
        in it have the example's number of time steps.
    sizes
        Numbers that layers keep and no tensor of theirs tells, as they are in a model of the same class.
    """

    model: nn.Module
    form: str
    removed: int
    kept: Counter[tuple[str, str]]
    example: tuple[tuple[Any, ...], dict[str, Any]]
    sizes: Sizes

    def save(self, path: Path) -> Path:
        """Write the network and return where: weights for `load_compressed`, or a graph (.pt2) for torch.export.load.

        Raises
        ------
        OSError
            If the file can't be written.
        """
        if self.form == "module":
            save_weights(self.model, path, {"sizes": json.dumps(self.sizes)})
            return path
        path = path.with_suffix(".pt2")
        with evaluating(self.model), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(exported(self.model, *self.example), path)
        return path

    def table(self) -> str:
        """Return one line for each parameter with zero slices that stayed."""
        return "\n".join(f"{name}: {n} zero slices stay: {why}" for (name, why), n in sorted(self.kept.items()))


@torch.no_grad()
def compression(model: nn.Module, example_input: Any) -> Compression:
    """Return a smaller copy of a network whose outputs equal the model's, and what stayed.

    A unit (see `group_parameters` with by="unit") is removed if nothing that stays reads more than zero from it: its
    value is zero for all inputs, or the weights that read it are zero. A value that is constant but not zero goes into
    the bias of the layer that reads it; it stays where there is none, and before a convolution with padding, whose
    borders see less of it. One unit is kept where all could go. Everything is as in evaluation mode.

    Parameters
    ----------
    model
        Any module that torch.export can trace. What an operation without a rule touches stays, and is named.
    example_input
        What `model` is called with: a tensor, a tuple of arguments, or a mapping of named ones.

    Raises
    ------
    TypeError, ValueError
        If model or example_input is something else, or the model can't be traced.
    CompressionError
        If the outputs for the example differ beyond rounding (1e-5 of the largest entry in float32, 1e-11 in float64):
        the first layer that differs is named.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={type(model).__name__} must be a torch.nn.Module")
    flow = follow(trace(model, example_input))
    removal = removable(flow)
    tensors = small_tensors(flow, removal)
    graph = graph_form(flow, removal, tensors)
    failed: NotRunError | None = None
    try:
        check_graph(flow, removal, graph)
    except NotRunError as error:  # the model's own code may do without
        failed = error
    before = run(model, flow.trace)
    try:
        small = module_form(model, flow, removal, tensors)
        fits = same_outputs(before, run(small, flow.trace))
    except Exception:  # whatever the model's own code raises where it insists on its sizes
        fits = False
    example = flow.trace.args, flow.trace.kwargs
    if fits:
        sizes = sizes_of(flow, removal)
        return Compression(small, "module", len(removal.removed), removal.kept, example, sizes)
    if failed is not None:
        raise failed
    if not same_outputs(before, run(graph, flow.trace)):
        raise CompressionError("the traced graph has other outputs than the model: its forward depends on values")
    graph.train(model.training)
    return Compression(graph, "graph", len(removal.removed), removal.kept, example, {})


def compress(model: nn.Module, example_input: Any) -> nn.Module:
    """Return a smaller copy of a network whose outputs equal the model's; see `compression`."""
    return compression(model, example_input).model


def load_compressed(model: nn.Module, path: Path) -> nn.Module:
    """Give the model the sizes and weights of a compressed copy of it, saved by `Compression.save`, and return it.

    Raises
    ------
    ValueError
        If the file is damaged or has other tensors.
    """
    stored = read_weights(path)
    if not set(stored) <= set(model.state_dict()):
        raise ValueError(f"{path} holds the weights of another model: build that one")
    place_tensors(model, stored)
    set_sizes(model, json.loads(read_metadata(path).get("sizes", "{}")))
    return model
