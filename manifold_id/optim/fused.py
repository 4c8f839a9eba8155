"""The step by compiled CPU kernels: each tensor is read and written once, a few threads share the tensors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from manifold_id.optim import kernels
from manifold_id.optim.foreach import group_weights, is_sliced
from manifold_id.optim.layout import is_dense, layout
from manifold_id.optim.step import Slot, Step, proximal
from manifold_id.regularizers import L1, GroupLasso
from manifold_id.regularizers.base import Regularizer

if TYPE_CHECKING:
    from manifold_id.optim.base import ProximalOptimizer

_LARGEST = 1 << 22  # entries of one unit of work: y and d of a thread stay below the last cache level
_ENTRIES = 1 << 16  # the same where there are no groups
_THREADED = 1 << 17  # below this many entries in all, threads cost more than they bring
_TALL = 1 << 14  # more rows than that are summed in double
_SMALL = 1 << 13  # a tensor below this without regularizer (a bias) costs less in torch's lists than a kernel's call


def supports(w: Tensor, regularizer: Regularizer | None) -> bool:
    """Return whether the kernels can treat the tensor."""
    if w.dtype not in (torch.float32, torch.float64) or type(w) not in (Tensor, torch.nn.Parameter):
        return False
    return is_sliced(regularizer, w) or ((regularizer is None or type(regularizer) is L1) and is_dense(w))


def pays(w: Tensor, regularizer: Regularizer | None) -> bool:
    """Return whether the kernels are faster than lists of tensors for a tensor that they support."""
    return regularizer is not None or w.numel() >= _SMALL


class Unit:
    """A part of a tensor that one thread treats at a time: whole groups, as (rows, width) of its memory."""

    __slots__ = ("inner", "limits", "rows", "slot", "span", "width")

    def __init__(self, slot: Slot, rows: int, row: int, start: int, width: int, inner: int, limits: Any) -> None:
        self.slot = slot
        self.rows, self.width, self.inner = rows, width, inner
        self.span = (start, row, width)  # where the first row starts, from row to row, its length
        self.limits = limits  # the groups' thresholds, or one number for entries, or None


def flat(x: Tensor) -> np.ndarray:
    """Return the memory of a dense tensor as a vector."""
    if x.is_contiguous():  # the cheaper way
        return x.numpy().reshape(-1)
    return x.as_strided((x.numel(),), (1,), x.storage_offset()).numpy()


def _aligned(slot: Slot) -> Slot:
    """Bring gradient and state into the parameter's own order of memory, by which the kernels pair the entries."""
    w, g, state = slot
    strides = w.stride()
    for key, x in state.items():  # of another order where the parameter's was changed, or a state loaded
        if isinstance(x, Tensor) and x.stride() != strides:
            state[key] = torch.empty_like(w, dtype=x.dtype).copy_(x)
    return slot if g.stride() == strides else slot._replace(g=torch.empty_like(w).copy_(g))


