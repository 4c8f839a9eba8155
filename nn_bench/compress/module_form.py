"""The model's own class with smaller tensors, where its code takes its sizes from them or from known layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from manifold_id.optim.flow import Flow
from manifold_id.optim.flow.rules import name_of
from nn_bench.compress.graph_form import kept_along
from nn_bench.compress.removable import Removal

Sizes = dict[str, dict[str, int]]  # layer -> attribute -> number


def module_form(model: nn.Module, flow: Flow, removal: Removal, tensors: dict[str, Tensor]) -> nn.Module:
    """Return a copy of the model with the changed tensors, and the sizes that its layers keep beside them."""
    small = copy.deepcopy(model)
    by_name = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    new = {id(by_name[name]): value for name, value in tensors.items() if name in by_name}
    place_tensors(small, {name: new[id(old)] for name, old in by_name.items() if id(old) in new})
    set_sizes(small, sizes_of(flow, removal))
    return small


def place_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors of other shapes in the place of parameters and buffers, and tell the layers."""
    touched = set()
    for name, value in tensors.items():
        where, _, leaf = name.rpartition(".")
        layer = model.get_submodule(where)
        if leaf in layer._parameters:
            layer._parameters[leaf] = value if isinstance(value, nn.Parameter) else nn.Parameter(value)
        else:
            layer._buffers[leaf] = value
        touched.add(where)
    for where in touched:
        _tell(model.get_submodule(where))


def _tell(layer: nn.Module) -> None:
    """Set in_features, out_channels ... from the shapes."""
    weight: Any = layer._parameters.get("weight")
    if isinstance(layer, nn.Linear) and weight is not None:
        layer.out_features, layer.in_features = weight.shape
    elif isinstance(layer, _ConvNd) and weight is not None:
        outer = int(isinstance(layer, _ConvTransposeNd))
        if layer.groups == 1:
            layer.out_channels, layer.in_channels = weight.shape[outer], weight.shape[1 - outer]
        else:  # whole blocks went
            whole = layer.in_channels if outer else layer.out_channels
            layer.groups = layer.groups * weight.shape[0] // whole
            a, b = weight.shape[0], weight.shape[1] * layer.groups
            layer.in_channels, layer.out_channels = (a, b) if outer else (b, a)
    elif isinstance(layer, _NormBase):
        one: Any = layer.running_mean if weight is None else weight
        layer.num_features = layer.num_features if one is None else len(one)
    elif isinstance(layer, nn.GroupNorm) and weight is not None:
        layer.num_groups = layer.num_groups * len(weight) // layer.num_channels
        layer.num_channels = len(weight)
    elif isinstance(layer, nn.Embedding) and weight is not None:
        layer.embedding_dim = weight.shape[1]
    elif isinstance(layer, nn.RNNBase):
        layer.hidden_size, layer.input_size = layer.weight_hh_l0.shape[1], layer.weight_ih_l0.shape[1]  # type: ignore
        layer._init_flat_weights()
    elif isinstance(layer, nn.RNNCellBase):
        layer.hidden_size, layer.input_size = layer.weight_hh.shape[1], layer.weight_ih.shape[1]


def sizes_of(flow: Flow, removal: Removal) -> Sizes:
    """Return the sizes that layers keep as numbers and that no tensor of theirs tells."""
    found: Sizes = {}
    for node, value in flow.values.items():
        if node.op != "call_function" or name_of(node.target) != "group_norm" or isinstance(value, list):
            continue
        keep = kept_along(value, removal)[1]
        if not keep.all():
            groups = int(node.args[1]) * int(keep.sum()) // len(keep)  # type: ignore[arg-type]
            found[flow.trace.layer(node)] = {"num_groups": groups, "num_channels": int(keep.sum())}
    return found


def set_sizes(model: nn.Module, sizes: Sizes) -> None:
    """Set the sizes where the model has such layers."""
    layers = dict(model.named_modules())
    for where, given in sizes.items():
        if isinstance(layers.get(where), nn.GroupNorm):
            for name, size in given.items():
                setattr(layers[where], name, size)
