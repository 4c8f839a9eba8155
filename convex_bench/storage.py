"""Files of a study: written whole or not at all, found by a key of what they describe, checked when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from manifold_id.files import PART, remove_folder, write_atomic
from manifold_id.sealed import sealed, unsealed
from manifold_id.validation import path_of

SCHEMA = 4  # raised whenever the content of stored files changes
MEASURED = "measured"  # the name of the file of what is measured


class StoredFileError(ValueError):
    """A stored file is missing, incomplete or not what was written: it has to be computed again."""

    def __init__(self, path: Path, problem: object) -> None:
        super().__init__(
            f"{str(path)!r} {problem}: run the same study or path again, which computes anew what is damaged"
        )


class Entry(NamedTuple):
    """One record to store.

    `record` and `files` are what is computed, the same bytes at every repetition; `measured` is what is not, such as
    seconds. `files` has, for each name, the function that writes the file to the path it is given.
    """

    key: str
    record: dict[str, Any]
    files: Mapping[str, Callable[[Path], Any]]
    measured: dict[str, Any]


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


def read_unsealed(path: Path, data: bytes) -> Any:
    """Return the value of a `sealed` text that was read from `path`; raises StoredFileError unless it is intact."""
    try:
        return unsealed(data)
    except ValueError as error:
        raise StoredFileError(path, error) from None


def write_sealed(path: Path, value: Any) -> None:
    """Write a JSON file that `read_sealed` can check; it appears whole or not at all, and replaces even a folder."""
    write_file(path, partial(Path.write_bytes, data=sealed(value)))


def read_sealed(path: Path) -> Any:
    """Return what `write_sealed` wrote.

    Raises
    ------
    StoredFileError
        If the file is missing or is not byte for byte what was written.
    """
    return read_unsealed(path, read_file(path))


def read_file(path: Path, start: int = 0, size: int = -1) -> bytes:
    """Return `size` bytes of a file from `start` on, by default all; raises StoredFileError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise StoredFileError(path, f"cannot be read ({error.strerror})") from error


def write_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` write a file; it appears whole or not at all, and replaces even a folder."""
    path.parent.mkdir(exist_ok=True)
    remove_folder(path)
    write_atomic(path, write, sync=False)  # what a crash of the machine cuts short is refused when it is read


def check_writable(folder: str | os.PathLike[str]) -> Path:
    """Create `folder` if need be and return it.

    Raises
    ------
    TypeError, ValueError
        If it is no path or no file can be written in it.
    """
    path = path_of("out", folder)
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


class Folder:
    """A folder of stored files, made when the first one is written."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`."""
        self.folder = folder

    def uninterrupted(self, write: Callable[..., None], *args: Any) -> None:
        """Call `write`: Ctrl-C reaches the main thread alone, and another one finishes what has been begun."""
        with ThreadPoolExecutor(1) as writer:
            writer.submit(write, *args).result()

    def tidy(self, older_than: float = 3600.0) -> None:
        """Delete unfinished files that a killed process left more than `older_than` seconds ago."""
        for path in self.folder.glob(f"{PART}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > older_than:
                    path.unlink()


class Store(Folder):
    """Records in one folder: KEY.json and KEY.measured beside the files KEY.NAME that belong to them.

    The JSON file is written last and holds the sha256 of the others, so that a record exists exactly when all of
    it is there; a record that was cut short, altered or swapped is refused when it is read. What was measured is in
    the file KEY.measured, with a sha256 of its own: all other files are the same at every repetition.
    """

    def save(self, entries: Iterable[Entry]) -> None:
        """Store records."""
        self.uninterrupted(self._save, list(entries))

    def _save(self, entries: list[Entry]) -> None:
        for entry in entries:
            sums = {}
            for name, write in entry.files.items():
                path = self.path(entry.key, name)
                write_file(path, write)
                data = path.read_bytes()
                sums[name] = {"bytes": len(data), "sha256": digest(data)}
            write_sealed(self.path(entry.key, MEASURED), {"key": entry.key, **entry.measured})
            write_sealed(self.path(entry.key, "json"), {**entry.record, "key": entry.key, "files": sums})

    def __contains__(self, key: str) -> bool:
        """Whether there is a record of `key`, intact or not."""
        return self.path(key, "json").exists()

    def load(self, key: str, *, thorough: bool = True) -> dict[str, Any]:
        """Return the record of `key` with what was `measured`; raises StoredFileError unless all is as it was saved.

        Unless `thorough`, only the sizes of the other files are compared, not their content: `read` does that.
        """
        record, measured = (read_sealed(self.path(key, name)) for name in ("json", MEASURED))
        for name, part in (("json", record), (MEASURED, measured)):
            if part.get("key") != key:
                raise StoredFileError(self.path(key, name), "belongs to another result")
        for name, expected in record["files"].items():
            path = self.path(key, name)
            if thorough:
                self.read(record, name)
            elif not path.is_file() or path.stat().st_size != expected["bytes"]:
                raise StoredFileError(path, "is missing or not what was written")
        return {**record, "measured": measured}

    def read(self, record: dict[str, Any], name: str) -> bytes:
        """Return the content of a file of a record; raises StoredFileError unless it is what was saved."""
        path = self.path(record["key"], name)
        data = read_file(path)
        if digest(data) != record["files"][name]["sha256"]:
            raise StoredFileError(path, "is not what was written")
        return data

    def path(self, key: str, name: str) -> Path:
        """Return the path of one file of a record."""
        return self.folder / f"{key}.{name}"

    def remove(self, keys: Iterable[str]) -> None:
        """Delete records, the JSON file (which makes a record exist) first."""
        chosen = set(keys)
        paths = [path for path in self.folder.glob("*") if path.name.split(".")[0] in chosen]
        for path in sorted(paths, key=lambda path: path.suffix != ".json"):
            remove_folder(path)
            path.unlink(missing_ok=True)
