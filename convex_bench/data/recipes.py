"""Recipes: how the files of a named data set become (X, y, groups); each takes the number of columns and the paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convex_bench.data import readers
from convex_bench.data.parsed import read_once
from convex_bench.problem.arrays import plain_matrix

Array = np.ndarray
Loaded = tuple[Any, Array, Array | None]  # X is an ndarray or a csr_array


def standardize(X: Array) -> Array:
    """Return X with columns of mean 0 and variance 1 (1/n); a constant column becomes 0."""
    X = X - X.mean(axis=0)
    deviation = X.std(axis=0)
    return X / np.where(deviation > 0, deviation, 1.0)


def sparse_rows(columns: int, paths: list[Path]) -> Loaded:
    """Svmlight text as CSR, with a file of groups or without."""
    X, y = read_once(paths[0], columns)
    return X, y, readers.read_groups(paths[1]) if len(paths) > 1 else None


def dense_rows(columns: int, paths: list[Path]) -> Loaded:
    """Svmlight text with few zeros as an ndarray."""
    X, y = readers.read_svmlight(paths[0], columns)
    return X.toarray(), y, None


def expression(columns: int, paths: list[Path]) -> Loaded:
    """Raw gene expression: rows, then columns, get mean 0 and variance 1."""
    X, y = readers.read_svmlight(paths[0], columns)
    return standardize(standardize(X.toarray().T).T), y, None


def csv_table(target: str, groups: dict[str, list[str]] | None = None) -> Callable[[int, list[Path]], Loaded]:
    """Return the recipe of a CSV file with a header: the column `target` is y, the others, which hold numbers, are X.

    `groups` names the columns of each group; without it there are none.
    """

    def read(columns: int, paths: list[Path]) -> Loaded:
        import pandas as pd

        frame = pd.read_csv(paths[0])
        if target not in frame:
            raise ValueError(f"{paths[0]} has no column {target!r}: its columns are {', '.join(frame.columns)}")
        X, names = plain_matrix(frame.drop(columns=target))
        assert names is not None
        if groups is None:
            return X, frame[target].to_numpy(), None
        label = {name: g for g, members in enumerate(groups.values()) for name in members}
        if missing := [name for name in names if name not in label]:
            raise ValueError(f"column {missing[0]!r} of {paths[0]} is in no group: name it in one")
        return X, frame[target].to_numpy(), np.array([label[name] for name in names])

    return read


def memset(columns: int, paths: list[Path]) -> Loaded:
    """Letters at 7 positions, one-hot: columns a, c, g, t for each position."""
    _, rows = readers.read_table(paths[0])
    letters = np.array([row[1:] for row in rows])
    X = (letters[:, :, None] == np.array(list("acgt"))).astype(np.float64)
    return X.reshape(len(rows), -1), np.array([float(row[0]) for row in rows]), np.repeat(np.arange(7), 4)


def birthwt(columns: int, paths: list[Path]) -> Loaded:
    """The 16 columns after the responses low and bwt; y is low."""
    table = np.array(readers.read_table(paths[0])[1], dtype=np.float64)
    return np.ascontiguousarray(table[:, 2:]), table[:, 0], readers.read_groups(paths[1])


def digits(columns: int, paths: list[Path]) -> Loaded:
    """Scikit-learn's 8 x 8 digits, divided by 16."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16.0, y.astype(np.int64), None


def breast_cancer(columns: int, paths: list[Path]) -> Loaded:
    """Scikit-learn's breast cancer, columns of mean 0 and variance 1."""
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return standardize(X), y.astype(np.int64), None


def _pixels(images: Array, labels: Array) -> Loaded:
    """Return (float32 in [0, 1], int64, None); the division of float32 numbers is correctly rounded."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels.astype(np.int64), None


def idx(columns: int, paths: list[Path]) -> Loaded:
    """Images and labels in IDX files."""
    return _pixels(readers.read_idx(paths[0]), readers.read_idx(paths[1]))


def cifar10(columns: int, paths: list[Path]) -> Loaded:
    """The 5 training batches of the host's binary archive."""
    return _pixels(*readers.read_cifar(paths[0], tuple(f"data_batch_{i}.bin" for i in range(1, 6)), 1))


def cifar100(columns: int, paths: list[Path]) -> Loaded:
    """The training batch of the host's binary archive; fine labels."""
    return _pixels(*readers.read_cifar(paths[0], ("train.bin",), 2))


def cifar_subset(columns: int, paths: list[Path]) -> Loaded:
    """Images (n, 32, 32, 3) in .npy.xz and labels in .npy."""
    images = readers.read_npy_xz(paths[0]).transpose(0, 3, 1, 2)  # colour planes first, as in the host's files
    return _pixels(images, np.load(paths[1], allow_pickle=False))
