"""Large svmlight files are parsed once: the arrays are kept in the user's cache under the hash of the file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from scipy import sparse

from convex_bench.data.readers import read_svmlight
from manifold_id import remote
from manifold_id.files import write_atomic

LAYOUT = 2  # of the kept file; a change of what read_svmlight returns raises it


def read_once(path: Path, columns: int) -> tuple[sparse.csr_array, np.ndarray]:
    """Return read_svmlight(path, columns), from the cache if a file of these bytes has been read before.

    A cache that is damaged or can't be written costs time and nothing else.

    Raises
    ------
    ValueError
        As read_svmlight.
    """
    kept = remote.cache_folder() / "parsed" / f"{remote.file_hash(path)}-{columns}-{LAYOUT}.npz"
    try:
        with open(kept, "rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            rows = (arrays["data"], arrays["indices"], arrays["indptr"])
            return sparse.csr_array(rows, shape=(len(arrays["y"]), columns)), arrays["y"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        X, y = read_svmlight(path, columns)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, lambda part: np.savez(part, data=X.data, indices=X.indices, indptr=X.indptr, y=y))
    except OSError:
        pass
    return X, y
