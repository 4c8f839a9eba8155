"""Zero groups taken out of a network: a smaller one with the same outputs, saved and loaded without pickling."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nn_bench.checkpoint import read_weights


@torch.no_grad()
def compress(model: nn.Module) -> nn.Module:
    """Return a smaller copy of a network whose outputs equal the model's.

    Between two neighbouring layers with weights an inner channel or unit is removed if the later layer ignores it (its
    input weights are all zero), or if it is a constant: its own weights are all zero, or the scale of the batch
    normalization after it. What a constant other than zero adds to the later layer goes into that layer's bias, exact
    to rounding; it stays where there is no bias, or where the borders see less of it: before a convolution with
    padding, and around average pooling with padding. One channel is kept where all could go.

    Neighbours are layers that follow each other in an nn.Sequential, with nothing but batch normalization and dropout
    (as in evaluation mode), activations with value 0 at 0, pooling and Flatten between them: all of LeNet-5, MLP and
    VGG, the inside of each residual block, and the feed-forward part of a transformer layer. What several branches
    share, such as the channels that the residual blocks add to, keeps its size, and so do inputs and outputs.

    Raises
    ------
    ValueError
        If the model has no such neighbours, or two of them share a weight with another layer.
    """
    small = copy.deepcopy(model)
    pairs = [pair for chain in _chains(small) for pair in _neighbours(chain)]
    if not pairs:
        raise ValueError(f"model={type(model).__name__} has no two layers in a row in an nn.Sequential: no inner units")
    uses = Counter(id(p) for m in small.modules() for p in m._parameters.values() if p is not None)
    for first, _, second in pairs:
        if any(uses[id(p)] > 1 for layer in (first, second) for p in layer.parameters()):
            raise ValueError(f"{first} or {second} shares its weight with another layer: its units can't be removed")
    while True:  # removing a unit empties others before it
        before = sum(p.numel() for p in small.parameters())
        for first, between, second in reversed(pairs):
            _shrink(first, between, second)
        if sum(p.numel() for p in small.parameters()) == before:
            return small


def load_compressed(model: nn.Module, path: Path) -> nn.Module:
    """Give the model the sizes and weights of a compressed copy of it, saved by `save_weights`, and return it.

    Raises
    ------
    ValueError
        If the file is damaged or has other tensors.
    """
    stored = read_weights(path)
    if set(stored) != set(model.state_dict()):
        raise ValueError(f"{path} holds the weights of another model: build that one")
    for name, value in stored.items():
        where, _, leaf = name.rpartition(".")
        layer = model.get_submodule(where)
        setattr(layer, leaf, nn.Parameter(value) if leaf in layer._parameters else value)
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            for side, axis in (("out", 0), ("in", 1)):
                _rename(layer, side, layer.weight.shape[axis])
        elif isinstance(layer, _NORMS):
            layer.num_features = len(layer.weight)
    return model


def _chains(module: nn.Module) -> Iterator[list[nn.Module]]:
    """Yield the runs of layers, each fed by the one before it alone."""
    if isinstance(module, nn.TransformerEncoderLayer):
        activation = _MODULES.get(module.activation, module.activation)
        if isinstance(activation, _ACTIVATIONS):
            yield [module.linear1, activation, module.linear2]
    elif isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for known, run in itertools.groupby(module, _known):
            if known:
                yield list(run)
            else:
                for part in run:
                    yield from _chains(part)
    else:
        for part in module.children():
            yield from _chains(part)


def _neighbours(chain: list[nn.Module]) -> list[tuple[nn.Module, list[nn.Module], nn.Module]]:
    """Return (layer, what is between, next layer) for the layers with weights of a chain."""
    weighted = [i for i, layer in enumerate(chain) if isinstance(layer, (nn.Linear, nn.Conv2d))]
    return [(chain[a], chain[a + 1 : b], chain[b]) for a, b in itertools.pairwise(weighted)]


def _known(layer: nn.Module) -> bool:
    return isinstance(layer, _KNOWN) and not (isinstance(layer, nn.Conv2d) and layer.groups != 1)


_ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh)
_MODULES: dict[Any, nn.Module] = {functional.relu: nn.ReLU(), functional.gelu: nn.GELU()}
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_KNOWN = (nn.Linear, nn.Conv2d, nn.Flatten, nn.Identity, nn.Dropout, *_NORMS, *_ACTIVATIONS, *_POOLS)


def _shrink(first: nn.Module, between: list[nn.Module], second: nn.Module) -> None:
    """Remove the channels between two layers that do not matter."""
    own, later = _weight(first), _weight(second)
    inputs = later.shape[1]
    share = inputs // own.shape[0]  # columns of a linear layer for each channel, after Flatten
    if share * own.shape[0] != inputs:
        raise ValueError(f"{first} gives {own.shape[0]} channels, but {second} takes {inputs}: not a chain")
    used = (later != 0).reshape(later.shape[0], own.shape[0], -1).any(dim=2).any(dim=0)
    constant, value = _constants(first, between)
    takes = second.bias is not None and getattr(second, "padding", (0, 0)) in ((0, 0), "valid")
    keep = used & ~(constant & ((value == 0) | takes))
    if not bool(keep.any()):
        keep[0] = True
    if bool(keep.all()):
        return
    shift = torch.where(~keep & used, value, 0).repeat_interleave(share).double()
    if bool(shift.any()):
        bias = _bias(second)
        assert bias is not None
        added = later.double().reshape(*later.shape[:2], -1).sum(dim=2) @ shift
        second.bias = nn.Parameter((bias.double() + added).to(bias.dtype))
    first.weight = nn.Parameter(own[keep])
    if (bias := _bias(first)) is not None:
        first.bias = nn.Parameter(bias[keep])
    for layer in between:
        if isinstance(layer, _NORMS):
            for name in ("weight", "bias"):
                setattr(layer, name, nn.Parameter(getattr(layer, name)[keep]))
            layer.running_mean, layer.running_var = _buffer(layer.running_mean, keep), _buffer(layer.running_var, keep)
            layer.num_features = int(keep.sum())
    second.weight = nn.Parameter(later[:, keep.repeat_interleave(share)])
    _rename(first, "out", int(keep.sum()))
    _rename(second, "in", int(keep.sum()) * share)


def _constants(first: nn.Module, between: list[nn.Module]) -> tuple[Tensor, Tensor]:
    """Return which channels have one value for all inputs and places where the next layer takes them, and the value."""
    own, bias = _weight(first), _bias(first)
    constant = (own == 0).reshape(own.shape[0], -1).all(dim=1)
    value = torch.where(constant, own.new_zeros(len(own)) if bias is None else bias, 0)
    for layer in between:
        if isinstance(layer, _NORMS):
            assert layer.running_mean is not None and layer.running_var is not None
            scale = layer.weight / (layer.running_var + layer.eps).sqrt()
            constant = constant | (scale == 0)
            value = torch.where(constant, (value - layer.running_mean) * scale + layer.bias, 0)
        elif isinstance(layer, _ACTIVATIONS):
            value = layer(value)
        elif isinstance(layer, nn.AvgPool2d) and (layer.padding not in (0, (0, 0)) or layer.divisor_override):
            constant = constant & (value == 0)
    return constant, value


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def _bias(layer: nn.Module) -> Tensor | None:
    return layer.bias.detach() if isinstance(layer.bias, Tensor) else None


def _buffer(values: Tensor | None, keep: Tensor) -> Tensor | None:
    return None if values is None else values[keep]


def _rename(layer: nn.Module, side: str, count: int) -> None:
    """Set in_features, out_channels ... as printed."""
    setattr(layer, f"{side}_{'features' if isinstance(layer, nn.Linear) else 'channels'}", count)
