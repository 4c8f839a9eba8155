"""Files of a study: written whole or not at all, found by a key of what they describe, checked when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from manifold_id.files import PART, write_atomic, write_text


class StoredFileError(Exception):
    """A stored record is missing, incomplete or not what was written: it has to be computed again."""


def digest(*items: Any) -> str:
    """Return the sha256 (hex) of arrays, bytes and strings; dtype and shape of an array are part of it."""
    total = hashlib.sha256()
    for item in items:
        if isinstance(item, (str, bytes)):
            data = item.encode() if isinstance(item, str) else item
            total.update(f"{type(item).__name__} {len(data)};".encode())
            total.update(data)
        else:
            array = np.asarray(item, order="C")
            total.update(f"{array.dtype.str} {array.shape};".encode())
            total.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return total.hexdigest()


def key_of(description: dict[str, Any]) -> str:
    """Return the key (32 hex digits) of a description made of JSON values; the order of its entries is irrelevant."""
    return digest(json.dumps(description, sort_keys=True, allow_nan=False))[:32]


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN and infinity are stored as null."""
    text = json.dumps(plain(value), indent=1, allow_nan=False) + "\n"
    write_text(path, text)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    StoredFileError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoredFileError(f"{path} cannot be read: {error}") from error


def check_writable(folder: str | os.PathLike[str]) -> Path:
    """Create `folder` if need be and return it; raises ValueError where no file can be written in it."""
    path = Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path, prefix=PART)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise ValueError(
            f"out={str(folder)!r} is no folder that can be written ({error.strerror}); choose another one"
        ) from error
    return path


class Store:
    """Records in one folder: KEY.json beside the files KEY.NAME that belong to it.

    The JSON file is written last and holds the sha256 of the others, so that a record exists exactly when all of
    it is there; a record that was cut short, altered or swapped is refused when it is read.
    """

    def __init__(self, folder: Path) -> None:
        """Use (and create) `folder`."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, key: str, record: dict[str, Any], files: dict[str, Callable[[Path], Any]]) -> None:
        """Store `record` and, for each name, the file that its function writes to the path it is given.

        Ctrl-C reaches the main thread alone, and another one writes: what has been begun is finished.
        """
        with ThreadPoolExecutor(1) as writer:
            writer.submit(self._write, key, record, files).result()

    def _write(self, key: str, record: dict[str, Any], files: dict[str, Callable[[Path], Any]]) -> None:
        sums = {}
        for name, write in files.items():
            path = self.path(key, name)
            write_atomic(path, write)
            data = path.read_bytes()
            sums[name] = {"bytes": len(data), "sha256": digest(data)}
        content = plain({**record, "files": sums})
        write_json(self.path(key, "json"), {"sha256": key_of(content), "record": content})

    def load(self, key: str, *, thorough: bool = True) -> dict[str, Any]:
        """Return the record of `key`; raises StoredFileError unless it and its files are exactly what was saved.

        Unless `thorough`, only the sizes of the other files are compared, not their content.
        """
        stored = read_json(self.path(key, "json"))
        content = stored.get("record") if isinstance(stored, dict) else None
        if not isinstance(content, dict) or stored.get("sha256") != key_of(content):
            raise StoredFileError(f"{self.path(key, 'json')} is not what was written")
        for name, expected in content["files"].items():
            path = self.path(key, name)
            try:
                same = path.stat().st_size == expected["bytes"]
                same = same and (not thorough or digest(path.read_bytes()) == expected["sha256"])
            except OSError as error:
                raise StoredFileError(f"{path} cannot be read: {error}") from error
            if not same:
                raise StoredFileError(f"{path} is not what was written")
        return content

    def path(self, key: str, name: str) -> Path:
        """Return the path of one file of a record."""
        return self.folder / f"{key}.{name}"

    def remove(self, keys: Iterable[str]) -> None:
        """Delete records, the JSON file (which makes a record exist) first."""
        for key in keys:
            for path in sorted(self.folder.glob(f"{key}.*"), key=lambda p: p.suffix != ".json"):
                path.unlink(missing_ok=True)

    def tidy(self, older_than: float = 3600.0) -> None:
        """Delete unfinished files that a killed process left more than `older_than` seconds ago."""
        for path in self.folder.glob(f"{PART}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > older_than:
                    path.unlink()


def plain(value: Any) -> Any:
    """Return `value` in JSON types, NumPy scalars unpacked and non-finite numbers replaced by None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
