"""A regularization path in a results folder: every solution is kept as soon as it is there, a stopped path goes on."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np

from convex_bench.ground_truth.path import RegularizationPath, check_path, check_ratios, collect, path_row, walk
from convex_bench.problem import Problem
from convex_bench.storage import Entry, Store, StoredFileError, check_writable, key_of
from convex_bench.studies.descriptions import describe_problem
from manifold_id.progress import Bar
from manifold_id.validation import flag

Array = np.ndarray
ARRAYS = "w.npz"


def run_path(
    problem: Problem,
    out: str | os.PathLike[str],
    *,
    count: int,
    min_ratio: float,
    tol: float,
    force: bool = False,
    progress: bool = True,
) -> RegularizationPath:
    """Return the path of `regularization_path`; what the folder `out` holds of it is not computed again.

    Each solution is written to DIR/solutions, whole or not at all, before the next one begins; at the end DIR gets
    the files of `RegularizationPath.save`. `force` computes everything anew.

    Raises
    ------
    TypeError, ValueError
        As `regularization_path`, and if `out` cannot be written or somebody wrote into the problem's X or y; before
        any solution is computed.
    KeyboardInterrupt
        On Ctrl-C, with a text that says what is stored.
    """
    flag("force", force)
    flag("progress", progress)
    grid = check_ratios(None, count, min_ratio)
    top = check_path(problem, tol)
    problem.check_unchanged()
    folder = check_writable(out)
    store = Store(folder / "solutions")
    store.tidy()
    keys = [key_of({**describe_problem(problem.with_lam(float(top * ratio))), "tol": tol}) for ratio in grid]
    if force:
        store.remove(keys)
    rows: list[dict[str, Any]] = []
    try:
        with Bar(len(grid), progress) as bar:
            for row in _rows(problem, grid, top, tol, store, keys, bar):
                rows.append(row)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: {len(rows)} of {len(grid)} solutions are stored in {str(out)!r}; "
            "the same command goes on from there"
        ) from None
    path = collect(rows)
    path.save(folder)
    return path


def _rows(problem: Problem, grid: Array, top: float, tol: float, store: Store, keys: list[str], bar: Bar) -> Any:
    """Yield the row of every ratio: those stored first, the others from where they end."""
    start: Array | None = None
    known = 0
    for key in keys:
        try:
            row = _load(store, key, problem)
        except StoredFileError:
            break
        start, known = row["coefficients"], known + 1
        bar.skip(1)
        yield row
    bar.label(f"lam = {grid[min(known, len(grid) - 1)]:.3g} lambda_max")
    solutions = walk(problem, top * grid[known:], tol, start)
    for place, (ratio, key) in enumerate(zip(grid[known:], keys[known:], strict=True), start=known + 1):
        row = path_row(top * ratio, ratio, next(solutions))
        _save(store, key, row)
        bar.advance(1)
        bar.label(f"lam = {grid[min(place, len(grid) - 1)]:.3g} lambda_max")
        yield row


def _save(store: Store, key: str, row: dict[str, Any]) -> None:
    w = row["coefficients"]
    places = np.flatnonzero(w)
    arrays = {"places": places, "values": w.reshape(-1)[places]}
    numbers = {name: value for name, value in row.items() if name not in ("coefficients", "status", "seconds")}
    arrays["numbers"] = np.array(list(numbers.values()), dtype=np.float64)
    record = {"status": row["status"], "numbers": list(numbers)}
    files = {ARRAYS: lambda path: np.savez_compressed(path, allow_pickle=False, **arrays)}
    store.save([Entry(key, record, files, {"seconds": row["seconds"]})])


def _load(store: Store, key: str, problem: Problem) -> dict[str, Any]:
    """Return the stored row; raises StoredFileError where there is none or it is damaged."""
    record = store.load(key, thorough=False)
    with np.load(io.BytesIO(store.read(record, ARRAYS)), allow_pickle=False) as stored:
        w = np.zeros(problem.shape)
        w.reshape(-1)[stored["places"]] = stored["values"]
        row: dict[str, Any] = dict(zip(record["numbers"], stored["numbers"].tolist(), strict=True))
    counts = {name: int(row[name]) for name in ("active", "iterations")}
    texts = {"status": record["status"], "seconds": record["measured"]["seconds"]}
    return {**row, **counts, **texts, "coefficients": w}
