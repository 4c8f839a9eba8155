"""What `manifold-id path` shows: a table, and a page with the figure of the path."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table as RichTable

from convex_bench.environment import versions
from convex_bench.ground_truth.path import RegularizationPath
from convex_bench.problem import Problem
from manifold_id import plots
from manifold_id.report import Picture, Section, Table, write

Array = np.ndarray
COLUMNS = ("lam", "lam / lambda_max", "active", "margin", "smallest active", "objective", "gap", "residual", "status")
NOTE = (
    "Active: atoms that are not zero. Margin: how far the gradient of the tightest zero atom may move before the atom "
    "becomes active, relative to its threshold. Smallest active: norm of the smallest active penalized atom. Gap: "
    "duality gap. Residual: largest distance of minus the gradient to the subdifferential, relative to the threshold. "
    "Seconds: from the solution of the row above."
)


def atom_norms(problem: Problem, path: RegularizationPath) -> Array:
    """Return (count, atoms) norms of the penalized atoms: groups, or entries where psi is made of entries."""
    w = path.coefficients[:, : problem.n_features].reshape(len(path), -1)
    form = problem.penalty.separable((problem.n_features, *problem.shape[1:]))
    if form is None or form.atoms == "entries":
        return np.abs(w)
    return np.sqrt(np.stack([np.bincount(form.labels, weights=row**2, minlength=len(form.lam)) for row in w]))


def rows(path: RegularizationPath) -> Iterator[list[str]]:
    """Yield the cells of each lam, under COLUMNS and "seconds"."""
    for row in path.frame().itertuples():
        yield [
            f"{row.lam:.4g}",
            f"{row.ratio:.4g}",
            str(row.active),
            f"{row.margin:.2%}" if math.isfinite(row.margin) else "none off",
            f"{row.smallest_active:.3g}" if math.isfinite(row.smallest_active) else "none",
            f"{row.value:.10g}",
            f"{row.gap:.1e}" if math.isfinite(row.gap) else "none known",
            f"{row.residual:.1e}",
            row.status,
            f"{row.seconds:.3f}",
        ]


def terminal_table(problem: Problem, path: RegularizationPath) -> RichTable:
    """Return the same table for a terminal."""
    table = RichTable(title=headline(problem, path), title_justify="left")
    for name in (*COLUMNS, "s"):
        table.add_column(name, justify="left" if name == "status" else "right", overflow="fold")
    for cells in rows(path):
        table.add_row(*cells)
    return table


def headline(problem: Problem, path: RegularizationPath) -> str:
    """Return one line: how many solutions, how many certified, how long it took."""
    certified = int((path.status == "certified").sum())
    return (
        f"{problem.n:,} rows, {problem.n_features:,} columns, {problem.loss.name} loss, "
        f"{type(problem.penalty).__name__}: {certified} of {len(path)} solutions certified, "
        f"{path.seconds.sum():.2f} s of solving"
    )


def figure(problem: Problem, path: RegularizationPath) -> Any:
    """Return the figure of the path: norms of the atoms, number of active ones, margin."""
    form = problem.penalty.separable((problem.n_features, *problem.shape[1:]))
    noun = "atom" if form is None else "entry" if form.atoms == "entries" else "group"
    return plots.regularization_path(path.frame(), atom_norms(problem, path), noun, problem.penalty.atom_names)


def write_report(target: Path, data: str, problem: Problem, path: RegularizationPath, command: str) -> Path:
    """Write the page of a path and return its path."""
    summary = [
        headline(problem, path),
        f"lam falls from {path.ratio[0]:.3g} to {path.ratio[-1]:.3g} lambda_max. Every row is a solution with its own "
        "certificate, not a point on the way; each was started from the one before.",
    ]
    caption = (
        "Norms of the atoms that become largest, by name or numbered from 0 (the others in grey), number of active "
        "atoms, and the margin, against lam / lambda_max, which falls to the right. A cross marks a solution that is "
        "not certified."
    )
    sections = [
        Section("Path", pictures=[Picture(figure(problem, path), caption)]),
        Section("Solutions", tables=[Table([*COLUMNS, "seconds"], list(rows(path)), note=NOTE)]),
        Section(
            "How to repeat it",
            tables=[Table(["package", "version"], [[k, v] for k, v in versions().items()], title="Versions")],
            code=[command],
        ),
    ]
    return write(target, f"Regularization path on {data}", summary, sections)
