"""The units of a network: what must be zero together for an output of a layer to be gone."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Unit = list[tuple[nn.Parameter, int]]  # parameters, each with the axis that runs over the units
_NORMS = (_NormBase, nn.GroupNorm)  # of channels: a layer norm often comes after a sum


def units(model: nn.Module) -> list[Unit]:
    """Return for each Linear and convolution but the last: its weight, its bias, and its norm layer's scale and shift.

    The norm layer (batch, instance or group) is registered right after it and has one entry for each output. Left out
    are parameters that need no gradient, those that belong to an earlier unit (tied), layers whose weight is, and
    transposed convolutions with groups. "Last" is the layer registered last, whose outputs are the network's.
    """
    found: list[Unit] = []
    taken: set[nn.Parameter] = set()
    for layer, norm in list(_layers(model))[:-1]:
        transposed = isinstance(layer, _ConvTransposeNd)
        weight = layer.weight
        assert isinstance(weight, nn.Parameter)
        if weight in taken or not weight.requires_grad or (transposed and layer.groups != 1):
            continue
        unit: Unit = [(weight, int(transposed))]
        outputs = weight.shape[int(transposed)]
        beside = [layer.bias, *([norm.weight, norm.bias] if isinstance(norm, _NORMS) else [])]
        for p in beside:
            if isinstance(p, nn.Parameter) and p.shape == (outputs,) and p.requires_grad and p not in taken:
                unit.append((p, 0))
        taken.update(p for p, _ in unit)
        found.append(unit)
    return found


def _layers(
    module: nn.Module, after: nn.Module | None = None
) -> Iterator[tuple[nn.Linear | _ConvNd, nn.Module | None]]:
    """Yield each layer with weights in the order of registration, and what is registered right after it."""
    if isinstance(module, (nn.Linear, _ConvNd)):
        yield module, after
    children = list(module.children())
    for i, child in enumerate(children):
        yield from _layers(child, children[i + 1] if i + 1 < len(children) else None)
