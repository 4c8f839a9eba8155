"""The figures of network runs: a quantity of every epoch, with bands over the seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from manifold_id.plots import COLOURS, DASHES, SIZE


def by_epoch(curves: pd.DataFrame, column: str, title: str, ylabel: str) -> Figure:
    """Return `column` against the epoch: the median over the seeds of each method, with the range as a band."""
    figure = Figure(figsize=SIZE, layout="constrained")
    ax = figure.subplots()
    for i, (method, part) in enumerate(curves.groupby("method", sort=False)):
        table = part.pivot_table(index="epoch", columns="seed", values=column)
        if table.empty:
            continue
        x, y = table.index.to_numpy(dtype=float), table.to_numpy(dtype=float)
        colour = COLOURS[i % len(COLOURS)]
        middle = np.nanmedian(y, axis=1)
        ax.plot(x, middle, label=str(method), color=colour, linestyle=DASHES[i % len(DASHES)], linewidth=1.7)
        ax.fill_between(x, np.nanmin(y, axis=1), np.nanmax(y, axis=1), color=colour, alpha=0.15, linewidth=0)
    ax.set_title(f"{title} (median and range of seeds)", fontsize=11)
    ax.set_xlabel("epoch", fontsize=10)
    ax.set_ylabel(ylabel, fontsize=10)
    if column.endswith("changes"):  # from none to thousands
        ax.set_yscale("symlog", linthresh=1)
        ax.set_ylim(bottom=0)
    ax.grid(True, color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure
