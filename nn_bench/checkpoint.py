"""Checkpoints: weights as safetensors, all else as tensors and plain values; whole or not there at all."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from manifold_id.files import PART
from nn_bench.stored import DamagedRunError, check_sums, read_sealed, sums, write_over, write_sealed

PREFIX = "checkpoint-"
WEIGHTS, STATE = "weights.safetensors", "state.pt"
RECORD = "checkpoint.json"  # with the sha256 of the two: neither format notices a bit that flipped
MEASURED = "checkpoint.measured"  # the seconds so far: all else is the same bytes at every repetition


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state on the CPU, contiguous; a tied tensor once, under its first name."""
    seen: dict[int, str] = {}
    found = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen[id(value)] = name
            found[name] = value.detach().cpu().contiguous()
    return found


def save_weights(model: nn.Module, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write the weights to a safetensors file, atomically; raises OSError if it can't be written."""
    with _writing(path):
        write_over(path, lambda part: save_file(weights_of(model), part, metadata))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what torch and safetensors raise where the disk is full into an OSError that says what to do."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OSError(
            f"{path} could not be written ({reason}): free some space and start again; what was written before is whole"
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; raises DamagedRunError if it is damaged."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedRunError(path, f"holds no whole weights ({error})") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the words beside the tensors of a safetensors file; raises DamagedRunError if it is damaged."""
    try:
        with safe_open(path, "pt") as stream:
            return dict(stream.metadata() or {})
    except SafetensorError as error:
        raise DamagedRunError(path, f"holds no whole weights ({error})") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Load what `save_weights` wrote; raises ValueError if the file is damaged or of another model."""
    stored = read_weights(path)
    expected = {name: value.shape for name, value in weights_of(model).items()}
    if {name: value.shape for name, value in stored.items()} != expected:
        raise ValueError(f"{path} holds the weights of another model: build that one")
    model.load_state_dict(stored, strict=False)


def remove_parts(folder: Path) -> None:
    """Remove what a killed process left half written; the caller keeps other processes from writing in the folder."""
    for part in folder.glob(f"{PART}*"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def save_checkpoint(folder: Path, epoch: int, model: nn.Module, state: dict[str, Any], seconds: float) -> None:
    """Write checkpoint `epoch` into the folder and remove the older ones once it is whole.

    Raises
    ------
    OSError
        If it can't be written; the one before stays as it is.
    """
    target = folder / f"{PREFIX}{epoch:06d}"
    part = Path(tempfile.mkdtemp(dir=folder, prefix=PART))
    try:
        with _writing(target):
            save_file(weights_of(model), part / WEIGHTS)
            torch.save(_canonical(state), part / STATE)
        write_sealed(part / RECORD, {"files": sums(part, (WEIGHTS, STATE))})
        write_sealed(part / MEASURED, {"seconds": seconds})
        for file in part.iterdir():
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
        _discard(target)
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in folder.glob(f"{PREFIX}*"):
        if old.name < target.name:
            _discard(old)


def load_checkpoint(folder: Path, model: nn.Module) -> tuple[dict[str, Any], float] | None:
    """Load the newest whole checkpoint's weights into the model; return its state and the seconds so far.

    None if there is none. A damaged one is removed, with a warning.

    Raises
    ------
    ValueError
        If it is that of another model.
    """
    for path in sorted(folder.glob(f"{PREFIX}*"), reverse=True):
        try:
            state, seconds = _read_checkpoint(path)
        except DamagedRunError as error:
            warnings.warn(f"{str(error.path)!r} {error.problem}: the run goes on from before it", stacklevel=2)
            _discard(path)
            continue
        load_weights(model, path / WEIGHTS)
        return state, seconds
    return None


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], float]:
    check_sums(path, read_sealed(path / RECORD, ["files"])["files"])
    seconds = read_sealed(path / MEASURED, ["seconds"])["seconds"]
    try:
        state: dict[str, Any] = torch.load(path / STATE, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        # the text of torch's own error advises to unpickle the file all the same
        raise DamagedRunError(path / STATE, f"holds no tensors and plain values ({type(error).__name__})") from None
    return state, seconds


def _canonical(value: Any) -> Any:
    """Return equal containers in which equal strings are one object: what is pickled is then the same bytes."""
    if isinstance(value, dict):
        return {_canonical(k): _canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_canonical, value))
    return sys.intern(value) if type(value) is str else value


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
