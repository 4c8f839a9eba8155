"""The structure of a network's regularized tensors at every optimizer step, without waiting for the device."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.hooks import StepFollower
from manifold_id.optim.joint import Part, parts
from manifold_id.optim.rmda import DualAveraging
from manifold_id.regularizers.base import Regularizer
from manifold_id.regularizers.product import Product
from manifold_id.regularizers.sparse_group import SparseGroupLasso
from manifold_id.regularizers.total_variation import TotalVariation
from manifold_id.trace import Trace
from manifold_id.validation import integer, unknown_name


class Layer(NamedTuple):
    """What one regularizer acts on, a tensor or several jointly; its atoms are start .. stop - 1 of the trace."""

    part: Part
    start: int
    stop: int
    axes: tuple[tuple[int, ...], ...]  # for each tensor the axes of one group, where groups run along an axis; else ()
    free: Tensor | None  # bool (atoms,): the groups that are active even at 0; with `axes` only

    @property
    def name(self) -> str:
        """That of the tensor; of the first where there are several."""
        return self.part.name

    @property
    def parameter(self) -> Tensor:
        """The tensor; the first where there are several."""
        return self.part.tensors[0]

    @property
    def regularizer(self) -> Regularizer:
        """What acts on it."""
        return self.part.regularizer

    def codes(self) -> Tensor:
        """Return regularizer.structure of the parameters, flat; along an axis by extrema, several times faster."""
        if self.free is None:
            return self.regularizer.structure(self.part.point()).reshape(-1)
        active = self.free.to(self.parameter.device)
        for p, axes in zip(self.part.tensors, self.axes, strict=True):
            x = p.detach()
            low, high = (x, x) if not axes else (x.amin(axes), x.amax(axes))
            active = active | (low != 0) | (high != 0)
        return active.to(torch.int8)


class OptimizerTracker(StepFollower):
    """Records the structure of every regularized tensor, and of its proximal point, after each step of an optimizer.

        tracker = ManifoldTracker(optimizer)          # from now on every optimizer.step() is recorded
        ... train ...
        tracker.trace.last_change                     # the step at which the network's structure settled
        tracker.sparsity("conv2.weight")

    A tensor is followed if its param group has a `regularizer`; a group of a plain torch optimizer may have that entry
    too, and then names the atoms only. Steps that a gradient scaler skips are no steps. The bits of `block` steps are
    packed on the device and fetched at once, so that there is one synchronization every `block` steps. Where the
    proximal point is not the parameter itself, its structure is `proximal_structure` of the optimizer, which knows that
    of groups along an axis from its step. A regularizer that was assigned to a group counts from the next step on.
    A copy of tracker and optimizer together (copy.deepcopy, pickle) goes on by itself.

    Parameters
    ----------
    optimizer
        Any torch optimizer. Parameters added later are not followed.
    block
        Steps between two fetches, >= 1.

    Attributes
    ----------
    layers
        The tensors in the order of the trace's atoms; names are those of named parameters, else "group.place". Where
        groups span tensors, these are one layer, with the name of the first.
    steps
        The number of steps recorded.

    Raises
    ------
    TypeError, ValueError
        If `optimizer` is none, no group has a regularizer, or block < 1.
    """

    def __init__(self, optimizer: Optimizer, block: int = 64) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"source={type(optimizer).__name__} must be a Regularizer or a torch optimizer")
        self._block = integer("block", block, 1)
        self._optimizer = optimizer
        self.layers = _layers(optimizer)
        self.steps = 0
        self._wide = any(_wide(layer.regularizer) for layer in self.layers)
        self._atoms = self.layers[-1].stop
        row = self._row()
        self._log = _PackedLog(_host(row)[0], self._atoms, self._wide)
        self._prox_log: _PackedLog | None = None  # None as long as every proximal point was the parameter
        self._own = self._averaged()  # the layers' first tensors that are not their proximal points
        if self._own:
            self._prox_log = _PackedLog(_host(self._row(self._own))[0], self._atoms, self._wide)
        self._rows = torch.empty((self._block, row.numel()), dtype=torch.uint8, device=row.device)
        self._prox_rows = torch.empty_like(self._rows)
        self._filled = 0
        self._traces: tuple[Trace, Trace] | None = None
        self._attach()

    def _register(self) -> tuple[RemovableHandle, ...]:
        return (
            self._optimizer.register_step_pre_hook(self._prepare),  # before a schedule's hook changes the momentum
            self._optimizer.register_step_post_hook(self._record),
        )

    # ---------------------------------------------------------------- recording

    @torch._disable_dynamo
    def _prepare(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._renew_regularizers()
        self._own = self._averaged()

    def _renew_regularizers(self) -> None:
        """Follow regularizers that were assigned since the last step; the atoms must stay the same."""
        now = {p: group.get("regularizer") for group in self._optimizer.param_groups for p in group["params"]}
        regularizers = [now[layer.parameter] or layer.regularizer for layer in self.layers]
        if all(new == layer.regularizer for new, layer in zip(regularizers, self.layers, strict=True)):
            return
        layers = []
        for old, regularizer in zip(self.layers, regularizers, strict=True):
            layer = _layer(old.part._replace(regularizer=regularizer), old.start)
            if layer.stop != old.stop or (_wide(regularizer) and not self._wide):
                raise ValueError(
                    f"the new regularizer {regularizer!r} of {old.name!r} has other atoms than "
                    f"{old.regularizer!r}, which the tracker follows: make a new tracker"
                )
            layers.append(layer)
        self.layers = tuple(layers)

    def _averaged(self) -> set[Tensor]:
        return {e.parameter for e in self.layers if _has_own_proximal_point(self._optimizer, e.parameter)}

    @torch._disable_dynamo
    @torch.no_grad()
    def _record(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        row = self._row()
        if self._own and self._prox_log is None:
            self._flush()
            self._prox_log = self._log.copy()
        self._rows[self._filled] = row
        if self._own:
            row = self._row(self._own)
        if self._prox_log is not None:
            self._prox_rows[self._filled] = row
        self._filled += 1
        self.steps += 1
        self._traces = None
        if self._filled == self._block:
            self._flush()

    @torch.no_grad()
    def _row(self, averaged: Collection[Tensor] = ()) -> Tensor:
        """Return the codes of all tensors as bytes: a bit each where all are 0 or 1, else a byte each.

        They are those of the proximal points for the `averaged` parameters, else those of the parameters.
        """
        optimizer: Any = self._optimizer
        device = self.layers[0].parameter.device
        parts = [
            optimizer.proximal_structure(e.parameter) if e.parameter in averaged else e.codes() for e in self.layers
        ]
        codes = torch.cat([part.to(device) for part in parts])
        return codes.to(torch.int8).view(torch.uint8) if self._wide else _pack(codes > 0)

    def _flush(self) -> None:
        if self._filled:
            first = self.steps - self._filled + 1
            self._log.add(first, _host(self._rows[: self._filled]))
            if self._prox_log is not None:
                self._prox_log.add(first, _host(self._prox_rows[: self._filled]))
        self._filled = 0

    # ---------------------------------------------------------------- what is known

    def _both(self) -> tuple[Trace, Trace]:
        if self._traces is None:
            self._flush()
            first = self._log.trace(self.steps)
            self._traces = first, first if self._prox_log is None else self._prox_log.trace(self.steps)
        return self._traces

    @property
    def trace(self) -> Trace:
        """The structure of the parameters at each step; step 0 is when the tracker was made."""
        return self._both()[0]

    @property
    def prox_trace(self) -> Trace:
        """The structure of the proximal points; the object `trace` itself if they were the parameters throughout."""
        return self._both()[1]

    def layer_trace(self, name: str, proximal: bool = False) -> Trace:
        """Return the trace of one tensor alone; raises ValueError for an unknown name."""
        layer = self._layer(name)
        return self.part(self._both()[proximal], layer.start, layer.stop)

    @staticmethod
    def part(whole: Trace, start: int, stop: int) -> Trace:
        """Return the trace of the atoms start .. stop - 1 of `whole` alone."""
        keep = (whole.atom >= start) & (whole.atom < stop)
        log = (whole.step[keep], whole.atom[keep] - start, whole.new[keep])
        return Trace(whole.initial[start:stop], *log, steps=whole.steps)

    def stabilized_at(self, name: str | None = None, proximal: bool = False) -> int:
        """Return the last step at which the structure changed, of one tensor or (None) of all."""
        return (self._both()[proximal] if name is None else self.layer_trace(name, proximal)).last_change

    def sparsity(self, name: str | None = None, proximal: bool = False) -> float:
        """Return the share of the atoms that are not active after the last step, of one tensor or (None) of all."""
        trace = self._both()[proximal] if name is None else self.layer_trace(name, proximal)
        return 1 - float(trace.active_count(trace.steps)) / trace.atoms

    def reference(self, codes: Mapping[str, Any]) -> np.ndarray:
        """Return one vector of codes, as Trace's methods take it, from the codes of each tensor by its name.

        Raises
        ------
        ValueError
            For an unknown or a missing name, or a wrong number of codes.
        """
        for name in codes:
            self._layer(name)
        parts = []
        for layer in self.layers:
            if layer.name not in codes:
                raise ValueError(f"codes lack {layer.name!r}: give those of every regularized tensor")
            part = np.asarray(codes[layer.name]).reshape(-1)
            if len(part) != layer.stop - layer.start:
                raise ValueError(
                    f"codes of {layer.name!r} are {len(part)}, but it has {layer.stop - layer.start} atoms"
                )
            parts.append(part.astype(np.int8))
        return np.concatenate(parts)

    def _layer(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise unknown_name("tensor", name, [layer.name for layer in self.layers])

    # ---------------------------------------------------------------- on disk

    def state_dict(self) -> dict[str, Any]:
        """Return all that is recorded, as tensors and numbers."""
        self._flush()
        prox = None if self._prox_log is None else self._prox_log.state()
        return {"steps": self.steps, "atoms": self._said(), "log": self._log.state(), "prox_log": prox}

    def _said(self) -> list[list[str | int]]:
        return [[layer.name, layer.start, layer.stop] for layer in self.layers]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; raises ValueError if it is of other tensors or other numbers of atoms."""
        if state["atoms"] != self._said() or state["log"]["last"].numel() != self._rows.shape[1]:
            raise ValueError("state is that of other tensors: load it into a tracker of the same model and groups")
        self._filled, self._traces = 0, None
        self.steps = int(state["steps"])
        self._log = _PackedLog.restore(state["log"], self._atoms, self._wide)
        prox = state["prox_log"]
        self._prox_log = None if prox is None else _PackedLog.restore(prox, self._atoms, self._wide)


