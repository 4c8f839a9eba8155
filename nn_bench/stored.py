"""Files of trained networks that are checked when they are read: sealed JSON, and the sha256 of all others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from manifold_id.files import remove_folder, write_atomic
from manifold_id.sealed import sealed, unsealed


class DamagedRunError(ValueError):
    """A stored file is missing or not what was written; the command that made it makes it again."""

    def __init__(self, path: Path, problem: object) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{str(path)!r} {problem}: give the command that made it again, which mends it")


def write_over(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` write a file of a run; it appears whole or not at all, and replaces even a folder."""
    remove_folder(path)
    write_atomic(path, write)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file of a run, as `write_over` does."""
    write_over(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_sealed(path: Path, values: Any) -> None:
    """Write a JSON file that `read_sealed` can check, as `write_over` does."""
    write_over(path, lambda part: part.write_bytes(sealed(values)))


def read_sealed(path: Path, names: Iterable[str] = ()) -> dict[str, Any]:
    """Return what `write_sealed` wrote; raises DamagedRunError unless it is that, and a record with these names."""
    try:
        values = unsealed(path.read_bytes())
    except OSError as error:
        raise DamagedRunError(path, f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DamagedRunError(path, error) from None
    if not isinstance(values, dict) or not values.keys() >= set(names):
        raise DamagedRunError(path, "is a file of something else")
    return values


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hex digits; raises DamagedRunError if it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DamagedRunError(path, f"cannot be read ({error.strerror})") from None


def sums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of files of a folder by name."""
    return {name: sha256(folder / name) for name in names}


def check_sums(folder: Path, expected: Mapping[str, str]) -> None:
    """Raise DamagedRunError, with the file's name, where one is not what `sums` was told of."""
    for name, known in expected.items():
        if sha256(folder / name) != known:
            raise DamagedRunError(folder / name, "is not what was written")
