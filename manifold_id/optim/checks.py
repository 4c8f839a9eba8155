"""What is refused before any work starts: numbers of a group, and parameters that its regularizer does not fit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from manifold_id.optim.fused import supports
from manifold_id.regularizers.base import Regularizer
from manifold_id.validation import real

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
    for i, p in enumerate(group["params"]):
        name = group["param_names"][i] if "param_names" in group else i
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
        if group["regularizer"] is not None and not p.is_meta and p.numel():
            _check_fit(p.detach(), name, group["regularizer"], method, metric)


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
