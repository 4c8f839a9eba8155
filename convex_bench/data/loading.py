"""`load`: data sets by name, packed, local or downloaded, and svmlight files by path; `datasets`: the table of them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from convex_bench.data import readers
from convex_bench.data.registry import REGISTRY, DataSet
from manifold_id.remote import fetch, find
from manifold_id.validation import unknown_name

Array = np.ndarray
PAIR = re.compile(r"(?P<name>.+)-(?P<first>\d+)-vs-(?P<second>\d+)")
SUFFIXES = {".txt", ".svm", ".svmlight", ".libsvm", ".dat", *readers.COMPRESSED}


class Listing(NamedTuple):
    """One row of the table of data sets; `where` is packed, local, cached, download or missing."""

    name: str
    rows: int
    columns: int
    classes: int
    groups: int | None
    where: str
    source: str
    licence: str


def load(name: str | os.PathLike[str], *, quiet: bool = False) -> tuple[Any, Array, Array | None]:
    """Return (X, y, groups) of a named data set or of an svmlight file.

    Parameters
    ----------
    name : str or path
        * A name that `datasets()` lists. Files come from the project itself, from the folder that the environment
          variable MANIFOLD_ID_DATA names (libsvm/, mnist/, ...), or are downloaded once into the user's cache.
        * NAME-A-vs-B for a set with several classes, e.g. "mnist-3-vs-5": the rows of these two classes.
        * The path of an svmlight file, also .bz2, .gz or .xz. A file PATH.groups.txt beside it (or that name without
          PATH's suffixes) with one group a line for each column gives the groups.
    quiet : bool
        No progress bar for a download.

    Returns
    -------
    X : csr_array float64, or ndarray float64 (float32 for images), (rows, columns)
        As the source has it, except: pixels divided by 255 (by 16 for digits), images as flat rows, colour planes
        one after the other; breast_cancer with columns of mean 0 and variance 1; colon-cancer and leukemia with rows,
        then columns, of mean 0 and variance 1 (raw expression values differ by orders of magnitude), as
        LIBSVM's files of these names were made; memset one-hot, 4 columns (a, c, g, t) for each of 7 positions.
        The training part where a set is divided. cifar10-20k and cifar100-10k are subsets.
    y : (rows,) the source's labels; low (birth weight below 2.5 kg) for birthwt.
    groups : (columns,) int64 group label of every column, or None where there are no natural groups.

    Raises
    ------
    TypeError
        For a name that is neither a text nor a path.
    ValueError
        For an unknown name (the nearest valid one is suggested), a wrong hash, a file of another format.
    FileNotFoundError
        For a file that is nowhere and cannot be downloaded; the message says where it was looked for.

    Notes
    -----
    Hashes: packed files, MNIST, Fashion-MNIST, CIFAR and the known files of the folder are always checked. LIBSVM's
    site publishes none: the SHA-256 of the first download is written beside it and checked from then on.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"data={name!r} must be the name of a data set or a path, not {type(name).__name__}")
    text = os.fspath(name)
    if text in REGISTRY:
        data = REGISTRY[text]
        return _checked(data, data.read(data.columns, [fetch(file, quiet=quiet) for file in data.files]))
    pair = PAIR.fullmatch(text)
    if pair and pair["name"] in REGISTRY:
        return _load_pair(REGISTRY[pair["name"]], int(pair["first"]), int(pair["second"]), quiet)
    path = Path(text).expanduser()
    if path.is_file():
        return _load_path(path)
    if isinstance(name, os.PathLike) or os.sep in text or path.suffix in SUFFIXES:
        raise FileNotFoundError(
            f"data={text!r} is not a file: correct the path, or choose one of {', '.join(REGISTRY)}"
        )
    raise unknown_name("data", text, REGISTRY)


def _checked(data: DataSet, loaded: tuple[Any, Array, Array | None]) -> tuple[Any, Array, Array | None]:
    """Return what was loaded; raises ValueError where it is not of the size that the table says."""
    X, y, groups = loaded
    found = {"rows": X.shape[0], "columns": X.shape[1], "groups": None if groups is None else len(np.unique(groups))}
    for name, count in (found | {"labels": len(y)}).items():
        listed = data.rows if name == "labels" else getattr(data, name)
        if count != listed:
            raise ValueError(f"data={data.name!r} has {count} {name}, but its entry says {listed}: correct one of them")
    if (classes := len(np.unique(y))) > data.classes:
        raise ValueError(f"data={data.name!r} has {classes} classes, but its entry says {data.classes}: correct one")
    return loaded


def _load_pair(data: DataSet, first: int, second: int, quiet: bool) -> tuple[Any, Array, Array | None]:
    if data.classes == 2 or first == second or max(first, second) >= data.classes:
        choice = f"two different classes of 0 ... {data.classes - 1}" if data.classes > 2 else f"{data.name!r} itself"
        raise ValueError(f"data='{data.name}-{first}-vs-{second}' is not possible: choose {choice}")
    X, y, groups = load(data.name, quiet=quiet)
    rows = np.flatnonzero((y == first) | (y == second))
    return X[rows], y[rows], groups


def _load_path(path: Path) -> tuple[Any, Array, Array | None]:
    bare = path
    while bare.suffix in SUFFIXES:
        bare = bare.with_suffix("")
    beside = [file for stem in (path, bare) if (file := stem.with_name(stem.name + ".groups.txt")).is_file()]
    X, y = readers.read_svmlight(path)
    if not beside:
        return X, y, None
    groups = readers.read_groups(beside[0])
    if X.shape[1] > len(groups):
        raise ValueError(
            f"{beside[0]} has {len(groups)} lines, but {path} has {X.shape[1]} columns: one line for each column"
        )
    full = (X.shape[0], len(groups))  # trailing columns without any nonzero do not show in the file
    return csr_array((X.data, X.indices, X.indptr), shape=full), y, groups


def _where(data: DataSet) -> str:
    if not data.files:
        return "packed"
    found = [find(file) for file in data.files]
    places = [place[2] for place in found if place is not None]
    if len(places) == len(found):
        return places[0]
    return "download" if all(file.url for file in data.files) else "missing"


def datasets() -> tuple[Listing, ...]:
    """Return one Listing for every named data set; nothing is read or downloaded."""
    return tuple(
        Listing(d.name, d.rows, d.columns, d.classes, d.groups, _where(d), d.source, d.licence)
        for d in REGISTRY.values()
    )