class _PackedLog:
    """The changes so far, found by comparing packed rows."""

    def __init__(self, row: np.ndarray, atoms: int, wide: bool) -> None:
        self._atoms, self._wide = atoms, wide
        self.first, self.last = row.copy(), row.copy()
        # arrays of the narrowest types: a network that flickers has millions of changes
        self.step, self.atom, self.new = array("i"), array("h" if atoms <= 1 << 15 else "i"), array("b")

    def add(self, first: int, rows: np.ndarray) -> None:
        """Take the rows of the steps first, first + 1, ..."""
        changed = rows ^ np.concatenate([self.last[None], rows[:-1]])
        row, byte = np.nonzero(changed)
        if len(row):
            atom, new = byte, rows[row, byte]
            if not self._wide:
                which, bit = np.nonzero(np.unpackbits(changed[row, byte][:, None], axis=1))
                row, byte = row[which], byte[which]
                atom, new = 8 * byte + bit, (rows[row, byte] >> (7 - bit)) & 1
            self._extend(first + row, atom, new)
        self.last = rows[-1].copy()

    def _extend(self, *columns: np.ndarray) -> None:
        if self.step.typecode == "i" and len(columns[0]) and columns[0][-1] >= 1 << 31:
            self.step = array("q", self.step)
        for own, more in zip((self.step, self.atom, self.new), columns, strict=True):
            own.frombytes(more.astype(own.typecode).tobytes())

    def trace(self, steps: int) -> Trace:
        arrays = (np.array(self.step, np.int64), np.array(self.atom, np.int32), np.array(self.new, np.int8))
        return Trace(self._codes(self.first), *arrays, steps=steps)

    def _codes(self, row: np.ndarray) -> np.ndarray:
        row = row.reshape(-1)
        return row.astype(np.int8) if self._wide else np.unpackbits(row)[: self._atoms].astype(np.int8)

    def copy(self) -> _PackedLog:
        return _PackedLog.restore(self.state(), self._atoms, self._wide)

    def state(self) -> dict[str, Tensor]:
        names = ("first", "last", "step", "atom", "new")
        return {name: torch.from_numpy(np.array(getattr(self, name))) for name in names}

    @classmethod
    def restore(cls, state: dict[str, Tensor], atoms: int, wide: bool) -> _PackedLog:
        log = cls(state["first"].cpu().numpy(), atoms, wide)
        log.last = state["last"].cpu().numpy().copy()
        log._extend(*(state[name].cpu().numpy() for name in ("step", "atom", "new")))
        return log


