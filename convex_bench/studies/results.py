"""The results folder of a study, read back: one table a run, curves, change logs and certified solutions.

DIR/study.json       names, settings, the keys of the runs, versions, the command
DIR/problems/KEY.*   the certified solution of each problem
DIR/runs/KEY.*       the runs of each method on each problem, 32 seeds a file (see `stored_runs`)

Every file is checked against its sha256 when it is read; all but the .measured ones are the same bytes at every
repetition.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from convex_bench.storage import SCHEMA, Store, StoredFileError, key_of, read_sealed
from convex_bench.studies.stored_runs import CURVES, RunStore, StoredRun
from convex_bench.studies.stored_solution import load_solution
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
        self._problems = Store(folder / "problems")
        self._runs: dict[Cell, StoredRun] = {}
        store, seeds = RunStore(folder / "runs"), study["seeds"]
        for problem, method, key in self.cells():
            found = store.load(key, seeds)
            self._runs |= {(problem, method, seed): found[seed] for seed in seeds if seed in found}
        self.missing = len(seeds) * len(self.problems) * len(self.methods) - len(self._runs)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Open a results folder; warns where runs are missing.

        Raises FileNotFoundError if it holds no study, StoredFileError if it is damaged.
        """
        path = Path(folder).expanduser()
        if not (path / "study.json").exists():
            raise FileNotFoundError(
                f"{str(folder)!r} is no results folder: it has no study.json; name the --out folder of a study"
            )
        study = read_sealed(path / "study.json")
        if study.get("schema") != SCHEMA:
            raise StoredFileError(path / "study.json", "is of another version of this package")
        results = cls(path, study)
        if results.missing:
            warnings.warn(
                f"{str(folder)!r} lacks {results.missing} of the study's runs: tables and figures are made of the "
                "others; run the same study again to complete it",
                UserWarning,
                stacklevel=2,
            )
        return results

    @property
    def problems(self) -> list[str]:
        """The names of the problems, in the study's order."""
        return list(self.study["problems"])

    @property
    def methods(self) -> list[str]:
        """The names of the methods, in the study's order."""
        return list(self.study["methods"])

    def cells(self) -> Iterator[tuple[str, str, str]]:
        """Yield (problem, method, key) for every method on every problem, in the study's order."""
        for problem, methods in self.study["runs"].items():
            for method, key in methods.items():
                yield problem, method, key

    def key(self) -> str:
        """Return a hash of the study and of every run that is there: what tables and figures are made of."""
        runs = [
            (*cell, run.seconds, {name: p.sha256 for name, p in run.parts.items()}) for cell, run in self._runs.items()
        ]
        return key_of({"study": self.study, "runs": runs})

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

        rows = [self._row(cell, run) for cell, run in self._runs.items()]
        return pd.DataFrame(rows, columns=list(FRAME_COLUMNS))

    def curves(self) -> pd.DataFrame:
        """Return the checkpoints of all runs, one row each.

        Columns: problem, method, seed, step, objective, estimator_error, suboptimality, distance, and of the active
        atoms of the iterate their number `active`, `precision` and `recall` of their set against the certified one.
        """
        return self._curves.copy()

    @cached_property
    def _curves(self) -> pd.DataFrame:
        import pandas as pd

        parts = [run.curves() for run in self._runs.values()]
        lengths = [part.shape[1] for part in parts]
        labels = zip(*self._runs, strict=True) if parts else ((), (), ())
        table = {
            name: np.repeat(values, lengths) for name, values in zip(("problem", "method", "seed"), labels, strict=True)
        }
        columns = np.concatenate(parts, axis=1) if parts else np.empty((len(CURVES), 0))
        return pd.DataFrame(table | dict(zip(CURVES, columns, strict=True))).astype(
            {"seed": np.int64, "active": np.int64}
        )

    def traces(self, problem: str | None = None, method: str | None = None, *, prox: bool = False) -> Mapping:
        """Return a mapping (problem, method, seed) -> Trace, read from disk when an item is asked for.

        `problem` and `method` select one of them; `prox` gives the proximal point's change log.
        """
        for kind, name, valid in (("problem", problem, self.problems), ("method", method, self.methods)):
            if name is not None and name not in valid:
                raise unknown_name(kind, name, valid)
        cells = [c for c in self._runs if problem in (None, c[0]) and method in (None, c[1])]
        return _Lazy(cells, lambda cell: self._runs[cell].trace(prox=prox))

    def solutions(self) -> dict[str, Any]:
        """Return the certified Solution of each problem by name; those that are not stored yet are left out."""
        return {name: load_solution(self._problems, key) for name, key, _ in self._solved()}

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return what is stored about each problem beside its solution: rows, columns, loss, noise level ..."""
        return {name: {**given, **self._problems.load(key)["facts"]} for name, key, given in self._solved()}

    def _solved(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield (name, key, description) of the problems that have been solved: those with runs must have been."""
        begun = {cell[0] for cell in self._runs}
        for name, entry in self.study["problems"].items():
            if name in begun or entry["key"] in self._problems:
                yield name, entry["key"], entry["description"]

    def _row(self, cell: Cell, run: StoredRun) -> dict[str, Any]:
        summary = run.summary
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
        speed = summary["steps"] / run.seconds if run.seconds else np.nan
        return row | {
            "steps": summary["steps"],
            "seconds": run.seconds,
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
