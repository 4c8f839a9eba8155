"""The file of a trace: an .npz without pickled objects, its integers packed into few bytes before compression."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

_LEVEL = 1  # of deflate: on packed logs higher levels take many times as long for a few percent
_NAMES = ("initial", "new", "atom", "gap", "steps")


def write_arrays(path: str | os.PathLike[str], arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays of `Trace.to_arrays` to `path`; the file appears whole or not at all.

    Steps become the gaps between neighbours, and gaps and atoms the narrowest unsigned type that holds them. The bytes
    depend on the arrays alone.
    """
    target = Path(path)
    gap = np.diff(arrays["step"], prepend=0)
    packed = {"initial": arrays["initial"], "new": arrays["new"], "steps": arrays["steps"]}
    packed |= {"gap": _narrow(gap), "atom": _narrow(arrays["atom"])}
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-", suffix=".npz")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
                for key in _NAMES:
                    entry = zipfile.ZipInfo(f"{key}.npy")  # dated 1980: equal traces are equal files
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    with archive.open(entry, "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, packed[key], allow_pickle=False)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the arrays that `write_arrays` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is cut short, damaged or no file of a trace.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            packed = {key: stored[key] for key in _NAMES}
    except (KeyError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{os.fspath(path)!r} holds no whole trace ({error}): record it again") from error
    step = np.cumsum(packed["gap"], dtype=np.int64)
    return {"initial": packed["initial"], "step": step} | {k: packed[k] for k in ("atom", "new", "steps")}


def _narrow(values: np.ndarray) -> np.ndarray:
    return values.astype(np.min_scalar_type(int(values.max()) if values.size else 0))
