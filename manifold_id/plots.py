"""The figures of a study, each from recorded data alone (tidy pandas frames).

Every function returns a matplotlib Figure. Frames have one row a run and checkpoint, with the columns `method`, `seed`,
`step` and the plotted one; bands are the 5 % and 95 % quantiles over the seeds, lines their median. Colours are those
of Okabe and Ito (2008), with a line style of its own for each method, so that figures read in grey as well.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from manifold_id.statistics import kaplan_meier

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
DASHES: tuple = ("-", (0, (6, 2)), (0, (2, 1.2)), (0, (6, 2, 1.5, 2)), (0, (9, 3)), (0, (4, 1, 1, 1, 1, 1)))
SIZE = (6.4, 3.9)


def _style(i: int) -> dict:
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.7}


def _axes(title: str, xlabel: str, ylabel: str, panels: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(SIZE[0], SIZE[1] + 2.2 * (panels - 1)), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(panels, 1, sharex=True)))
    axes[0].set_title(title, fontsize=11)
    axes[-1].set_xlabel(xlabel, fontsize=10)
    axes[0].set_ylabel(ylabel, fontsize=10)
    for ax in axes:
        ax.grid(True, color="#dddddd", linewidth=0.6)
        ax.tick_params(labelsize=9)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    return figure, axes


def _legend(figure: Figure, ax: Axes) -> None:
    """Put the legend below the axes, where it hides nothing."""
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9, frameon=False)


def _draw(ax: Axes, curves: pd.DataFrame, column: str) -> None:
    """Draw median and band of each method."""
    for i, (method, part) in enumerate(curves.groupby("method", sort=False)):
        table = part.pivot_table(index="step", columns="seed", values=column)
        x, y = table.index.to_numpy(dtype=float), table.to_numpy(dtype=float)
        low, middle, high = np.nanquantile(y, [0.05, 0.5, 0.95], axis=1)
        ax.plot(x, middle, label=str(method), **_style(i))
        ax.fill_between(x, low, high, color=_style(i)["color"], alpha=0.15, linewidth=0)


def active_atoms(curves: pd.DataFrame, certified: int, atoms: int, noun: str = "groups") -> Figure:
    """Return the number of active atoms (column `active`) against the step, the certified number as a line."""
    title = f"Active {noun} (median and 5-95 % of seeds)"
    figure, (ax,) = _axes(title, "step", f"active {noun} of {atoms}")
    _draw(ax, curves, "active")
    ax.axhline(certified, color="#444444", linewidth=1.0, linestyle="-", label=f"certified: {certified}", zorder=1)
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, ax)
    return figure


def precision_recall(curves: pd.DataFrame) -> Figure:
    """Return precision and recall of the active set (columns `precision`, `recall`) against the step."""
    figure, axes = _axes("Precision and recall of the active set (median and 5-95 %)", "step", "precision", panels=2)
    for ax, column in zip(axes, ("precision", "recall"), strict=True):
        _draw(ax, curves, column)
        ax.set_xscale("log")
        ax.set_ylim(-0.03, 1.03)
        ax.set_ylabel(column, fontsize=10)
    _legend(figure, axes[0])
    return figure


def identification(runs: pd.DataFrame) -> Figure:
    """Return Kaplan-Meier curves of the share of seeds that have identified the manifold by a step, with 95 % bands.

    `runs` has one row a run: method, identified_at (NaN = censored) and steps, the horizon.
    """
    figure, (ax,) = _axes("Identified seeds (Kaplan-Meier, 95 % log-log bands)", "step", "share identified")
    horizon = float(runs["steps"].max())
    first = runs["identified_at"].min()
    for i, (method, part) in enumerate(runs.groupby("method", sort=False)):
        curve = kaplan_meier(part["identified_at"], part["steps"])
        x = np.append(curve.time, horizon)
        y, low, high = (np.append(1 - s, 1 - s[-1]) for s in (curve.survival, curve.high, curve.low))
        found = int(part["identified_at"].notna().sum())
        ax.step(x, y, where="post", label=f"{method} ({found}/{len(part)})", **_style(i))
        ax.fill_between(x, low, high, step="post", color=_style(i)["color"], alpha=0.15, linewidth=0)
    ax.set_xscale("log")
    ax.set_xlim(max(1.0, 0.5 * first) if np.isfinite(first) else 1.0, horizon)
    ax.set_ylim(-0.03, 1.03)
    _legend(figure, ax)
    return figure


def decay(curves: pd.DataFrame, column: str, title: str, ylabel: str) -> Figure:
    """Return a positive column against the step, both axes logarithmic; what has reached rounding is cut at 1e-16."""
    figure, (ax,) = _axes(f"{title} (median and 5-95 %)", "step", ylabel)
    _draw(ax, curves.assign(**{column: curves[column].clip(lower=1e-16)}), column)
    ax.set_xscale("log")
    ax.set_yscale("log")
    _legend(figure, ax)
    return figure
