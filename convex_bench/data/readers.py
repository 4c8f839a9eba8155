"""Readers of the file formats of data sets: svmlight text, groups, IDX, CSV tables, CIFAR archives, arrays in xz."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from scipy import sparse

from convex_bench.data.svmlight import MOST_COLUMNS, parse_plain
from convex_bench.problem.sparse_format import narrow

Array = np.ndarray
COMPRESSED = {".bz2": bz2.open, ".gz": gzip.open, ".xz": lzma.open}


def _open(path: Path) -> BinaryIO:
    opener: Any = COMPRESSED.get(path.suffix, open)
    return opener(path, "rb")


def read_svmlight(path: Path, columns: int | None = None) -> tuple[sparse.csr_array, Array]:
    """Return (X as CSR float64, y float64) from svmlight / LIBSVM text, also in .bz2, .gz or .xz.

    The indices of X are of 32 bits where these are enough.

    With `columns` indices count from 1 and X has that many columns. Without, indices count from 0 when index 0
    occurs and from 1 otherwise, and the greatest index gives the number of columns.

    Raises
    ------
    ValueError
        If the file is not of this format or has an index beyond `columns`; the message names the file.
    """
    try:
        with _open(path) as stream:
            data = stream.read().removeprefix(codecs.BOM_UTF8)
        if (plain := parse_plain(data, columns)) is not None:
            return narrow(plain[0]), plain[1]
        from sklearn.datasets import load_svmlight_file  # takes seconds to import, and only odd files need it

        zero_based: Any = "auto" if columns is None else False
        X, y = load_svmlight_file(io.BytesIO(data), n_features=columns, zero_based=zero_based)[:2]
    except (ValueError, EOFError, OSError, OverflowError, lzma.LZMAError) as error:
        raise ValueError(f"{path} is not svmlight text (label index:value ...): {error}") from error
    if X.shape[1] > MOST_COLUMNS:
        raise ValueError(f"{path} has an index beyond {MOST_COLUMNS}: correct it, or number the columns from 1")
    if X.shape[0] == 0:
        raise ValueError(f"{path} has no rows, so it is not svmlight text (label index:value ...)")
    return narrow(sparse.csr_array(X)), y


def group_labels(names: list[str]) -> Array:
    """Return int64 labels 0, 1, ... of group names, in the order of their first appearance."""
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names], dtype=np.int64)


def read_groups(path: Path) -> Array:
    """Return the group label of every feature from a file with one line for each feature, in feature order."""
    try:
        names = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: give the number or name of a group a line") from error
    names = [name.strip() for name in names[: -1 if names[-1].strip() == "" else None]]
    if not names or "" in names:
        line = names.index("") + 1 if names else 1
        raise ValueError(f"{path}:{line} is empty: give the number or name of a group for each feature, one a line")
    return group_labels(names)


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return (column names, rows of strings) of a CSV file with a header."""
    with open(path, newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    return header, rows


def read_idx(path: Path) -> Array:
    """Return the uint8 array of a gzipped IDX file (LeCun et al.'s format: 0, 0, type 8, axes, sizes, bytes)."""
    with gzip.open(path, "rb") as stream:
        raw = stream.read()
    axes = raw[3] if len(raw) > 3 else 0
    shape = tuple(int(size) for size in np.frombuffer(raw[4 : 4 + 4 * axes], dtype=">u4"))
    if raw[:3] != b"\x00\x00\x08" or len(raw) != 4 + 4 * axes + int(np.prod(shape)):
        raise ValueError(f"{path} is not an IDX file of bytes: fetch it again")
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_npy_xz(path: Path) -> Array:
    """Return the array of a .npy file in an xz container; pickled objects are refused."""
    return np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False)


def read_cifar(path: Path, members: tuple[str, ...], label_bytes: int) -> tuple[Array, Array]:
    """Return (pixels (n, 3072) uint8, labels (n,) uint8) from the host's binary archive.

    A record is `label_bytes` labels, of which the last (the fine class) is returned, and 3 colour planes of 32 x 32.
    """
    wanted, parts = set(members), {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = member.name.rsplit("/", 1)[-1]
            if name in wanted and (stream := archive.extractfile(member)) is not None:
                parts[name] = np.frombuffer(stream.read(), dtype=np.uint8).reshape(-1, label_bytes + 3072)
    if missing := wanted - set(parts):
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}: fetch it again")
    records = np.concatenate([parts[name] for name in members])
    return records[:, label_bytes:], records[:, label_bytes - 1]
