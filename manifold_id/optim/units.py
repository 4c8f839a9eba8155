"""The units of a network that a penalty can switch off: which slices of which parameters make each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from manifold_id.optim.flow import Units, follow, trace
from manifold_id.optim.joint import Along

Family = list[tuple[str, Along]]  # parameters by name, each with the axis (and numbers) of its slices


@dataclass
class Found:
    """Families of units that share no parameter, and why the other parameters are left."""

    families: list[Family] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def traced_units(model: nn.Module, example_input: Any) -> Found:
    """Return the units that the data flow of model(example_input) shows.

    A unit's members are the slices that make it: rows of weights and biases, scales and shifts of norms, columns of
    embeddings. What reads it (the columns of the next layers) is removed with it, but lies in the units it makes.
    """
    flow = follow(trace(model, example_input))
    units = Units(flow)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = Found()
    members: dict[str, tuple[int, np.ndarray]] = {}
    for name, value in flow.tensors.items():
        if name not in trained:
            continue
        made = [(axis, units.along(name, axis)) for axis in range(len(value.shape)) if (name, axis) in flow.produced]
        some = [(axis, own) for axis, own in made if (own >= 0).any()]
        if name in flow.normed:
            found.left[name] = "a direction, divided by its norm: the magnitude beside it decides"
        elif not some:
            axis = made[0][0] if made else 0
            found.left[name] = units.why(name, axis) if value.axes else "a number"
        elif (some[0][1] < 0).any():
            found.left[name] = f"some of its slices stay: {units.why(name, some[0][0])}"
        else:
            members[name] = some[0]
    for names in _connected({name: set(own.tolist()) for name, (_, own) in members.items()}):
        numbers = {u: i for i, u in enumerate(dict.fromkeys(u for name in names for u in members[name][1].tolist()))}
        family: Family = []
        for name in names:
            axis, own = members[name]
            rows = tuple(numbers[u] for u in own.tolist())
            family.append((name, axis if rows == tuple(range(len(numbers))) else (axis, rows)))
        found.families.append(family)
    return found


def _connected(units: dict[str, set[int]]) -> list[list[str]]:
    """Return the names in families that share no unit."""
    families: list[tuple[list[str], set[int]]] = []
    for name, own in units.items():
        joined, numbers = [name], set(own)
        apart = []
        for names, others in families:
            if others & own:
                joined, numbers = names + joined, numbers | others
            else:
                apart.append((names, others))
        families = [*apart, (joined, numbers)]
    order = {name: i for i, name in enumerate(units)}
    sorted_families = [sorted(names, key=order.__getitem__) for names, _ in families]
    return sorted(sorted_families, key=lambda names: order[names[0]])


_BETWEEN = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.Flatten, nn.Dropout,
            nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d,
            nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
            _NormBase)  # fmt: skip


def certain_units(model: nn.Module) -> Found:
    """Return the units that are certain without an example: those between two layers of one nn.Sequential."""
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    names = {id(p): name for name, p in model.named_parameters()}
    found = Found()
    for chain in _chains(model):
        weighted = [i for i, layer in enumerate(chain) if isinstance(layer, (nn.Linear, _ConvNd))]
        for i, j in pairwise(weighted):
            layer, between = chain[i], chain[i + 1 : j]
            own = [layer._parameters.get("weight"), layer._parameters.get("bias")]
            if (
                own[0] is None
                or _blocks(layer)
                or _blocks(chain[j])
                or not all(isinstance(m, _BETWEEN) for m in between)
            ):
                continue
            axis = int(isinstance(layer, _ConvTransposeNd))
            outputs = own[0].shape[axis]
            for norm in (m for m in between if isinstance(m, _NormBase)):
                own += [norm.weight, norm.bias] if norm.num_features == outputs else []
            if all(uses[id(p)] == 1 for p in own if p is not None) and own[0].requires_grad:
                trained = [p for p in own if p is not None and p.requires_grad]
                found.families.append([(names[id(p)], axis if p is own[0] else 0) for p in trained])
    inside = {name for family in found.families for name, _ in family}
    reason = "where its values go is not known: give example_input"
    found.left = {name: reason for name, p in model.named_parameters() if name not in inside and p.requires_grad}
    return found


def _blocks(layer: nn.Module) -> bool:
    return isinstance(layer, _ConvNd) and layer.groups != 1


def _chains(module: nn.Module) -> Iterator[list[nn.Module]]:
    """Yield the layers that each nn.Sequential runs one after the other."""
    if type(module).forward is nn.Sequential.forward:
        flat = list(_flat(module))
        yield flat
        inner = [layer for layer in flat if not isinstance(layer, (nn.Linear, _ConvNd))]
    else:
        inner = list(module.children())
    for child in inner:
        yield from _chains(child)


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if type(child).forward is nn.Sequential.forward:
            yield from _flat(child)
        else:
            yield child
