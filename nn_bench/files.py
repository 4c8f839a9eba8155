"""Where an image file lies: in the folder MANIFOLD_ID_DATA, in the cache, or at its host; its hash is checked."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import pooch

VARIABLE = "MANIFOLD_ID_DATA"


@dataclass(frozen=True)
class ImageFile:
    """One file: its `path` in the data folder, its hash ("sha256:..." or "md5:..."), and where to download it."""

    path: str
    known: str
    url: str | None = None

    def local(self) -> Path | None:
        """Return where the file lies on this machine, or None; raises FileNotFoundError for a wrong data folder."""
        value = os.environ.get(VARIABLE, "")
        if value:
            folder = Path(value).expanduser()
            if not folder.is_dir():
                raise FileNotFoundError(f"{VARIABLE}={value!r} is not a folder: correct or unset the variable")
            if (folder / self.path).is_file():
                return folder / self.path
        cached = self._cached()
        return cached if cached.is_file() else None

    def fetch(self, quiet: bool = False) -> Path:
        """Return the path of the file with its hash checked; download it where this machine has none.

        Raises
        ------
        FileNotFoundError
            If it lies nowhere and cannot be downloaded; the message says where it was looked for.
        ValueError
            If its hash is wrong.
        """
        path = self.local()
        if path is not None:
            return self._checked(path)
        remedy = f"put {self.path} into a folder and set {VARIABLE} to the folder"
        if self.url is None:
            raise FileNotFoundError(f"{self.path} is not in the folder of {VARIABLE} and has no download: {remedy}")
        target = self._cached()
        target.parent.mkdir(parents=True, exist_ok=True)
        pooch.get_logger().setLevel(logging.WARNING)
        try:
            downloader = pooch.HTTPDownloader(progressbar=not quiet, timeout=60)
            pooch.retrieve(self.url, self.known, fname=target.name, path=target.parent, downloader=downloader)
        except OSError as error:
            raise FileNotFoundError(
                f"{self.path} is not in the folder of {VARIABLE} and {self.url} could not be downloaded ({error}): "
                f"{remedy}"
            ) from error
        return target

    def _cached(self) -> Path:
        return Path(pooch.os_cache("manifold-id")) / self.path

    def _checked(self, path: Path) -> Path:
        kind, expected = self.known.split(":")
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
        if found != expected:
            raise ValueError(f"{path} has {kind} {found}, but {expected} is expected: replace the damaged file")
        return path
