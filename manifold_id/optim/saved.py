"""An optimizer's state as tensors and numbers alone, and back, bit for bit."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def written(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Replace each regularizer by its repr, so that the state loads with weights_only=True."""
    for group in state_dict["param_groups"]:
        group["regularizer"] = _described(group["regularizer"])
    return state_dict


def _described(regularizer: object) -> str | None:
    """Return what stands for a regularizer on disk: its repr, for one without an own repr the name of its class."""
    if regularizer is None:
        return None
    return type(regularizer).__name__ if type(regularizer).__repr__ is object.__repr__ else repr(regularizer)


def check_method(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """Raise ValueError if the state is that of another method, whose tensors mean something else."""
    own, saved = type(optimizer).__name__, state_dict.get("method")
    if saved != own:
        raise ValueError(f"state_dict has method={saved!r}, the optimizer is {own}: load a state that {own} has saved")


def check_regularizers(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """Raise ValueError unless the optimizer has the regularizers that the state was saved with."""
    pairs = zip(optimizer.param_groups, state_dict["param_groups"], strict=False)
    for i, (own, saved) in enumerate(pairs):
        text = _described(own["regularizer"])
        if saved.get("regularizer") != text:
            raise ValueError(
                f"param group {i} was saved with regularizer {saved.get('regularizer')}, the optimizer has {text}: "
                "build it with the saved one, load, then assign group['regularizer']"
            )
        axes, saved_axes = (None if at is None else tuple(at) for at in (own.get("joint"), saved.get("joint")))
        if axes != saved_axes:
            raise ValueError(f"param group {i} was saved with joint={saved_axes}, the optimizer has {axes}: "
                             "build it with the saved one")  # fmt: skip


def check_shapes(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """Raise ValueError unless the state's tensors have the shapes of the parameters."""
    numbers = [i for group in state_dict["param_groups"] for i in group["params"]]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, p in zip(numbers, parameters, strict=False):  # other numbers of parameters are refused by torch
        check_state(state_dict["state"].get(i, {}), p, i)


def check_state(state: dict[str, Any], p: Tensor, name: object) -> None:
    """Raise ValueError unless the tensors of a parameter's state have its shape: the compiled kernels rely on it."""
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape != p.shape:
            raise ValueError(
                f"the state {key!r} of parameter {name!r} has shape {tuple(value.shape)}, the parameter "
                f"{tuple(p.shape)}: load the state of the same network, or build a new optimizer for a changed one"
            )


def restore_tensors(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """Copy the state's tensors in their own precision; torch casts them to the parameter's and shares their memory."""
    numbers = [i for group in state_dict["param_groups"] for i in group["params"]]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, p in zip(numbers, parameters, strict=True):
        for key, value in state_dict["state"].get(i, {}).items():
            if isinstance(value, Tensor):
                optimizer.state[p][key] = value.detach().to(p.device, copy=True)
