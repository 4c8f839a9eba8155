"""Param groups of a network: which axis of which weight the groups of a regularizer run over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd

from manifold_id.optim.joint import Along, row_sizes
from manifold_id.optim.reshaped import Reshaped
from manifold_id.optim.units import certain_units, traced_units
from manifold_id.regularizers.base import Regularizer
from manifold_id.validation import unknown_name

Choice = int | Regularizer | None
Rule = Callable[[nn.Module, str, nn.Parameter], Choice]
RULES = ("input_channel", "output_channel", "neuron", "unit")


@dataclass(frozen=True)
class Entry:
    """What became of one parameter."""

    name: str
    module: str
    shape: tuple[int, ...]
    regularizer: Regularizer | None
    also: tuple[str, ...] = ()  # other names of the same (tied) tensor
    joint: tuple[str, Along] | None = None  # where groups span tensors: the name of the first, the axis in this one
    why: str = ""  # why it is not regularized, where that is a question

    @property
    def atoms(self) -> str:
        """How many groups it has, in words."""
        if self.regularizer is None:
            return f"not regularized{': ' * bool(self.why)}{self.why}"
        if self.joint is not None:
            first, along = self.joint
            at = along if isinstance(along, int) else along[0]
            count = self.shape[along] if isinstance(along, int) else len(set(along[1]))
            return f"{count} groups along axis {at}" if first == self.name else f"in those of {first}"
        inner: Any = self.regularizer
        shape, own = self.shape, True
        if isinstance(inner, Reshaped):
            inner, shape, own = inner.regularizer, inner.shape, False
        if (axis := getattr(inner, "axis", None)) is not None:
            batch = 0 if inner.event_ndim is None else len(shape) - inner.event_ndim
            blocks, point = shape[:batch], shape[batch:]
            count = math.prod(blocks)
            where = f" of {count} blocks {point}" if blocks else "" if own else f", read as {point}"
            return f"{count * point[axis]} groups along axis {axis}{where}"
        return repr(self.regularizer) if len(repr(self.regularizer)) < 60 else type(self.regularizer).__name__


class ParameterGroups(list[dict[str, Any]]):
    """A list of param groups, to be given to an optimizer; `entries` says what became of each parameter."""

    entries: tuple[Entry, ...] = ()

    def table(self) -> str:
        """Return one line for each parameter: name, layer, shape, groups."""
        rows = [
            (e.name + "".join(f" = {other}" for other in e.also), e.module, str(e.shape), e.atoms) for e in self.entries
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, [*widths, 0], strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)


def group_parameters(
    model: nn.Module,
    regularizer: Regularizer,
    by: str | Rule = "input_channel",
    verbose: bool = True,
    example_input: Any = None,
) -> ParameterGroups:
    """Return param groups for an optimizer: the weights, each with its regularizer, and the rest without one.

    Biases, norm layers and parameters of layers that are not known are not regularized. For a regularizer without
    groups (L1, NuclearNorm) `by` only chooses the weights. Each tensor is grouped once, under its first name.

    Parameters
    ----------
    model
        Any module; the layers known are Linear, ConvNd and ConvTransposeNd (grouped ones too), Embedding, RNN / LSTM /
        GRU and their cells, MultiheadAttention.
    regularizer
        Such as GroupLasso(1e-3, axis=0): its axis is replaced, layer by layer. lam and weights stay.
    by
        "input_channel": one group for each input of the layer: axis 1 of Linear, convolution, recurrent and attention
        weights; axis 0 of transposed convolutions and of Embedding (one group for each word).
        "output_channel": one group for each output of the layer: axis 0 of Linear, convolution and attention weights;
        axis 1 of transposed convolutions and of Embedding; in recurrent weights the rows of all gates of one unit.
        "neuron": the outgoing weights of each neuron of fully connected layers (as "input_channel", but convolutions
        are not regularized).
        "unit": one group for each unit that can be removed, across tensors, so that nothing is left of a unit whose
        group is zero: filters with their bias and the scale and shift of their norms; the channels of a residual
        stream over all blocks that add to it; attention heads; LSTM and GRU units over their gates; embedding columns;
        whole blocks of grouped convolutions and of group norms. Columns that read a unit lie in the units they
        make. Outputs, inputs and what the data flow ties to them are not regularized. Only for regularizers with
        groups. Without `example_input` only the layers inside an nn.Sequential are grouped; the table says why
        others are left.
        A function (module, parameter name within it, parameter) -> axis, or a regularizer, or None (not regularized).
    verbose
        Whether to print the table.
    example_input
        For "unit": what `model` is called with, a tensor, a tuple of arguments or a mapping of named ones. The data
        flow is traced on it, in evaluation mode.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong kind, an unknown `by`, a model without anything to regularize, or one that can't be
        traced.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={type(model).__name__} must be a torch.nn.Module")
    if not isinstance(regularizer, Regularizer):
        raise TypeError(f"regularizer={regularizer!r} must be a Regularizer such as GroupLasso(1e-3, axis=1)")
    if not callable(by) and by not in RULES:
        raise unknown_name("by", str(by), RULES)
    for name, p in model.named_parameters():
        if isinstance(p, nn.parameter.UninitializedParameter):
            raise ValueError(f"parameter {name!r} is lazy and has no shape yet: run the model once before grouping it")
    if by == "unit":
        return _shown(_by_unit(model, regularizer, example_input), verbose)
    names: dict[nn.Parameter, list[str]] = {}
    chosen: dict[nn.Parameter, tuple[nn.Module, Regularizer | None]] = {}
    for full, module, name, p in _named(model):
        names.setdefault(p, []).append(full)
        if p not in chosen or chosen[p][1] is None:  # a tied weight: by the first layer that is known
            chosen[p] = module, _choose(module, name, p, regularizer, by)
    if not any(own is not None for _, own in chosen.values()):
        raise ValueError(f"by={by!r} finds no weight to regularize in {type(model).__name__}: give a function")
    groups = ParameterGroups()
    for own in dict.fromkeys(own for _, own in chosen.values()):
        params = [(names[p][0], p) for p, (_, other) in chosen.items() if other == own]
        groups.append({"params": params, "regularizer": own})
    groups.entries = tuple(
        Entry(names[p][0], type(module).__name__, tuple(p.shape), own, tuple(names[p][1:]))
        for p, (module, own) in chosen.items()
    )
    return _shown(groups, verbose)


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Yield (whole name, layer, name within it, parameter); a tied parameter once for each layer that has it."""
    for prefix, module in model.named_modules():
        for name, p in module.named_parameters(recurse=False):
            yield f"{prefix}.{name}" if prefix else name, module, name, p


def _shown(groups: ParameterGroups, verbose: bool) -> ParameterGroups:
    if verbose:
        print(groups.table())
    return groups


def _by_unit(model: nn.Module, regularizer: Regularizer, example_input: Any) -> ParameterGroups:
    """Return one param group with joint groups for each family of units, and one for all else."""
    rows = _along(regularizer, 0, 2) if _has_groups(regularizer) else None
    if rows is None:
        raise ValueError(f"by='unit' needs a regularizer with groups such as GroupLasso(1e-3), not {regularizer!r}")
    found = certain_units(model) if example_input is None else traced_units(model, example_input)
    if not found.families:
        more = " in an nn.Sequential, or example_input to trace others" if example_input is None else ""
        name = type(model).__name__
        raise ValueError(f"by='unit' finds no inner units in {name}: it needs two layers with weights{more}")
    names: dict[nn.Parameter, list[str]] = {}
    layers: dict[nn.Parameter, nn.Module] = {}
    for full, module, _, p in _named(model):
        names.setdefault(p, []).append(full)
        layers.setdefault(p, module)
    by_name = {name: p for p, own in names.items() for name in own}
    groups = ParameterGroups()
    spanned: dict[nn.Parameter, tuple[str, Along, Regularizer]] = {}
    for family in found.families:
        joint = tuple(along for _, along in family)
        psi = _of_rows(rows, [tuple(by_name[name].shape) for name, _ in family], joint)
        first = names[by_name[family[0][0]]][0]
        params = [(names[by_name[name]][0], by_name[name]) for name, _ in family]
        groups.append({"params": params, "regularizer": psi, "joint": joint})
        spanned |= {by_name[name]: (first, along, psi) for name, along in family}
    rest = [(names[p][0], p) for p in names if p not in spanned]
    groups.append({"params": rest, "regularizer": None})
    why = {by_name[name]: reason for name, reason in found.left.items()}
    entries = []
    for p, (name, *others) in names.items():
        entry = Entry(name, type(layers[p]).__name__, tuple(p.shape), None, tuple(others))
        if p in spanned:
            first, along, own = spanned[p]
            entry = replace(entry, regularizer=own, joint=(first, along))
        else:
            entry = replace(entry, why=why.get(p, "" if p.requires_grad else "it needs no gradient"))
        entries.append(entry)
    groups.entries = tuple(entries)
    return groups


def _of_rows(rows: Regularizer, shapes: list[tuple[int, ...]], joint: tuple[Along, ...]) -> Regularizer:
    """Return the regularizer of the joined matrix: of rows, each weighted by its own size where they are unequal."""
    if all(isinstance(along, int) for along in joint):
        return rows
    sizes = row_sizes(shapes, joint)
    if getattr(rows, "weights", None) == "sqrt_size":
        rows = replace(rows, weights=tuple(math.sqrt(n) for n in sizes.tolist()))  # type: ignore[type-var]
    return Reshaped(rows, (len(sizes), int(sizes.max())))


def _choose(
    module: nn.Module, name: str, p: nn.Parameter, regularizer: Regularizer, by: str | Rule
) -> Regularizer | None:
    """Return the regularizer of one parameter."""
    if callable(by):
        choice = by(module, name, p)
        choice = int(choice) if isinstance(choice, np.integer) else choice
        if isinstance(choice, bool) or not (choice is None or isinstance(choice, (int, Regularizer))):
            raise TypeError(f"by(...) returned {choice!r} for {name!r}: return an axis, a regularizer or None")
    else:
        choice = next(iter(_rule(module, name, p, regularizer, by)), None)
    if choice is None or isinstance(choice, Regularizer):
        return choice
    if not -p.ndim <= choice < p.ndim:
        raise ValueError(f"axis {choice} is out of range for {name!r} of shape {tuple(p.shape)}")
    return _along(regularizer, choice % p.ndim, p.ndim)


def _has_groups(regularizer: Regularizer) -> bool:
    return is_dataclass(regularizer) and {"axis", "groups"} <= {f.name for f in fields(regularizer)}


def _along(regularizer: Regularizer, axis: int, ndim: int, event_ndim: int | None = None) -> Regularizer | None:
    """Return the regularizer with its groups along an axis; one without groups as it is, where it fits."""
    if _has_groups(regularizer):
        return replace(regularizer, groups=None, axis=axis, event_ndim=event_ndim)  # type: ignore[type-var]
    return regularizer if (regularizer.event_ndim or 0) in (0, 1, ndim) else None


def _rule(module: nn.Module, name: str, p: nn.Parameter, regularizer: Regularizer, by: str) -> Iterator[Choice]:
    """Yield the choice for a weight of a known layer; nothing for all else."""
    inputs = by != "output_channel"
    if isinstance(module, _ConvNd):
        if name == "weight" and by != "neuron":
            yield _convolution(module, p, regularizer, inputs)
    elif isinstance(module, nn.Embedding):
        if name == "weight":
            yield 0 if inputs else 1
    elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        if name.startswith("weight"):
            gates = 1 if "weight_hr" in name else p.shape[0] // module.hidden_size
            yield 1 if inputs else _rows(p, gates, regularizer)
    elif isinstance(module, nn.MultiheadAttention):
        if name.endswith("proj_weight"):
            yield 1 if inputs else 0
    elif isinstance(module, nn.Linear) and name == "weight":
        yield 1 if inputs else 0


def _convolution(module: _ConvNd, p: nn.Parameter, regularizer: Regularizer, inputs: bool) -> Choice:
    """Return the choice for a convolution's weight: (out, in / g, ...), transposed (in, out / g, ...)."""
    if inputs == module.transposed:
        return 0
    blocks = module.groups
    if blocks == 1 or not _has_groups(regularizer):
        return 1
    if p.shape[0] == blocks and p.shape[1] == 1:  # depthwise: every filter is the whole group of its channel
        return 0
    shape = (blocks, p.shape[0] // blocks, *p.shape[1:])
    inner = _along(regularizer, 1, p.ndim, event_ndim=p.ndim)
    assert inner is not None
    return Reshaped(inner, shape)


def _rows(p: nn.Parameter, gates: int, regularizer: Regularizer) -> Choice:
    """Return the choice for recurrent weights (gates * hidden, in), grouped by hidden unit."""
    if gates == 1 or not _has_groups(regularizer):
        return 0
    inner = _along(regularizer, 1, 3)
    assert inner is not None
    return Reshaped(inner, (gates, math.prod(p.shape[:1]) // gates, p.shape[1]))
