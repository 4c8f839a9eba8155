"""What the two lazy kernels take together: the rows, the random rows of a seed, its logs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class SparseRows(NamedTuple):
    """A problem with sparse rows."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    n: int
    y: np.ndarray
    loss: int
    group: np.ndarray  # of each nonzero
    gptr: np.ndarray  # (groups + 1,) where each group begins
    entries: bool  # every group is one entry


class Draws(NamedTuple):
    """The random rows of one seed."""

    rng: np.ndarray
    order: np.ndarray
    drawn: np.ndarray  # (2, batch size) of this step and the next
    work: np.ndarray  # (2, batch size)


class Logs(NamedTuple):
    """Changes of structure of w and of z, and how many each log holds."""

    w: np.ndarray
    z: np.ndarray
    counts: np.ndarray