def _layers(optimizer: Optimizer) -> tuple[Layer, ...]:
    found: list[Layer] = []
    for part in parts(optimizer.param_groups):
        found.append(_layer(part, found[-1].stop if found else 0))
    if not found:
        raise ValueError("optimizer has no param group with a regularizer: there is no structure to follow")
    return tuple(found)


def _layer(part: Part, start: int) -> Layer:
    at_zero = part.regularizer.structure(torch.zeros_like(part.point()))
    stop = start + at_zero.numel()
    along = _group_axes(part)
    if not any(len(axis) for axis in along):
        return Layer(part, start, stop, (), None)
    return Layer(part, start, stop, along, at_zero.reshape(-1) > 0)


def _group_axes(part: Part) -> tuple[tuple[int, ...], ...]:
    """Return for each tensor the axes of one group, where the groups run along an axis of the whole tensor."""
    axis = getattr(part.regularizer, "axis", None)
    ndim = part.tensors[0].ndim if part.joint is None else 2
    plain = isinstance(part.regularizer, Product) and type(part.regularizer).structure is Product.structure
    whole = plain and getattr(part.regularizer, "event_ndim", None) in (None, ndim)
    if not whole or axis is None or not all(p.numel() for p in part.tensors):
        return ()
    runs = (axis,) if part.joint is None else part.joint
    return tuple(tuple(i for i in range(p.ndim) if i != at % p.ndim) for p, at in zip(part.tensors, runs, strict=True))


