"""Learning rate and lambda of every method by an equal budget, judged on training images that are held out.

The test images, on which a comparison reports, are not seen.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from manifold_id.validation import integer, real, unknown_name
from nn_bench.batches import steps_per_epoch
from nn_bench.config import LARGEST_SEED, TrainConfig, table
from nn_bench.guard import NotFiniteError
from nn_bench.images import Images
from nn_bench.stored import write_text
from nn_bench.training import train

TRIALS = "trials.csv"
_TUNED = ("lr", "lam")


@dataclass(frozen=True)
class Tuning:
    """How settings are chosen.

    Every point of a method's grid is trained once with `seed` for `epochs` epochs on the first `train_rows` training
    images and judged on the last `held_out` ones. Of the points at most `drop` less accurate than the best of all
    methods, a method takes the one with the largest group sparsity; if it has none, its most accurate one. A trial that
    diverges (NotFiniteError) counts as accuracy 0.

    Raises
    ------
    ValueError
        For a number out of range.
    """

    epochs: int
    train_rows: int
    held_out: int
    drop: float
    seed: int = 100

    def __post_init__(self) -> None:
        for name in ("epochs", "train_rows", "held_out"):
            integer(f"tuning.{name}", getattr(self, name), 1)
        integer("tuning.seed", self.seed, 0, LARGEST_SEED)
        real("tuning.drop", self.drop, 0, 1)

    @classmethod
    def from_dict(cls, values: Any, where: str) -> Tuning:
        """Make one from a table of a TOML file; raises TypeError or ValueError, also for an unknown or missing key."""
        table(f"{where}: tuning", values)
        names = [f.name for f in fields(cls)]
        for key in values:
            if key not in names:
                raise unknown_name(f"{where}: tuning", key, names)
        missing = [name for name in names[:-1] if name not in values]
        if missing:
            raise ValueError(f"{where}: [tuning] lacks {', '.join(missing)}: give all of {', '.join(names[:-1])}")
        return cls(**values)

    def describe(self, points: int) -> str:
        """Return one sentence for a report."""
        return (
            f"Learning rate and lambda by an equal budget: {points} points a method, each trained once (seed "
            f"{self.seed}) for {self.epochs} epochs on {self.train_rows} images and judged on {self.held_out} held-out "
            f"training images; taken is the sparsest point at most {100 * self.drop:g} percentage points less accurate "
            "than the best of all."
        )

    def split(self, images: Images) -> Images:
        """Return the set in which held-out training images take the place of the test images.

        Raises
        ------
        ValueError
            If the set has fewer than train_rows + held_out training images.
        """
        total = len(images.train)
        integer("tuning.train_rows + tuning.held_out", self.train_rows + self.held_out, 2, total)
        rest = replace(images, test=images.train[-self.held_out :], test_labels=images.train_labels[-self.held_out :])
        return rest.limited(self.train_rows)


@dataclass(frozen=True)
class Trial:
    """One run of the search; `lam` is nan where it is not searched."""

    method: str
    lr: float
    lam: float
    accuracy: float
    group_sparsity: float


def points(grid: Mapping[str, Iterable[float]]) -> list[dict[str, float]]:
    """Return all combinations of a grid such as {"lr": [...], "lam": [...]}."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def numbers(name: str, values: Any) -> None:
    """Raise TypeError or ValueError for something else than a list of numbers >= 0."""
    if not isinstance(values, list) or not values:
        raise TypeError(f"{name}={values!r} must be a list of numbers")
    for value in values:
        real(name, value, 0)


def check_grids(grids: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Raise TypeError or ValueError for a grid of something else than lists of lr and lam, or of different sizes."""
    for method, grid in grids.items():
        for name, values in grid.items():
            if name not in _TUNED:
                raise unknown_name(f"[methods.{method}] grid", name, _TUNED)
            numbers(f"[methods.{method}] grid: {name}", values)
    sizes = {method: len(points(grid)) for method, grid in grids.items()}
    if len(set(sizes.values())) > 1:
        given = ", ".join(f"{method} {size}" for method, size in sizes.items())
        raise ValueError(f"the grids have different numbers of points ({given}): the budget must be equal for all")


def search(
    methods: Mapping[str, TrainConfig],
    grids: Mapping[str, Mapping[str, list[float]]],
    tuning: Tuning,
    images: Mapping[str, Images],
    out: str | os.PathLike[str],
    progress: bool = False,
) -> pd.DataFrame:
    """Train every point of every grid and return the trials, one row each; they are also written to out/trials.csv.

    `images` holds the sets that the methods' configs name. A trial whose folder in `out` is complete is read, so that a
    stopped search goes on.
    """
    folder, rows = Path(out), []
    parts = {name: tuning.split(whole) for name, whole in images.items()}
    for method in grids:
        steps_per_epoch(methods[method], parts[methods[method].data])  # raises before the first trial
    shared: dict[str, Any] = {"seed": tuning.seed, "tracked": False}
    shared |= {"train_rows": tuning.train_rows, "test_rows": tuning.held_out}  # so that a trial tells its rows
    for method, grid in grids.items():
        for point in points(grid):
            config = methods[method].shortened(tuning.epochs).changed(**shared, **point)
            place = folder / "-".join([method, *(f"{name}{value:g}" for name, value in point.items())])
            try:
                done = train(config, place, images=parts[config.data], progress=progress)
                reached = done.accuracy, done.group_sparsity
            except NotFiniteError:
                reached = 0.0, 0.0
            rows.append(Trial(method, config.lr, point.get("lam", float("nan")), *reached))
            table = pd.DataFrame(rows)
            write_text(folder / TRIALS, table.to_csv(index=False))
    return table


def accuracy_floor(trials: pd.DataFrame, drop: float) -> float:
    """Return the accuracy from which on a trial may be taken for its sparsity: the best of all methods less `drop`."""
    return float(trials["accuracy"].max()) - drop - 1e-9  # a trial exactly `drop` below the best is within it


def chosen(trials: pd.DataFrame, drop: float) -> pd.DataFrame:
    """Return the trial that each method takes, by the rule of Tuning, one row a method."""
    floor = accuracy_floor(trials, drop)
    rows = []
    for _, own in trials.groupby("method", sort=False):
        enough = own[own["accuracy"] >= floor]
        order = ["group_sparsity", "accuracy"] if len(enough) else ["accuracy", "group_sparsity"]
        rows.append((enough if len(enough) else own).sort_values(order, ascending=False, kind="stable").iloc[0])
    return pd.DataFrame(rows).reset_index(drop=True)
