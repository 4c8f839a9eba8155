"""`compare`: methods x seeds on one model and data set, from a TOML file; table, figures and report."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from manifold_id.formula import check_label
from manifold_id.toml_file import read_toml
from manifold_id.validation import flag, integer, path_of, unknown_name
from nn_bench.agreement import Agreement, agreements
from nn_bench.config import LARGEST_SEED, TrainConfig, table
from nn_bench.data import load_images
from nn_bench.images import Images
from nn_bench.methods import method_entry
from nn_bench.planted import PLANTED
from nn_bench.result import TrainResult, load_result
from nn_bench.stored import check_sums, read_sealed, sums, write_sealed
from nn_bench.training import check, train
from nn_bench.tuning import TRIALS, Tuning, check_grids, numbers, points, search

CONFIGS = Path(__file__).parent / "configs"
COMPARED, TUNED = "comparison.json", "tuning.json"  # what a finished folder is of
_KEYS = ("base", "methods", "seeds", "tuning")


@dataclass(frozen=True)
class Comparison:
    """Runs to be made: a config for each method, and the seeds.

    `grids` holds for each method the values of lr and lam from which the config's were chosen, by the rule `tuning`,
    `paths` for some methods the values of lam at which its regularization path is followed (nn_bench.path).
    """

    name: str
    methods: dict[str, TrainConfig]
    seeds: tuple[int, ...]
    tuning: Tuning | None = None
    grids: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    paths: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.methods:
            if not name.strip() or set(name) & set("/\\\0"):
                raise ValueError(f"[methods.{name!r}]: runs get folders of this name: use no slash and not nothing")
            check_label("methods name", name)
        check_grids(self.grids)
        for method, lams in self.paths.items():
            numbers(f"[methods.{method}] path", lams)
            if len(set(lams)) < len(lams):
                raise ValueError(f"[methods.{method}] path={lams} must be different values of lam")
            if not method_entry(self.methods[method].method).proximal:
                raise ValueError(f"[methods.{method}] path={lams}: the method has no lambda, leave the path out")
        if self.tuning is not None and set(self.grids) != set(self.methods):
            missing = ", ".join(name for name in self.methods if name not in self.grids)
            raise ValueError(f"{self.name}: with [tuning] every method needs a grid: {missing} has none")
        if not self.methods:
            raise ValueError("methods={} is empty: give at least one table [methods.NAME]")
        for seed in self.seeds:
            integer("seeds", seed, 0, LARGEST_SEED)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)} must be different numbers, at least one")

    @classmethod
    def from_toml(cls, source: str | Path) -> Comparison:
        """Read a file, or a built-in comparison by its name: see `builtin_names`.

        The file has `seeds`, a table [base] of settings that all methods share, a table [methods.NAME] for each with
        its own (see TrainConfig) and, if they can be tuned, a table [tuning] (see Tuning) and in each method's table a
        `grid` such as { lr = [0.1, 0.3], lam = [1e-4, 1e-3] }. A method's `path` such as [3e-5, 1e-4] lists the values
        of lam of its regularization path.

        Raises
        ------
        TypeError, ValueError
            For an unknown name, key or value; the file is named.
        FileNotFoundError
            If there is no such file.
        """
        path = Path(source)
        if path.suffix != ".toml":
            if str(source) not in builtin_names():
                raise unknown_name("comparison", str(source), builtin_names())
            path = CONFIGS / f"{source}.toml"
        return cls.from_dict(read_toml(path)[0], path.stem, str(path))

    @classmethod
    def from_dict(cls, values: dict[str, Any], name: str, where: str) -> Comparison:
        """Return the comparison of these values, those of a file; raises TypeError or ValueError as `from_toml`."""
        for key in values:
            if key not in _KEYS:
                raise unknown_name(f"{where}: key", key, _KEYS)
        base = table(f"{where}: base", values.get("base", {}))
        methods, grids, paths = {}, {}, {}
        for method, own in table(f"{where}: methods", values.get("methods", {})).items():
            own = dict(table(f"{where}: methods.{method}", own))
            if "grid" in own:
                grids[method] = table(f"{where}: methods.{method}.grid", own.pop("grid"))
            if "path" in own:
                paths[method] = own.pop("path")
            methods[method] = TrainConfig.from_dict({"method": method, **base, **own}, f"{where}: [methods.{method}]")
        tuning = Tuning.from_dict(values["tuning"], where) if "tuning" in values else None
        seeds = values.get("seeds", [0])
        if not isinstance(seeds, list):
            raise TypeError(f"{where}: seeds={seeds!r} must be a list of numbers, such as [0, 1, 2]")
        return cls(name, methods, tuple(seeds), tuning, grids, paths)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `from_dict` takes them back."""
        methods = {name: config.to_dict() for name, config in self.methods.items()}
        for name, grid in self.grids.items():
            methods[name]["grid"] = grid
        for name, lams in self.paths.items():
            methods[name]["path"] = lams
        values = {"seeds": list(self.seeds), "methods": methods}
        return values if self.tuning is None else values | {"tuning": asdict(self.tuning)}

    def save(self, path: Path, files: Iterable[str] = ()) -> None:
        """Write name and values to a sealed JSON file, with the sha256 of files beside it."""
        found = sums(path.parent, files)
        write_sealed(path, {"name": self.name, "comparison": self.to_dict(), "files": found})

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Read what `save` wrote; raises DamagedRunError if it or a file beside it is not what was written."""
        stored = read_sealed(path, ["name", "comparison", "files"])
        check_sums(path.parent, stored["files"])
        return cls.from_dict(stored["comparison"], stored["name"], str(path))

    def changed(self, seeds: int | None = None, epochs: int | None = None, **settings: Any) -> Comparison:
        """Return the comparison with the first `seeds` seeds, another length, or other settings for all methods.

        With another number of epochs the milestones move in proportion.
        """
        methods = {}
        for name, config in self.methods.items():
            moved = config if epochs is None else config.shortened(epochs)
            methods[name] = moved.changed(**settings)
        own = self.seeds if seeds is None else self.seeds[: integer("seeds", seeds, 1)]
        return replace(self, methods=methods, seeds=own)

    def tuned_by(self) -> str:
        """Return a sentence on how the settings were found, "" if the file does not say."""
        return "" if self.tuning is None else self.tuning.describe(len(points(next(iter(self.grids.values())))))

    def search(self, out: str | os.PathLike[str], progress: bool = False) -> pd.DataFrame:
        """Make the trials of all grids; see nn_bench.tuning.search.

        Raises
        ------
        ValueError
            If the comparison has no [tuning] or no grids.
        """
        if self.tuning is None or not self.grids:
            raise ValueError(f"comparison={self.name!r} can't be tuned: give it a table [tuning] and grids")
        folder = path_of("out", out)
        flag("progress", progress)
        trials = search(self.methods, self.grids, self.tuning, self._check(), folder, progress)
        self.save(folder / TUNED, [TRIALS])
        return trials

    def _check(self) -> dict[str, Images]:
        """Return the images by name, after building every method's run once, so that no error comes late."""
        images = {name: load_images(name) for name in {config.data for config in self.methods.values()}}
        for name, config in self.methods.items():
            try:
                tracker = check(config, images[config.data])
                if tracker is not None and config.data in PLANTED:
                    for tensor, codes in PLANTED[config.data]().codes.items():
                        tracker.layer_trace(tensor).last_false_positive(codes)
            except (TypeError, ValueError, NotImplementedError) as error:
                raise ValueError(f"{self.name}: [methods.{name}]: {error}") from error
        return images

    def run(self, out: str | os.PathLike[str], progress: bool = False) -> ComparisonResult:
        """Make all runs, each in its folder METHOD-SEED of `out`; what is there already is read.

        Raises
        ------
        ValueError
            As `train` does; what can be known before the first run is said before it, with the method's name.
        """
        folder = path_of("out", out)
        flag("progress", progress)
        images = self._check()
        runs = {}
        for seed in self.seeds:  # seed by seed, so that a stopped comparison has all methods
            for name, config in self.methods.items():
                own = config.changed(seed=seed)
                runs[name, seed] = train(own, folder / f"{name}-{seed}", images=images[own.data], progress=progress)
        self.save(folder / COMPARED)
        return ComparisonResult(self, folder, runs)