def _units(slot: Slot, regularizer: Regularizer | None, step: float) -> list[Unit]:
    w = slot.w
    kind = w.numpy().dtype.type
    if regularizer is None or step == 0 or isinstance(regularizer, L1):
        limit = kind(step * regularizer.lam) if isinstance(regularizer, L1) and step else None
        size = w.numel()
        return [Unit(slot, 1, size, a, min(_ENTRIES, size - a), 1, limit) for a in range(0, size, _ENTRIES)]
    assert isinstance(regularizer, GroupLasso)
    where = layout(w, regularizer.axis)
    limits = np.empty(where.groups, kind)
    limits[:] = step * np.asarray(group_weights(regularizer, w.shape))
    row = where.groups * where.inner
    count = max(1, _LARGEST // (where.outer * where.inner))
    units = []
    for a in range(0, where.groups, count):
        part = limits[a : a + count]
        units.append(Unit(slot, where.outer, row, a * where.inner, len(part) * where.inner, where.inner, part))
    return units


def shrink(regularizer: Regularizer | None, y: Tensor, step: float, d: Tensor | None) -> Tensor:
    """Return the prox at a fresh CPU tensor y that `supports` accepts, by the kernels; y is overwritten."""
    if regularizer is None or step == 0:
        return y
    units = _units(Slot(y, y, {}), regularizer, step)
    if len(units) > 1 and units[0].rows > 1:  # parts of rows: not one block of memory each
        return proximal(regularizer, y, step, d)
    memory, metric = flat(y), None if d is None else flat(d)
    for unit in units:
        here = slice(unit.span[0], unit.span[0] + unit.rows * unit.width)
        _shrink(unit, memory[here], None if metric is None else metric[here])
    return y


def _shrink(unit: Unit, y: np.ndarray, d: np.ndarray | None) -> None:
    """Apply the prox to the entries of one unit."""
    if isinstance(unit.limits, np.ndarray):
        if d is None:
            kernels.shrink_groups(y, unit.limits, unit.inner)
        else:
            kernels.shrink_groups_metric(y, d, unit.limits, unit.inner, float(np.finfo(y.dtype).eps * 4))
    elif unit.limits is not None:
        if d is None:
            kernels.shrink_entries(y, unit.limits)
        else:
            kernels.shrink_entries_metric(y, d, unit.limits)


class Scratch:
    """The arrays y and d of one thread, kept from step to step: fresh memory would cost as much as a pass over it."""

    def __init__(self) -> None:
        self._bytes = np.empty((2, 0), np.uint8)

    def take(self, i: int, size: int, kind: Any) -> np.ndarray:
        """Return array i (0 or 1) with `size` entries of a dtype, its values arbitrary."""
        need = size * np.dtype(kind).itemsize
        if self._bytes.shape[1] < need:
            self._bytes = np.empty((2, need + 64 - need % 64), np.uint8)
        return self._bytes[i, :need].view(kind)


class FusedStep:
    """Runs the kernels; holds the threads."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._scratches: dict[int, Scratch] = {}

    def run(self, optimizer: ProximalOptimizer, group: dict[str, Any], step: Step, slots: list[Slot]) -> None:
        """Compute one step for all slots."""
        slots = [_aligned(slot) for slot in slots]
        units = [unit for slot in slots for unit in _units(slot, group["regularizer"], step.prox)]
        threads = torch.get_num_threads()
        if sum(unit.rows * unit.width for unit in units) < _THREADED or threads == 1:
            _work(optimizer, step, units, self._scratch(0))
        else:
            self._share(optimizer, step, units, threads)
        for unit in units:
            if isinstance(unit.limits, np.ndarray):
                optimizer._active.setdefault(id(unit.slot.state), []).append(torch.from_numpy(unit.limits) >= 0)

    def _share(self, optimizer: ProximalOptimizer, step: Step, units: list[Unit], threads: int) -> None:
        """Treat the units by a few threads."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="optimizer")
        loads, shares = [0] * threads, [[] for _ in range(threads)]  # type: ignore[var-annotated]
        for unit in sorted(units, key=lambda u: -u.rows * u.width):
            least = loads.index(min(loads))
            shares[least].append(unit)
            loads[least] += unit.rows * unit.width
        scratch = [self._scratch(i) for i in range(threads)]
        for _ in self._pool.map(lambda i: _work(optimizer, step, shares[i], scratch[i]), range(threads)):
            pass

    def _scratch(self, i: int) -> Scratch:
        return self._scratches.setdefault(i, Scratch())


def _work(optimizer: ProximalOptimizer, step: Step, units: list[Unit], scratch: Scratch) -> None:
    """Treat the units one after the other."""
    if not units:
        return
    kind = flat(units[0].slot.w).dtype.type
    numbers = tuple(kind(x) for x in step.numbers)
    blend, tiny = kind(step.blend), kind(np.finfo(kind).tiny if step.flush else 0)
    scratch.take(0, max(unit.rows * unit.width for unit in units), kind)  # grow once, for the largest
    none = np.empty(0, kind)
    for unit in units:
        y = scratch.take(0, unit.rows * unit.width, kind)
        if optimizer.metric:
            d = scratch.take(1, y.size, kind)
            optimizer._fused(unit.slot, numbers, y, d, unit.span)
            _shrink(unit, y, d)
        elif isinstance(unit.limits, np.ndarray):  # the groups' norms come with the centre, their factors with the end
            squares = np.zeros(unit.width, kind if unit.rows <= _TALL else np.float64)
            optimizer._fused(unit.slot, numbers, y, squares, unit.span)
            kernels.group_factors(squares, unit.limits, unit.inner)
            kernels.blend_groups(flat(unit.slot.w), y, squares, *unit.span, blend, tiny)
            continue
        else:
            optimizer._fused(unit.slot, numbers, y, none, unit.span)
            _shrink(unit, y, None)
        kernels.blend(flat(unit.slot.w), y, *unit.span, blend, tiny)
