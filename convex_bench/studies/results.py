"""The results folder of a study, read back: one table a run, curves, change logs and certified solutions.

DIR/study.json               names, settings, the keys of all runs, versions, the command
DIR/problems/KEY.*           the certified solution of each problem
DIR/runs/KEY.json            description and summary of one run, written last: it makes the run complete
DIR/runs/KEY.measured        what was measured and differs at every repetition: seconds
DIR/runs/KEY.trace.npz       the change log of the iterate (KEY.prox_trace.npz: of a proximal point that differs)
DIR/runs/KEY.curves.parquet  the checkpoints

Every file is checked against its sha256 when it is read; all but KEY.measured are the same bytes at every repetition.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from convex_bench.storage import Store, read_sealed
from convex_bench.studies.stored_solution import load_solution
from manifold_id.tracking import Trace
from manifold_id.validation import unknown_name

if TYPE_CHECKING:
    import pandas as pd

Cell = tuple[str, str, int]  # problem, method, seed

FRAME_COLUMNS = (
    *("problem", "method", "seed", "steps", "solution", "identified", "identified_at", "last_change"),
    *("last_false_positive", "last_false_negative", "flicker_rate", "wrong_share"),
    *("prox_identified", "prox_identified_at", "prox_last_change", "prox_last_false_positive"),
    *("prox_last_false_negative", "prox_flicker_rate", "prox_wrong_share"),
    *("objective", "suboptimality", "distance", "estimator_error", "seconds", "steps_per_second", "compiled"),
)


class Results:
    """What a study has stored so far.

    Attributes
    ----------
    folder
        The results folder.
    study
        The content of study.json.
    missing
        How many runs of the study are not there (yet).

    Raises
    ------
    StoredFileError
        Where a file that is needed is damaged, here or in a method; it names the file. The same study, run again,
        computes it anew.
    """

    def __init__(self, folder: Path, study: dict[str, Any]) -> None:
        self.folder = folder
        self.study = study
        self._runs = Store(folder / "runs")
        self._problems = Store(folder / "problems")
        self._records: dict[Cell, dict[str, Any]] = {}
        self.missing = 0
        for cell, key in self.cells():
            if key in self._runs:
                self._records[cell] = self._runs.load(key, thorough=False)
            else:
                self.missing += 1

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Open a results folder; raises FileNotFoundError if it holds no study, StoredFileError if it is damaged."""
        path = Path(folder).expanduser()
        if not (path / "study.json").exists():
            raise FileNotFoundError(
                f"{str(folder)!r} is no results folder: it has no study.json; name the --out folder of a study"
            )
        return cls(path, read_sealed(path / "study.json"))

    @property
    def problems(self) -> list[str]:
        """The names of the problems, in the study's order."""
        return list(self.study["problems"])

    @property
    def methods(self) -> list[str]:
        """The names of the methods, in the study's order."""
        return list(self.study["methods"])

    def cells(self) -> Iterator[tuple[Cell, str]]:
        """Yield ((problem, method, seed), key) for every run of the study, in its order."""
        for problem, methods in self.study["runs"].items():
            for method, keys in methods.items():
                for seed, key in zip(self.study["seeds"], keys, strict=True):
                    yield (problem, method, seed), key

    def keys(self) -> list[str]:
        """Return the keys of the runs that are there."""
        return [record["key"] for record in self._records.values()]

    def frame(self) -> pd.DataFrame:
        """Return one row a run.

        Steps are floats, NaN where there is none. `identified_at` is the first step from which the structure equals
        the certified one until the end, NaN (censored) unless that is at least the study's share `persistence` of
        the run; `last_false_positive` and `last_false_negative` are the last steps at which an atom was wrongly
        active / inactive (NaN: never); `flicker_rate` (changes a step) and `wrong_share` (steps with a wrong
        structure) are those of the last quarter. Columns prox_... say the same of the proximal point, and equal
        the others where it is the iterate. Objective, suboptimality, distance and estimator_error are those of the
        last step. `seconds` is the run's share of the wall time of its call; `solution` the ground truth's status.
        """
        import pandas as pd  # when the first table is made: a study's start does without

        rows = [self._row(cell, record) for cell, record in self._records.items()]
        return pd.DataFrame(rows, columns=list(FRAME_COLUMNS))

    def curves(self, *, structure: bool = False) -> pd.DataFrame:
        """Return the checkpoints of all runs, one row each: problem, method, seed, step, objective, ...

        `structure` adds what the change logs of the iterate say there: the number of active atoms, and precision and
        recall of their set against the certified one.
        """
        if not structure:
            return self._curves.copy()
        if not self._records:
            return self._curves.assign(active=[], precision=[], recall=[])
        codes = {name: np.asarray(solution.codes).reshape(-1) for name, solution in self.solutions().items()}
        logs, table = self.traces(), self._curves
        counts, precisions, recalls = [], [], []
        for cell, part in table.groupby(["problem", "method", "seed"], sort=False)["step"]:  # in the order of the rows
            steps = part.to_numpy(dtype=np.int64)
            log = logs[cell]
            precision, recall = log.precision_recall(codes[cell[0]], steps)
            counts.append(log.active_count(steps))
            precisions.append(precision)
            recalls.append(recall)
        columns = {"active": counts, "precision": precisions, "recall": recalls}
        return table.assign(**{name: np.concatenate(parts) for name, parts in columns.items()})

    @cached_property
    def _curves(self) -> pd.DataFrame:
        import pandas as pd
        import pyarrow
        from pyarrow import parquet

        if not self._records:
            return pd.DataFrame({"step": []})
        parts = []
        for record in self._records.values():
            data = pyarrow.BufferReader(self._runs.read(record, "curves.parquet"))
            parts.append(parquet.ParquetFile(data).read(use_threads=False))
        table = pyarrow.concat_tables(parts, promote_options="default").to_pandas()
        lengths = [part.num_rows for part in parts]
        for place, name in enumerate(("problem", "method", "seed")):
            table.insert(place, name, np.repeat([cell[place] for cell in self._records], lengths))
        return table

    def traces(self, problem: str | None = None, method: str | None = None, *, prox: bool = False) -> Mapping:
        """Return a mapping (problem, method, seed) -> Trace, read from disk when an item is asked for.

        `problem` and `method` select one of them; `prox` gives the proximal point's change log.
        """
        for kind, name, valid in (("problem", problem, self.problems), ("method", method, self.methods)):
            if name is not None and name not in valid:
                raise unknown_name(kind, name, valid)
        cells = [c for c in self._records if problem in (None, c[0]) and method in (None, c[1])]
        return _Lazy(cells, lambda cell: self._trace(self._records[cell], prox))

    def solutions(self) -> dict[str, Any]:
        """Return the certified Solution of each problem by name; those that are not stored yet are left out."""
        return {name: load_solution(self._problems, key) for name, key, _ in self._solved()}

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return what is stored about each problem beside its solution: rows, columns, loss, noise level ..."""
        return {name: {**given, **self._problems.load(key)["facts"]} for name, key, given in self._solved()}

    def _solved(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield (name, key, description) of the problems that have been solved: those with runs must have been."""
        begun = {cell[0] for cell in self._records}
        for name, entry in self.study["problems"].items():
            if name in begun or entry["key"] in self._problems:
                yield name, entry["key"], entry["description"]

    def _trace(self, record: dict[str, Any], prox: bool) -> Trace:
        name = "prox_trace.npz" if prox and "prox_trace.npz" in record["files"] else "trace.npz"
        self._runs.read(record, name)  # raises where it is damaged
        return Trace.load(self._runs.path(record["key"], name))

    def _row(self, cell: Cell, record: dict[str, Any]) -> dict[str, Any]:
        summary = record["summary"]
        row = {"problem": cell[0], "method": cell[1], "seed": cell[2], "solution": summary["solution"]}
        latest = summary["steps"] * (1 - self.study["persistence"])
        for prefix, name in (("", "iterate"), ("prox_", "prox")):
            structure = summary[name]
            settled = structure["settled_at"]
            held = settled is not None and settled <= latest
            row[f"{prefix}identified"] = held
            row[f"{prefix}identified_at"] = float(settled) if held else np.nan
            for fact in ("last_change", "last_false_positive", "last_false_negative", "flicker_rate", "wrong_share"):
                row[prefix + fact] = np.nan if structure[fact] is None else float(structure[fact])
        for name in ("objective", "suboptimality", "distance", "estimator_error"):
            value = summary["last"].get(name)
            row[name] = np.nan if value is None else value
        seconds = record["measured"]["seconds"]
        speed = summary["steps"] / seconds if seconds else np.nan
        return row | {
            "steps": summary["steps"],
            "seconds": seconds,
            "steps_per_second": speed,
            "compiled": summary["compiled"],
        }


class _Lazy(Mapping):
    """A mapping whose values are read when they are asked for."""

    def __init__(self, keys: list[Cell], read: Callable[[Cell], Any]) -> None:
        self._keys = dict.fromkeys(keys)
        self._read = read

    def __getitem__(self, key: Cell) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return self._read(key)

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
