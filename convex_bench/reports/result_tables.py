"""The tables of a study, as texts: the terminal and the report print the same numbers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pandas as pd
from rich.table import Table as RichTable
from rich.text import Text

from convex_bench.studies.results import Results
from manifold_id.report import Table
from manifold_id.statistics import Estimate, logrank, median, median_time, proportion, rate

NOTE = (
    "Intervals: 95 %, exact for the share of seeds, Kaplan-Meier with log-log bands for the median step; the other "
    "columns are medians over the seeds. Identified: the structure is the certified one for the last "
    "{persistence:.0%} of the run at least. Flicker: changes of structure a step; wrong: share of the steps whose "
    "structure is not the certified one; both in the last quarter. Estimator error: |estimate - gradient| at the last "
    "step. Speed: steps of all seeds together a second."
)
ROUNDING = 1e-13  # errors below it say nothing about a rate


def study_tables(results: Results) -> dict[str, Table]:
    """Return, for each problem with finished runs, what every method came to."""
    frame = results.frame()
    note = NOTE.format(persistence=results.study["persistence"])
    tables = {}
    for problem, runs in frame.groupby("problem", sort=False):
        lines = {str(method): _method_cells(part) for method, part in runs.groupby("method", sort=False)}
        columns = list(dict.fromkeys(itertools.chain.from_iterable(lines.values())))
        rows = [[method, *(cells.get(name, "") for name in columns)] for method, cells in lines.items()]
        tables[str(problem)] = Table(["method", *columns], rows, title=str(problem), note=note)
    return tables


def terminal_tables(results: Results, width: int) -> list[RichTable]:
    """Return the same tables for a terminal of `width` characters; one that is too wide goes on in a further table."""
    drawn = []
    facts = results.facts()
    for name, table in study_tables(results).items():
        title: Text | None = Text(name + _headline(facts.get(name, {})), style="bold")
        for columns in _fitting(table, width):
            rich = RichTable(title=title, title_justify="left")
            for i in columns:
                rich.add_column(table.columns[i], justify="right" if i else "left", overflow="fold")
            for row in table.rows:
                rich.add_row(*(Text(row[i]) for i in columns))
            drawn.append(rich)
            title = None
    return drawn


def _fitting(table: Table, width: int) -> list[list[int]]:
    """Return the columns of tables, each starting with the first column, that are at most `width` characters wide."""
    sizes = [max(len(text) for text in column) + 3 for column in zip(table.columns, *table.rows, strict=True)]
    parts: list[list[int]] = [[0]]
    for i in range(1, len(sizes)):
        if len(parts[-1]) > 1 and sum(sizes[j] for j in parts[-1]) + sizes[i] + 1 > width:
            parts.append([0])
        parts[-1].append(i)
    return parts


def median_table(results: Results, problem: str) -> Table:
    """Return medians over the seeds with their intervals: last errors of either kind apart, and the end of the run."""
    names = ("last_change", "last_false_positive", "last_false_negative", "estimator_error", "suboptimality")
    frame = results.frame()
    rows = []
    for method, runs in frame[frame["problem"] == problem].groupby("method", sort=False):
        rows.append([str(method), *(_median(runs[n], ",.0f" if n.startswith("last") else ".2e") for n in names)])
    note = (
        "95 % intervals of order statistics; of the seeds where it ever happened. A false positive is an active atom "
        "that is inactive in the certified solution: margin and noise decide when the last one is. A false negative "
        "is the reverse: the smallest active norm and the step size do."
    )
    return Table(["method", *(n.replace("_", " ") for n in names)], rows, title="Medians over the seeds", note=note)


def _median(values: pd.Series, form: str) -> str:
    estimate = median(values)
    if math.isnan(estimate.value):
        return "never"
    interval = f" [{estimate.low:{form}}, {estimate.high:{form}}]" if math.isfinite(estimate.low) else ""
    return f"{estimate.value:{form}}{interval}"


def rate_table(results: Results, problem: str) -> Table:
    """Return the slopes of log error against log step over the last decade of steps."""
    curves = results.curves()
    curves = curves[curves["problem"] == problem]
    names = [name for name in ("estimator_error", "suboptimality", "distance") if name in curves]
    rows = []
    for method, part in curves.groupby("method", sort=False):
        wide = {name: part.pivot(index="seed", columns="step", values=name) for name in names}
        rows.append([str(method), *(_slope(table) for table in wide.values())])
    note = "Slope of log(median) against log(step) from the last tenth to the end, 95 % bootstrap interval over seeds."
    return Table(["method", *(n.replace("_", " ") for n in names)], rows, title="Rates", note=note)


def logrank_table(results: Results, problem: str) -> Table:
    """Return the p-values of log-rank tests between the identification times of the methods."""
    frame = results.frame()
    runs = dict(iter(frame[frame["problem"] == problem].groupby("method", sort=False)))
    rows = []
    for first, a in runs.items():
        horizon = float(a["steps"].max())
        p = {second: logrank(a["identified_at"], b["identified_at"], horizon) for second, b in runs.items()}
        rows.append([str(first), *("" if second == first else _p_value(value) for second, value in p.items())])
    return Table(["p-value", *map(str, runs)], rows, title="Log-rank tests of the identification times")


def _method_cells(runs: pd.DataFrame) -> dict[str, str]:
    """Return {column: text} for the runs of one method on one problem."""
    cells = _identified(runs["identified"], runs["identified_at"], runs["steps"], "")
    averaged = not runs["last_change"].equals(runs["prox_last_change"]) or not runs["identified_at"].equals(
        runs["prox_identified_at"]
    )
    if averaged:
        cells |= _identified(runs["prox_identified"], runs["prox_identified_at"], runs["steps"], "prox point: ")
    return cells | {
        "last change": f"{runs['last_change'].median():,.0f}",
        "flicker": f"{runs['flicker_rate'].median():.2g}",
        "wrong": f"{runs['wrong_share'].median():.1%}",
        "estimator error": f"{runs['estimator_error'].median():.2e}",
        "suboptimality": f"{runs['suboptimality'].median():.2e}",
        "M steps/s": f"{runs['steps'].sum() / runs['seconds'].sum() / 1e6:.2f}" if runs["seconds"].sum() else "",
    }


def _identified(found: pd.Series, at: pd.Series, steps: pd.Series, prefix: str) -> dict[str, str]:
    share = proportion(int(found.sum()), len(found), method="exact")
    interval = f"[{share.low:.0%}, {share.high:.0%}]"
    return {
        f"{prefix}identified": f"{int(found.sum())}/{len(found)} {interval}",
        f"{prefix}median step": _step(median_time(at, steps)),
    }


def _step(time: Estimate) -> str:
    if math.isinf(time.value):
        return "not reached"
    high = "..." if math.isinf(time.high) else f"{time.high:,.0f}"
    return f"{time.value:,.0f} [{time.low:,.0f}, {high}]"


def _slope(errors: pd.DataFrame) -> str:
    """Return the slope over the last decade of a (seeds, steps) table."""
    values = errors.to_numpy(dtype=float)
    steps = errors.columns.to_numpy(dtype=float)
    inside = steps >= steps[-1] / 10
    if inside.sum() < 2:
        return ""
    if not (values[:, inside] > ROUNDING).all():
        return "at rounding"
    slope = rate(steps, values, start=steps[-1] / 10)
    return f"{slope.value:.2f} [{slope.low:.2f}, {slope.high:.2f}]"


def _p_value(p: float) -> str:
    return "< 1e-6" if p < 1e-6 else f"{p:.2g}"


def _headline(facts: dict[str, Any]) -> str:
    if not facts:
        return ""
    parts = [f"{facts['active']} of {facts['atoms']} {facts['atom']} active"]
    if facts["relative_margin"] is not None:
        parts.append(f"margin {facts['relative_margin']:.1%}")
    if facts["smallest_active"] is not None:
        parts.append(f"smallest active norm {facts['smallest_active']:.3g}")
    return f" ({', '.join(parts)})"
