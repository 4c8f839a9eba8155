"""The file of a trace: an .npz without pickled objects, its integers packed into few bytes before compression."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from typing import BinaryIO

import numpy as np

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
    gap = np.diff(arrays["step"], prepend=0)
    new = arrays["new"]
    if ((new == 0) | (new == 1)).all():
        new = np.packbits(new == 1)
    packed = {"initial": arrays["initial"], "new": new, "steps": arrays["steps"]}
    packed |= {"gap": _narrow(gap), "atom": _narrow(arrays["atom"])}
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
    step, new = np.cumsum(packed["gap"], dtype=np.int64), packed["new"]
    if new.dtype == np.uint8:
        new = np.unpackbits(new, count=len(step)).view(np.int8)
    return {"initial": packed["initial"], "step": step, "atom": packed["atom"], "new": new, "steps": packed["steps"]}


def _narrow(values: np.ndarray) -> np.ndarray:
    return values.astype(np.min_scalar_type(int(values.max()) if values.size else 0))
