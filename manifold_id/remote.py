"""Where a data file lies: packed with a package, in the folder MANIFOLD_ID_DATA, in the cache, or at its host.

Every file whose SHA-256 (or the MD5 its host publishes) is known is checked against it, wherever it lies. A download
without a known hash is trusted on first use: its SHA-256 is written beside it and checked from then on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

VARIABLE = "MANIFOLD_ID_DATA"


@dataclass(frozen=True)
class DataFile:
    """One file: `path` in the data folder and its SHA-256 where known; its `url` and the hash of what lies there.

    `packed` is the folder of a package that holds it, None where none does.
    """

    path: str
    sha256: str | None = None
    url: str | None = None
    url_hash: str | None = None  # "sha256:..." or "md5:..."
    packed: Path | None = None

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def remote_name(self) -> str:
        """The name under which a download is stored, in the same folder as `path`."""
        return self.url.rsplit("/", 1)[-1] if self.url else self.name


def _pooch() -> Any:
    """Return the package that downloads: slow to import, and needed only where a file is not at hand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a notebook its own progress bar, which is not used here, asks for widgets
        import pooch
    return pooch


def data_folder() -> Path | None:
    """Return the folder that MANIFOLD_ID_DATA names, or None; raises FileNotFoundError where it does not exist."""
    value = os.environ.get(VARIABLE, "")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{VARIABLE}={value!r} is not a folder: correct or unset the variable")
    return folder


def cache_folder() -> Path:
    """Return the folder of downloads, the user's cache directory for manifold-id."""
    return Path(platformdirs.user_cache_dir("manifold-id"))


def _recorded(path: Path) -> str | None:
    """Return the hash that the first download of `path` was trusted with."""
    record = path.with_name(path.name + ".sha256")
    return "sha256:" + record.read_text(encoding="ascii").split()[0] if record.is_file() else None


def file_hash(path: Path, kind: str = "sha256") -> str:
    """Return the hash of a file's bytes in hexadecimal; `kind` is a name that hashlib knows."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def check_hash(path: Path, known: str | None) -> Path:
    """Return `path` after comparing it with a hash such as "sha256:..." or "md5:..."; raises ValueError."""
    if known is not None:
        kind, expected = known.split(":")
        found = file_hash(path, kind)
        if found != expected:
            raise ValueError(
                f"{path} has {kind} {found}, but {expected} is expected: the file is damaged or another version, "
                "replace it"
            )
    return path


def find(file: DataFile) -> tuple[Path, str | None, str] | None:
    """Return (path, known hash, "packed" | "local" | "cached") of a file on this machine, or None."""
    sha256 = f"sha256:{file.sha256}" if file.sha256 else None
    if file.packed is not None:
        return file.packed / file.name, sha256, "packed"
    folder = data_folder()
    if folder is not None:
        if (folder / file.path).is_file():
            return folder / file.path, sha256 or (file.url_hash if file.name == file.remote_name else None), "local"
        other = (folder / file.path).with_name(file.remote_name)
        if file.url and other.is_file():
            return other, file.url_hash, "local"
    cached = (cache_folder() / file.path).with_name(file.remote_name)
    if file.url and cached.is_file():
        return cached, file.url_hash or _recorded(cached), "cached"
    return None


def fetch(file: DataFile, *, quiet: bool = False) -> Path:
    """Return the path of a file with its hash checked; download it where this machine has none.

    Raises
    ------
    FileNotFoundError
        If it lies nowhere and cannot be downloaded; the message says where it was looked for.
    ValueError
        If its hash is wrong.
    """
    found = find(file)
    if found is not None:
        return check_hash(found[0], found[1])
    folder = data_folder()
    looked = f"{VARIABLE}={folder}" if folder is not None else f"{VARIABLE}, which is not set,"
    remedy = f"put {file.path} into a folder and set {VARIABLE} to the folder"
    if file.url is None:
        raise FileNotFoundError(f"{file.path} is not in {looked} and has no download: {remedy}")
    target = (cache_folder() / file.path).with_name(file.remote_name)
    try:
        _download(file.url, target, file.url_hash, quiet)
    except OSError as error:
        raise FileNotFoundError(
            f"{file.path} is not in {looked} and {file.url} could not be downloaded ({error}): {remedy}"
        ) from error
    return target


def _download(url: str, target: Path, known: str | None, quiet: bool) -> None:
    """Download to `target`, which appears only when it is whole and its hash is right."""
    pooch = _pooch()
    target.parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel(logging.WARNING)  # its advice to pin the hash is what the record beside the file does
    bar = RichBar(target.name, quiet)
    try:
        pooch.retrieve(
            url,
            known,
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(progressbar=bar, timeout=60),
        )
    finally:
        bar.close()
    if known is None:
        record = target.with_name(target.name + ".sha256")
        record.write_text(f"{pooch.file_hash(str(target))}  {target.name}\n", encoding="ascii")


class RichBar:
    """A progress bar with speed and time left, with the few methods that pooch calls."""

    def __init__(self, name: str, quiet: bool) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self.total = 0
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(TextColumn("{task.description}"), *columns, disable=quiet)
        self._task = self._progress.add_task(name, total=None)
        self._progress.start()

    def update(self, amount: int) -> None:
        """Count `amount` more bytes."""
        self._progress.update(self._task, advance=amount, total=self.total or None)

    def reset(self) -> None:
        """Start again at zero."""
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._progress.stop()
