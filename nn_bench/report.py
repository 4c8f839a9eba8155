"""report.html of one run or of a comparison, the page that convex studies have too."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from manifold_id.plots import by_epoch, precision_recall, regularization_paths, trade_off
from manifold_id.report import Picture, Section, Table, write
from nn_bench.compare import Comparison, ComparisonResult
from nn_bench.path import PathResult
from nn_bench.result import TrainResult
from nn_bench.stored import write_text
from nn_bench.tuning import accuracy_floor, chosen

_FIGURES: tuple[tuple[str, str, str, Literal["linear", "share", "count"]], ...] = (
    ("group_sparsity", "Group sparsity of the parameter", "share of groups that are zero", "share"),
    ("prox_group_sparsity", "Group sparsity of the proximal point", "share of groups that are zero", "share"),
    ("changes", "Changes of the parameter's structure", "changes in an epoch", "count"),
    ("prox_changes", "Changes of the proximal point's structure", "changes in an epoch", "count"),
    ("accuracy", "Validation accuracy", "share of images that are right", "linear"),
    ("train_loss", "Training loss", "cross entropy", "linear"),
)
_SHOWN = {
    "accuracy": "accuracy",
    "group_sparsity": "group sparsity",
    "prox_group_sparsity": "prox group sparsity",
    "sparsity": "zeros",
    "stabilized_at": "last change",
    "prox_stabilized_at": "prox last change",
    "flicker": "flicker",
    "prox_flicker": "prox flicker",
    "moving": "moving",
    "prox_moving": "prox moving",
    "precision": "precision",
    "recall": "recall",
    "planted_at": "planted from step",
}
NOTE = (
    "Group sparsity: share of the groups that are exactly zero, of the parameter and (prox) of its proximal point. "
    "Last change: the step after which no group changed between zero and nonzero. "
    "Flicker: changes a step in the last tenth of the run; moving: share of the groups that change there at all."
)


def write_run_report(result: TrainResult) -> Path:
    """Write report.html into the run's folder and return its path; raises ValueError if it has none."""
    if result.folder is None:
        raise ValueError("the run has no folder: give out=... to train")
    config, facts = result.config, result.facts
    title = f"{config.method} on {config.model} and {config.data}"
    summary = [
        f"{facts['epochs']} epochs of {facts['epoch_steps']} steps: validation accuracy {facts['accuracy']:.2%}, group "
        f"sparsity {facts['group_sparsity']:.2%}, {facts['sparsity']:.2%} of the regularized weights exactly zero.",
        _settled(facts),
    ]
    layers = [
        [
            layer["name"], str(layer["stop"] - layer["start"]), f"{layer['sparsity']:.3f}",
            f"{layer['prox_sparsity']:.3f}", str(layer["stabilized_at"]), str(layer["prox_stabilized_at"]),
        ]
        for layer in facts["layers"]
    ]  # fmt: skip
    columns = ["tensor", "groups", "sparsity", "prox sparsity", "last change", "prox last change"]
    table = Table(columns, layers, title="Structure by tensor", note=NOTE)
    sections = [
        Section("Run", tables=[table], pictures=_pictures(result.curves())),
        _repeat(
            {config.method: config.to_dict()},
            f"# run.toml, for: manifold-id train run.toml\n{config.to_toml()}",
            [result],
        ),
    ]
    return write(result.folder / "report.html", title, summary, sections)


def _settled(facts: dict[str, Any]) -> str:
    if facts["stabilized_at"] is None:
        return "The structure was not followed."
    return (
        f"The structure of the parameter last changed at step {facts['stabilized_at']} of {facts['steps']}, that of "
        f"the proximal point at step {facts['prox_stabilized_at']}."
    )


def write_comparison_report(result: ComparisonResult) -> Path:
    """Write report.html, runs.csv and curves.csv into the comparison's folder; return the report's path."""
    comparison = result.comparison
    first = next(iter(comparison.methods.values()))
    write_text(result.folder / "runs.csv", result.frame().to_csv(index=False))
    write_text(result.folder / "curves.csv", result.curves().to_csv(index=False))
    summary = [
        f"{len(comparison.methods)} methods on {first.model} and {first.data}, {len(comparison.seeds)} seeds each, "
        f"{first.epochs} epochs.",
        comparison.tuned_by(),
    ]
    pictures, agreement = _pictures(result.curves()), result.agreement()
    if len(agreement):
        pictures.append(Picture(precision_recall(agreement), "Active groups of the proximal point against the planted"))
    sections = [
        Section("Comparison", tables=[comparison_table(result)], pictures=pictures),
        _repeat_comparison(result, comparison, "manifold-id compare comparison.toml"),
    ]
    title = f"Networks: {comparison.name}"
    return write(result.folder / "report.html", title, [text for text in summary if text], sections)


