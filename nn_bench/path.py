"""Regularization paths: accuracy against group sparsity, for every method of a comparison at several values of lambda.

What a method is worth shows in the whole path: at one lambda each, one is sparser and the other more accurate.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from nn_bench.compare import Comparison, ComparisonResult
from nn_bench.config import TrainConfig
from nn_bench.methods import method_entry

FOLLOWED = "path.json"  # what a finished folder is of


@dataclass(frozen=True, eq=False)
class PathResult:
    """The runs of a path: `result` compares all points; `comparison` holds the paths."""

    comparison: Comparison
    result: ComparisonResult

    @property
    def folder(self) -> Path:
        """The folder of the runs."""
        return self.result.folder

    @classmethod
    def load(cls, folder: Path) -> PathResult:
        """Read the folder of a finished path; raises ValueError where a run is not there or damaged."""
        comparison = Comparison.load(folder / FOLLOWED)
        return cls(comparison, ComparisonResult.read(_at_points(comparison), folder))

    def frame(self) -> pd.DataFrame:
        """Return one row a run: method, lam (nan: it has none), seed, the other columns of ComparisonResult.frame."""
        frame, points = self.result.frame(), _points(self.comparison)
        made = [points[label] for label in frame["method"]]
        names = [name for name, _ in made]
        lams = [config.lam if method_entry(config.method).proximal else float("nan") for _, config in made]
        columns = ["method", "lam", *(column for column in frame if column != "method")]
        return frame.assign(method=names, lam=lams)[columns]


def follow(comparison: Comparison, out: str | os.PathLike[str], progress: bool = False) -> PathResult:
    """Train every method at each lambda of its path with every seed; one without a path at its own lambda.

    A run's folder in `out` is METHOD-lamLAMBDA-SEED; what is there already is read.

    Raises
    ------
    ValueError
        If no method has a path; else as Comparison.run does.
    """
    if not comparison.paths:
        raise ValueError(
            f"comparison={comparison.name!r} has no path: give a method's table one, such as path = [3e-5, 1e-4]"
        )
    result = _at_points(comparison).run(out, progress)
    comparison.save(result.folder / FOLLOWED)
    return PathResult(comparison, result)


def _at_points(comparison: Comparison) -> Comparison:
    methods = {label: config for label, (_, config) in _points(comparison).items()}
    return replace(comparison, methods=methods, tuning=None, grids={}, paths={})


def _points(comparison: Comparison) -> dict[str, tuple[str, TrainConfig]]:
    """Return the method and the config of every point, by its label."""
    points = {}
    for name, config in comparison.methods.items():
        if name not in comparison.paths:
            points[name] = name, config
        for lam in sorted(comparison.paths.get(name, [])):
            points[f"{name}-lam{lam}"] = name, config.changed(lam=lam)
    return points
