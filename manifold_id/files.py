"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

PART = ".part-"  # prefix of a file that is being written; a killed process may leave one behind

_UMASK = os.umask(0o022)
os.umask(_UMASK)


def write_atomic(path: str | os.PathLike[str], write: Callable[[Path], Any], *, sync: bool = True) -> Path:
    """Call `write` with a temporary name beside `path`, then rename: `path` is at every moment old, absent or whole.

    Without `sync` a crash of the machine (not of the process) may leave a file that is not whole: for files that are
    checked when they are read. Returns the path. What `write` raises is passed on, and no file is left behind.
    """
    target = Path(path)
    part = target.with_name(f"{PART}{secrets.token_hex(8)}{target.suffix}")
    try:
        write(part)
        part.chmod(0o666 & ~_UMASK)  # a writer that makes a temporary file of its own leaves it private
        if sync:
            with open(part, "rb") as stream:
                os.fsync(stream.fileno())
        os.replace(part, target)
    except OSError as error:  # of a full disk for instance, which does not say where
        if error.filename is not None and str(error.filename) != str(part):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(target)) from error
    finally:
        with contextlib.suppress(OSError):  # of a disk that cannot be written: the first error tells
            part.unlink(missing_ok=True)
    return target


def remove_folder(path: str | os.PathLike[str]) -> None:
    """Remove a folder, with what is in it, that stands where a file belongs."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a UTF-8 text file atomically and return its path."""
    return write_atomic(path, lambda part: part.write_text(text, encoding="utf-8"))
