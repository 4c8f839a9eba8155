"""Checkpoints: weights as safetensors, all else as tensors and plain values; whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from manifold_id.files import PART, write_atomic, write_text

PREFIX = "checkpoint-"
WEIGHTS, STATE = "weights.safetensors", "state.pt"
SUMS = "SHA256SUMS"  # of a checkpoint's files, as `sha256sum -c` reads it: neither format notices a bit that flipped


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state on the CPU, contiguous; a tied tensor once, under its first name."""
    seen: dict[int, str] = {}
    found = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen[id(value)] = name
            found[name] = value.detach().cpu().contiguous()
    return found


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the weights to a safetensors file, atomically; raises OSError if it can't be written."""
    with _writing(path):
        write_atomic(path, lambda part: save_file(weights_of(model), part))


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
    """Return the tensors of a safetensors file; raises ValueError if it is damaged."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} holds no whole weights ({error}): train again") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Load what `save_weights` wrote; raises ValueError if the file is damaged or of another model."""
    stored = read_weights(path)
    expected = {name: value.shape for name, value in weights_of(model).items()}
    if {name: value.shape for name, value in stored.items()} != expected:
        raise ValueError(f"{path} holds the weights of another model: build that one")
    model.load_state_dict(stored, strict=False)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_parts(folder: Path) -> None:
    """Remove what a killed process left half written; the caller keeps other processes from writing in the folder."""
    for part in folder.glob(f"{PART}*"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def save_checkpoint(folder: Path, epoch: int, model: nn.Module, state: dict[str, Any]) -> None:
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
            torch.save(state, part / STATE)
        write_text(part / SUMS, "".join(f"{sha256(part / name)}  {name}\n" for name in (WEIGHTS, STATE)))
        for file in part.iterdir():
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
        shutil.rmtree(target, ignore_errors=True)
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in folder.glob(f"{PREFIX}*"):
        if old.name < target.name:
            shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, model: nn.Module) -> dict[str, Any] | None:
    """Load the newest checkpoint's weights into the model and return its state, None if there is none.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    found = sorted(folder.glob(f"{PREFIX}*"))
    if not found:
        return None
    sums = found[-1] / SUMS
    stored = sums.read_text(encoding="utf-8", errors="replace") if sums.exists() else None  # of before there were sums
    for name in (WEIGHTS, STATE):
        if stored is not None and f"{sha256(found[-1] / name)}  {name}\n" not in stored:
            raise ValueError(f"{found[-1]} is damaged ({name} is not what was written): remove it to train again")
    load_weights(model, found[-1] / WEIGHTS)
    try:
        state: dict[str, Any] = torch.load(found[-1] / STATE, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        # the text of torch's own error advises to unpickle the file all the same
        raise ValueError(f"{found[-1]} is damaged ({type(error).__name__}): remove it to train again") from None
    return state


def write_json(path: Path, values: Any) -> None:
    """Write a JSON file, atomically."""
    write_text(path, json.dumps(values, indent=1) + "\n")