@dataclass(frozen=True, eq=False)
class ComparisonResult:
    """The runs of a comparison by (method, seed)."""

    comparison: Comparison
    folder: Path
    runs: dict[tuple[str, int], TrainResult]

    @classmethod
    def load(cls, folder: Path) -> ComparisonResult:
        """Read the folder of a finished comparison; raises ValueError where a run is not there or damaged."""
        return cls.read(Comparison.load(folder / COMPARED), folder)

    @classmethod
    def read(cls, comparison: Comparison, folder: Path) -> ComparisonResult:
        """Read the finished runs of a comparison from its folder; raises as `load`."""
        images = {name: load_images(name) for name in {config.data for config in comparison.methods.values()}}
        runs = {}
        for seed in comparison.seeds:
            for name, config in comparison.methods.items():
                place = folder / f"{name}-{seed}"
                run = load_result(place, config.changed(seed=seed), images[config.data])
                if run is None:
                    raise ValueError(f"{str(place)!r} holds no finished run: give the command that made it again")
                runs[name, seed] = run
        return cls(comparison, folder, runs)

    def frame(self) -> pd.DataFrame:
        """Return one row a run: method, seed, accuracy, sparsities, last change, flicker, moving (of the last tenth).

        On planted data also the final precision and recall of the proximal point's active groups in the tensor whose
        truth is known, and the step from which they are the planted ones (nan where they are not at the end).
        """
        rows = []
        for (method, seed), run in self.runs.items():
            row = {"method": method, "seed": seed, **{k: v for k, v in run.facts.items() if k != "layers"}}
            for prefix, trace in (("", run.trace), ("prox_", run.prox_trace)):
                start = 0 if trace is None else int(0.9 * trace.steps)
                row[f"{prefix}flicker"] = float("nan") if trace is None else trace.flicker_rate(start)
                row[f"{prefix}moving"] = float("nan") if trace is None else trace.moving_share(start)
            for found in _planted(run):
                row |= {"precision": found.precision[-1], "recall": found.recall[-1]}
                row["planted_at"] = float("nan") if found.identified_at is None else found.identified_at
            rows.append(row)
        return pd.DataFrame(rows)

    def agreement(self) -> pd.DataFrame:
        """Return precision and recall over the steps, one row a run and step; empty if nothing is planted."""
        rows = [
            {"method": method, "seed": seed, "step": step, "precision": precision, "recall": recall}
            for (method, seed), run in self.runs.items()
            for found in _planted(run)
            for step, precision, recall in zip(found.steps, found.precision, found.recall, strict=True)
        ]
        return pd.DataFrame(rows)

    def curves(self) -> pd.DataFrame:
        """Return the curves of all runs (TrainResult.curves), one row a run and epoch; `method` is the table's name."""
        parts = [run.curves().assign(method=method) for (method, _), run in self.runs.items()]
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> pd.DataFrame:
        """Return mean and standard deviation over the seeds of what `frame` has, one row a method."""
        frame = self.frame().drop(columns="seed")
        return frame.groupby("method", sort=False).agg(["mean", "std"])


def _planted(run: TrainResult) -> list[Agreement]:
    if run.config.data not in PLANTED or run.prox_trace is None:
        return []
    return agreements(run, PLANTED[run.config.data]())


def builtin_names() -> list[str]:
    """Return the names of the built-in comparisons."""
    return sorted(path.stem for path in CONFIGS.glob("*.toml"))
