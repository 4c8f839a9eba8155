"""The file of a trace: an .npz without pickled objects, its integers packed into few bytes before compression."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np

from manifold_id.change_log import blocks
from manifold_id.files import write_atomic

_LEVEL = 1  # of deflate: on packed logs higher levels take many times as long for a few percent
_NAMES = ("initial", "new", "atom", "gap", "steps")


def write_arrays(path: str | os.PathLike[str], arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays of `Trace.to_arrays` to `path`; the file appears whole or not at all."""
    content = pack(arrays)
    write_atomic(path, lambda part: part.write_bytes(content))


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """Return the bytes of the file of a trace; they depend on the arrays alone.

    Steps become the gaps between neighbours, gaps and atoms the narrowest unsigned type that holds them, and new codes
    that are all 0 or 1 single bits.
    """
    new, atom = arrays["new"], arrays["atom"]
    if not len(new) or (new.min() >= 0 and new.max() <= 1):
        new = np.packbits(new.view(bool))
    packed = {"initial": arrays["initial"], "new": new, "steps": arrays["steps"]}
    packed |= {"gap": _gaps(arrays["step"]), "atom": atom.astype(_narrow(atom.max(initial=0)))}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "x") as archive:
        for key in _NAMES:
            content = io.BytesIO()
            np.lib.format.write_array(content, packed[key], allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy")  # dated 1980: equal traces are equal files
            archive.writestr(entry, content.getbuffer(), zipfile.ZIP_DEFLATED, _LEVEL)
    return file.getvalue()


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the arrays that `write_arrays` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is cut short, damaged or no file of a trace.
    """
    with open(path, "rb") as stream:
        return unpack(stream, os.fspath(path))


def unpack(stream: BinaryIO, name: str | bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a file that `pack` made; raises ValueError, with its name, where it is not whole."""
    try:
        with np.load(stream, allow_pickle=False) as stored:
            packed = {key: stored[key] for key in _NAMES}
    except (KeyError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{name!r} holds no whole trace ({error}): record it again") from error
    step, new = _steps(packed["gap"]), packed["new"]
    if new.dtype == np.uint8:
        new = np.unpackbits(new, count=len(step)).view(np.int8)
    return {"initial": packed["initial"], "step": step, "atom": packed["atom"], "new": new, "steps": packed["steps"]}


def _gaps(step: np.ndarray) -> np.ndarray:
    """Return the steps from each change to the next, from 0 on."""
    largest = max((int(np.diff(part).max(initial=0)) for _, part in blocks(step)), default=0)
    gaps = np.empty(len(step), _narrow(max(largest, int(step[0]) if len(step) else 0)))
    for start, part in blocks(step):
        gaps[start : start + len(part)] = np.diff(part, prepend=step[start - 1] if start else 0)
    return gaps


def _steps(gaps: np.ndarray) -> np.ndarray:
    """Return the steps that `_gaps` made the gaps of."""
    step = np.empty(len(gaps), np.int64)
    for start, part in blocks(step):
        np.cumsum(gaps[start : start + len(part)], out=part)
        part += step[start - 1] if start else 0
    return step


def _narrow(largest: Any) -> np.dtype:
    """Return the narrowest unsigned type."""
    return np.min_scalar_type(int(largest))
