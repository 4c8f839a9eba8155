"""The runs of a study in few files: 32 seeds of one method on one problem share one.

KEY.CHUNK.runs      a JSON header with the summaries, then the parts of every run (curves, change logs), by seed
KEY.CHUNK.measured  the seconds of the same runs: all that differs when they are repeated

KEY is the hash of what the runs share, CHUNK = seed // 32. The header holds the sha256 of itself and of each part, so
that one part is read and checked without the others. How often and by whom a file was written does not show in it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from filelock import FileLock

from convex_bench.storage import (
    MEASURED,
    Folder,
    StoredFileError,
    digest,
    read_file,
    read_sealed,
    read_unsealed,
    write_file,
    write_sealed,
)
from manifold_id.sealed import sealed
from manifold_id.trace_file import unpack
from manifold_id.tracking import Trace

if TYPE_CHECKING:
    from convex_bench.studies.blocks import Finished

CHUNK = 32  # seeds of a file
RUNS = "runs"
CURVES = ("step", "objective", "estimator_error", "suboptimality", "distance", "active", "precision", "recall")
_DIGITS = 16  # of the first line, which says how many bytes the header has


class Part(NamedTuple):
    """Bytes of a run: in which file and where they lie, and their sha256."""

    path: Path
    start: int
    size: int
    sha256: str

    def read(self) -> bytes:
        """Return them; raises StoredFileError unless they are what was saved."""
        data = read_file(self.path, self.start, self.size)
        if digest(data) != self.sha256:
            raise StoredFileError(self.path, "is not what was written")
        return data


class StoredRun(NamedTuple):
    """One run: its facts, the seconds it took, and where its parts lie."""

    seed: int
    summary: dict[str, Any]
    seconds: float
    parts: dict[str, Part]

    def curves(self) -> np.ndarray:
        """Return the checkpoints, (len(CURVES), checkpoints) float64."""
        return np.frombuffer(self.parts["curves"].read(), "<f8").reshape(len(CURVES), -1)

    def trace(self, *, prox: bool = False) -> Trace:
        """Return the change log of the iterate, or of the proximal point."""
        name = "prox_trace" if prox and "prox_trace" in self.parts else "trace"
        return Trace.from_arrays(unpack(io.BytesIO(self.parts[name].read()), name))

    def is_intact(self) -> bool:
        """Whether every part is what was saved."""
        try:
            for part in self.parts.values():
                part.read()
        except StoredFileError:
            return False
        return True


class RunStore(Folder):
    """The runs in one folder."""

    def load(self, key: str, seeds: Iterable[int]) -> dict[int, StoredRun]:
        """Return the runs of `key` that are there; their parts are checked when they are read.

        Raises
        ------
        StoredFileError
            Where the header or the seconds of a file are not what was saved, or it is longer or shorter.
        """
        found: dict[int, StoredRun] = {}
        for chunk, own in _by_chunk(seeds):
            if self.path(key, chunk, RUNS).exists():
                runs = self._load(key, chunk)
                found |= {seed: runs[seed] for seed in own if seed in runs}
        return found

    def intact(self, key: str, seeds: Iterable[int]) -> set[int]:
        """Return those of the seeds of which every byte is what was saved."""
        return {seed for chunk, own in _by_chunk(seeds) for seed in self._intact(key, chunk).keys() & set(own)}

    def save(self, key: str, description: dict[str, Any], runs: Iterable[Finished]) -> None:
        """Store runs beside those that are there; `description` says what they share."""
        self.uninterrupted(self._change, key, description, {run.seed: run for run in runs})

    def drop(self, key: str, description: dict[str, Any], seeds: Iterable[int]) -> None:
        """Forget runs."""
        self.uninterrupted(self._change, key, description, dict.fromkeys(seeds))

    def _change(self, key: str, description: dict[str, Any], changed: Mapping[int, Finished | None]) -> None:
        """Write the files of some runs with these in their places, without those that are None."""
        self.folder.mkdir(exist_ok=True)
        with FileLock(self.folder / ".lock"):  # studies of other seeds, in other processes, may share the files
            for chunk, own in _by_chunk(changed):
                runs: dict[int, Any] = {**self._intact(key, chunk), **{seed: changed[seed] for seed in own}}
                kept = {seed: run for seed, run in runs.items() if run is not None}
                if kept or self.path(key, chunk, RUNS).exists():
                    self._write(key, chunk, description, kept)

    def path(self, key: str, chunk: int, name: str) -> Path:
        """Return the path of a file."""
        return self.folder / f"{key}.{chunk}.{name}"

    def _load(self, key: str, chunk: int) -> dict[int, StoredRun]:
        path, measured = (self.path(key, chunk, name) for name in (RUNS, MEASURED))
        first = read_file(path, 0, _DIGITS)
        length = int(first) if first.strip().isdigit() else 0
        if first != _first_line(length):
            raise StoredFileError(path, "is not what was written")
        header = _own(path, read_unsealed(path, read_file(path, _DIGITS, length)), key, chunk)
        seconds = _own(measured, read_sealed(measured), key, chunk)["seconds"]
        runs, start = {}, _DIGITS + length
        for entry in header["runs"]:
            parts = {}
            for name, (size, sha256) in entry["parts"].items():
                parts[name] = Part(path, start, size, sha256)
                start += size
            seed = entry["seed"]
            if str(seed) not in seconds:
                raise StoredFileError(measured, f"has no seconds of seed {seed}")
            runs[seed] = StoredRun(seed, entry["summary"], seconds[str(seed)], parts)
        if path.stat().st_size != start:
            raise StoredFileError(path, f"is not what was written: it must have {start} bytes")
        return runs

    def _intact(self, key: str, chunk: int) -> dict[int, StoredRun]:
        try:
            return {seed: run for seed, run in self._load(key, chunk).items() if run.is_intact()}
        except StoredFileError:
            return {}

    def _write(
        self, key: str, chunk: int, description: dict[str, Any], runs: Mapping[int, Finished | StoredRun]
    ) -> None:
        ordered = [runs[seed] for seed in sorted(runs)]
        entries = []
        for run in ordered:
            parts = {name: _entry(part) for name, part in run.parts.items()}
            entries.append({"seed": run.seed, "summary": run.summary, "parts": parts})
        header = sealed({"key": key, "chunk": chunk, "description": description, "runs": entries}, indent=None)

        def write(path: Path) -> None:
            with open(path, "wb") as file:
                file.write(_first_line(len(header)))
                file.write(header)
                for run in ordered:  # one part at a time: those of runs that flicker are large
                    for part in run.parts.values():
                        file.write(part if isinstance(part, bytes) else part.read())

        measured = self.path(key, chunk, MEASURED)
        seconds = {str(run.seed): run.seconds for run in ordered}
        with contextlib.suppress(StoredFileError):  # what is there stays as long as its runs do
            seconds = _own(measured, read_sealed(measured), key, chunk)["seconds"] | seconds
        write_sealed(measured, {"key": key, "chunk": chunk, "seconds": seconds})
        write_file(self.path(key, chunk, RUNS), write)


def _first_line(length: int) -> bytes:
    return f"{length:<{_DIGITS - 1}}\n".encode()


def _own(path: Path, content: Any, key: str, chunk: int) -> dict[str, Any]:
    """Return the content of a file; raises StoredFileError where it is that of another one."""
    if not isinstance(content, dict) or (content.get("key"), content.get("chunk")) != (key, chunk):
        raise StoredFileError(path, "belongs to another result")
    return content


def pack_curves(curves: Mapping[str, np.ndarray]) -> bytes:
    """Return the checkpoints as a part of a run."""
    return np.stack([curves[name] for name in CURVES]).astype("<f8").tobytes()


def _entry(part: bytes | Part) -> tuple[int, str]:
    return (len(part), digest(part)) if isinstance(part, bytes) else (part.size, part.sha256)


def _by_chunk(seeds: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield (chunk, its seeds)."""
    for chunk, own in groupby(sorted(seeds), lambda seed: seed // CHUNK):
        yield chunk, list(own)