def write_path_report(result: PathResult) -> Path:
    """Write report.html and runs.csv into the path's folder; return the report's path."""
    comparison, runs = result.comparison, result.frame()
    write_text(result.folder / "runs.csv", runs.to_csv(index=False))
    first = next(iter(comparison.methods.values()))
    summary = (
        f"{len(comparison.methods)} methods on {first.model} and {first.data}, {len(comparison.seeds)} seeds at each "
        f"lambda, {first.epochs} epochs."
    )
    caption = "Accuracy against group sparsity; a line joins the lambdas of a method."
    figure = Picture(regularization_paths(runs), caption)
    sections = [
        Section("Paths", tables=[path_table(result)], pictures=[figure]),
        _repeat_comparison(result.result, comparison, "manifold-id compare --path comparison.toml"),
    ]
    return write(result.folder / "report.html", f"Regularization paths: {comparison.name}", [summary], sections)


def path_table(result: PathResult) -> Table:
    """Return one row a point: mean and standard deviation over the seeds."""
    runs = result.frame().drop(columns="seed")
    summary = runs.groupby(["method", "lam"], sort=False, dropna=False).agg(["mean", "std"])
    return _means(summary, ["method", "lambda"], ["accuracy", "group_sparsity", "stabilized_at", "flicker", "moving"])


def write_tuning_report(comparison: Comparison, trials: pd.DataFrame, folder: Path) -> Path:
    """Write report.html beside the trials of a search and return its path."""
    assert comparison.tuning is not None
    drop = comparison.tuning.drop
    taken = chosen(trials, drop)
    figure = trade_off(trials, taken, accuracy_floor(trials, drop))
    caption = "Accuracy on the held-out training images against group sparsity; a point is a trial, rings: taken."
    first, every = (
        Table([name.replace("_", " ") for name in rows], [[*map(_number, row)] for row in rows.itertuples(index=False)])
        for rows in (taken, trials)
    )
    sections = [
        Section("Choice", tables=[first], pictures=[Picture(figure, caption)]),
        Section("All trials", tables=[every]),
    ]
    return write(folder / "report.html", f"Tuning: {comparison.name}", [comparison.tuned_by()], sections)


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if pd.isna(value) else f"{value:.4g}"


def comparison_table(result: ComparisonResult) -> Table:
    """Return one row a method: mean and standard deviation over the seeds."""
    summary = result.summary()
    return _means(summary, ["method"], [column for column in _SHOWN if column in summary])


def _means(summary: pd.DataFrame, keys: list[str], shown: list[str]) -> Table:
    """Return the table of a frame whose index holds the `keys` and whose columns are (name, "mean" or "std")."""
    rows = [
        [*map(_number, index if isinstance(index, tuple) else (index,)), *(_cell(row, column) for column in shown)]
        for index, row in summary.iterrows()
    ]
    columns = [*keys, *(_SHOWN[column] for column in shown)]
    return Table(columns, rows, title="Mean and standard deviation over the seeds", note=NOTE)


def _cell(row: pd.Series, column: str) -> str:
    mean, deviation = row[column, "mean"], row[column, "std"]
    if pd.isna(mean):
        return ""
    digits = 0 if column.endswith("_at") else 3
    return f"{mean:.{digits}f}" + ("" if pd.isna(deviation) else f" ± {deviation:.{digits}f}")


def _pictures(curves: pd.DataFrame) -> list[Picture]:
    return [
        Picture(by_epoch(curves, column, title, label, scale), f"{title}: {label}, against the epoch.")
        for column, title, label, scale in _FIGURES
        if column in curves
    ]


def _repeat_comparison(result: ComparisonResult, comparison: Comparison, command: str) -> Section:
    file = f"# comparison.toml, for: {command}\nseeds = {list(comparison.seeds)}"
    for name, config in comparison.methods.items():
        file += f"\n\n[methods.{json.dumps(name)}]\n{config.to_toml()}"
        if name in comparison.paths:
            file += f"\npath = {comparison.paths[name]}"
    seeds = ", ".join(map(str, comparison.seeds))
    configs = {name: config.to_dict() | {"seed": seeds} for name, config in comparison.methods.items()}
    return _repeat(configs, file, result.runs.values())


def _repeat(configs: dict[str, dict[str, Any]], file: str, runs: Iterable[TrainResult]) -> Section:
    names = list(next(iter(configs.values())))
    rows = [[name, *(str(config[name]) for config in configs.values())] for name in names]
    versions: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, text in run.versions.items():
            versions.setdefault(name, {})[text] = None
    tables = [
        Table(["setting", *configs], rows, title="Settings", words=range(len(configs) + 1)),
        Table(["package", "version"], [[k, ", ".join(v)] for k, v in versions.items()], title="Versions"),
    ]
    return Section("How to repeat it", tables=tables, code=[file])