def _wide(regularizer: Regularizer) -> bool:
    """Return whether codes may be others than 0 and 1."""
    inner = getattr(regularizer, "regularizer", regularizer)
    known = (Product.structure, SparseGroupLasso.structure, TotalVariation.structure)
    return getattr(type(inner), "structure", None) not in known


def _has_own_proximal_point(optimizer: Optimizer, p: Tensor) -> bool:
    """Return whether the proximal point after this step may differ from the parameter."""
    if not isinstance(optimizer, ProximalOptimizer):
        return False
    if type(optimizer)._proximal_points is ProximalOptimizer._proximal_points:
        return False
    return not (isinstance(optimizer, DualAveraging) and optimizer._group_of(p)["momentum"] == 1)


def _pack(bits: Tensor) -> Tensor:
    """Return the bits, eight in each byte, the first in the highest place, as np.packbits does."""
    return torch.from_numpy(np.packbits(bits.numpy())) if bits.device.type == "cpu" else _pack_there(bits)


def _pack_there(bits: Tensor) -> Tensor:
    """The same on any device, by torch alone."""
    padded = torch.nn.functional.pad(bits, (0, -len(bits) % 8)).reshape(-1, 8)
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)  # made there: a copy would be waited for
    return (padded.to(torch.uint8) << places).sum(dim=1, dtype=torch.uint8)


def _host(rows: Tensor) -> np.ndarray:
    """Return rows of bytes as an array on the host, (steps, bytes), that shares no memory with them."""
    return np.atleast_2d(rows.cpu().numpy()).copy()
