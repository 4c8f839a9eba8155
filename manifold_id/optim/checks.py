"""What is refused before any work starts: numbers of a group, and parameters that its regularizer does not fit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from manifold_id.optim.fused import supports
from manifold_id.optim.joint import groups_of, join
from manifold_id.optim.reshaped import Reshaped
from manifold_id.regularizers.base import Regularizer
from manifold_id.validation import integer, real

HALF = (torch.bfloat16, torch.float16)
_SCHEDULERS = ("initial_", "base_", "max_", "min_")  # entries that torch's schedulers leave in a group


def check_common(group: dict[str, Any]) -> None:
    """Check what every optimizer's groups have: lr, weight_decay, regularizer, foreach, fused."""
    real("lr", group["lr"], 0)
    real("weight_decay", group["weight_decay"], 0)
    regularizer = group["regularizer"]
    if regularizer is not None and not isinstance(regularizer, Regularizer):
        raise TypeError(f"regularizer={regularizer!r} must be None or a Regularizer such as GroupLasso(1e-3, axis=1)")
    for name in ("maximize", "foreach", "fused"):
        if not (isinstance(group[name], bool) or (group[name] is None and name != "maximize")):
            raise TypeError(f"{name}={group[name]!r} must be True or False{'' if name == 'maximize' else ' or None'}")
    if group["foreach"] and group["fused"]:
        raise ValueError("foreach=True and fused=True exclude each other: choose one")


def check_momentum(group: dict[str, Any]) -> None:
    """Raise ValueError if OneCycleLR or CyclicLR moves the momentum, which they mean the opposite way."""
    if "momentum" in group and ("max_momentum" in group or "base_momentum" in group):
        raise ValueError(
            f"momentum={group['momentum']!r} was set by OneCycleLR or CyclicLR, but here it is the weight of what is "
            "new, 1 meaning none, the opposite of torch's: build optimizer and scheduler anew with cycle_momentum=False"
        )


def check_names(group: dict[str, Any], known: Iterable[str]) -> None:
    """Refuse an entry whose name is almost that of an option; others are kept, as torch does."""
    options = set(known)
    for key in set(group) - options - {"params", "param_names"}:
        if key.startswith(_SCHEDULERS):
            continue
        if near := difflib.get_close_matches(key, options, n=1, cutoff=0.8):
            raise ValueError(f"param group has the unknown entry {key!r}: did you mean {near[0]!r}?")


def check_parameters(group: dict[str, Any], method: str, metric: bool, fuses: bool) -> None:
    """Check the group's parameters against its regularizer, by one prox at each of them.

    Parameters
    ----------
    method
        The optimizer's name.
    metric
        Whether it needs the prox in a diagonal metric.
    fuses
        Whether it has compiled kernels.
    """
    names = group.get("param_names") or list(range(len(group["params"])))
    for name, p in zip(names, group["params"], strict=True):
        if p.is_complex():
            raise TypeError(f"parameter {name!r} is complex ({p.dtype}): optimize its real and imaginary parts instead")
        if not p.is_floating_point():
            raise TypeError(f"parameter {name!r} has dtype {p.dtype}: only floating-point parameters can be optimized")
        if group["fused"] and not (fuses and p.device.type == "cpu" and supports(p.detach(), group["regularizer"])):
            raise ValueError(
                f"fused=True: {method} has no compiled kernel for parameter {name!r} (RMDA, RAMDA, RDA, SDA, "
                "ProxSGD, ProxAdamW and ProxSSI have, for dense float32 and float64 tensors on CPU with no "
                "regularizer, L1 or GroupLasso(axis=...)): use fused=None"
            )
        if group["joint"] is None and group["regularizer"] is not None and not p.is_meta and p.numel():
            _check_fit(p.detach(), name, group["regularizer"], method, metric)
    if group["joint"] is not None:
        _check_joint(group, names, method, metric)


def _check_joint(group: dict[str, Any], names: Sequence[object], method: str, metric: bool) -> None:
    """Check a group's `joint` against its parameters and its regularizer."""
    axes, params, regularizer = group["joint"], group["params"], group["regularizer"]
    if not isinstance(axes, (tuple, list)) or len(axes) != len(params):
        raise ValueError(f"joint={axes!r} must have one axis for each of the group's {len(params)} parameters")
    for axis, p, name in zip(axes, params, names, strict=True):
        along = axis[0] if isinstance(axis, tuple) and len(axis) == 2 else axis
        integer(f"joint (axis of parameter {name!r} of shape {tuple(p.shape)})", along, -p.ndim, p.ndim - 1)
        if isinstance(axis, tuple) and len(axis[1]) != p.shape[along]:
            raise ValueError(f"joint: {len(axis[1])} groups for the {p.shape[along]} slices of parameter {name!r}")
    ragged = any(isinstance(axis, tuple) for axis in axes)
    counts = [groups_of(p.shape, axis) for p, axis in zip(params, axes, strict=True)]
    if len(set(counts)) > 1 and not ragged:
        listed = ", ".join(f"{name!r} {count}" for name, count in zip(names, counts, strict=True))
        raise ValueError(f"joint={tuple(axes)}: the parameters have different numbers of slices ({listed})")
    points = [p.detach().float() if p.dtype in HALF else p.detach() for p in params]
    if len({(x.device, x.dtype) for x in points}) > 1:
        raise ValueError(f"joint={tuple(axes)}: the parameters must be on one device and in one precision")
    rows = regularizer.regularizer if ragged and isinstance(regularizer, Reshaped) else regularizer
    if getattr(rows, "axis", None) != 0 or (ragged and rows is regularizer):
        raise ValueError(
            f"joint={tuple(axes)} needs a regularizer with a group for each row of the joined matrix, such as "
            f"GroupLasso(1e-3, axis=0), not {regularizer!r}"
        )
    if group["fused"]:
        raise ValueError("fused=True: there is no compiled kernel for groups that span tensors: use fused=None")
    if not any(p.is_meta for p in params) and counts[0]:
        _check_fit(join(points, axes), " + ".join(map(str, names)), regularizer, method, metric)


def _check_fit(p: Tensor, name: object, regularizer: Regularizer, method: str, metric: bool) -> None:
    x = p.float() if p.dtype in HALF else p
    try:
        if metric:
            varying = torch.linspace(1, 2, x.numel(), dtype=x.dtype, device=x.device).reshape(x.shape)
            regularizer.prox_metric(x, 1.0, varying)
        else:
            regularizer.prox(x, 1.0)
    except NotImplementedError as error:
        raise NotImplementedError(
            f"{method} needs the prox in a diagonal metric: {error}; RMDA and ProxSGD do without one"
        ) from error
    except (ValueError, IndexError) as error:
        raise ValueError(f"regularizer {regularizer!r} does not fit parameter {name!r}: {error}") from error
