"""Zero groups taken out of a network: a smaller one with the same outputs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


@torch.no_grad()
def compress(model: nn.Sequential) -> nn.Sequential:
    """Return a smaller copy of a chain of layers (LeNet-5, MLP, VGG ...) whose outputs equal the model's.

    Between two layers with weights an inner channel or unit is removed if the later layer ignores it (its input
    weights are all zero), or if it is always zero: its own weights and bias are zero and nothing after it, such as a
    batch normalization, makes it another constant. Inputs and outputs of the network keep their number. One channel is
    kept where all could go.

    Parameters
    ----------
    model
        A chain of Linear, Conv2d (groups = 1), BatchNorm1d / 2d, activations with value 0 at 0, pooling, dropout and
        Flatten; batch normalization as in evaluation mode.

    Raises
    ------
    TypeError, ValueError
        If the model is no nn.Sequential, or has a layer of another kind.
    """
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"model={type(model).__name__} must be an nn.Sequential of layers: branches are not supported")
    small = copy.deepcopy(model)
    for name, layer in small.named_children():
        if not isinstance(layer, _KNOWN) or (isinstance(layer, nn.Conv2d) and layer.groups != 1):
            raise ValueError(f"layer {name!r} is {layer}: compress knows chains of linear, convolution and norm layers")
    while True:  # removing a unit empties others before it
        before = sum(p.numel() for p in small.parameters())
        layers = list(small.children())
        weighted = [i for i, layer in enumerate(layers) if isinstance(layer, (nn.Linear, nn.Conv2d))]
        for a, b in zip(weighted[-2::-1], weighted[:0:-1], strict=True):
            _shrink(layers[a], layers[a + 1 : b], layers[b])
        if sum(p.numel() for p in small.parameters()) == before:
            return small


_ZERO_AT_ZERO = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout)
_KNOWN = (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.Flatten, nn.Identity, *_ZERO_AT_ZERO)


def _shrink(first: nn.Module, between: list[nn.Module], second: nn.Module) -> None:
    """Remove the channels between two layers that do not matter."""
    own, later = _weight(first), _weight(second)
    inputs = later.shape[1]
    share = inputs // own.shape[0]  # columns of a linear layer for each channel, after Flatten
    if share * own.shape[0] != inputs:
        raise ValueError(f"{first} gives {own.shape[0]} channels, but {second} takes {inputs}: not a chain")
    used = (later != 0).reshape(later.shape[0], own.shape[0], -1).any(dim=2).any(dim=0)
    value = (own == 0).reshape(own.shape[0], -1).all(dim=1)
    bias = first.bias
    if isinstance(bias, Tensor):
        value &= bias == 0
    for layer in between:
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert layer.running_mean is not None and layer.running_var is not None
            scale, shift = layer.weight / (layer.running_var + layer.eps).sqrt(), layer.bias
            value = (scale == 0) & (shift == 0) | value & (shift - layer.running_mean * scale == 0)
    keep = used & ~value
    if not bool(keep.any()):
        keep[0] = True
    if bool(keep.all()):
        return
    first.weight = nn.Parameter(own[keep])
    if isinstance(bias, Tensor):
        first.bias = nn.Parameter(bias[keep])
    for layer in between:
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for name in ("weight", "bias"):
                setattr(layer, name, nn.Parameter(getattr(layer, name)[keep]))
            layer.running_mean, layer.running_var = _buffer(layer.running_mean, keep), _buffer(layer.running_var, keep)
            layer.num_features = int(keep.sum())
    second.weight = nn.Parameter(later[:, keep.repeat_interleave(share)])
    _rename(first, "out", int(keep.sum()))
    _rename(second, "in", int(keep.sum()) * share)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def _buffer(values: Tensor | None, keep: Tensor) -> Tensor | None:
    return None if values is None else values[keep]


def _rename(layer: nn.Module, side: str, count: int) -> None:
    """Set in_features, out_channels ... as printed."""
    setattr(layer, f"{side}_{'features' if isinstance(layer, nn.Linear) else 'channels'}", count)
