"""The figures of a report, each from recorded data alone: tidy pandas frames, or the curves that a theorem stores.

Every function returns a matplotlib Figure made without pyplot, so that no global state is touched. Frames have one row
a run and checkpoint, with the columns `method`, `seed`, `step` and the plotted one; lines are the median over the
seeds, bands their 5 % and 95 % quantiles. Colours are those of Okabe and Ito (2008), each with a line style and a
marker of its own, so that figures read in grey as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from manifold_id.statistics import kaplan_meier
from manifold_id.theory.base import Curve, Evidence

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
DASHES: tuple = ("-", (0, (6, 2)), (0, (2, 1.2)), (0, (6, 2, 1.5, 2)), (0, (9, 3)), (0, (4, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX*"
SIZE = (6.4, 4.0)
BAND = "median and 5-95 % of seeds"


def _style(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.7}


def _marks(i: int, points: int) -> dict[str, Any]:
    """Return a few markers on a line of `points` points, at other places for each method."""
    every = max(1, points // 7)
    return {"marker": MARKERS[i % len(MARKERS)], "markersize": 4.5, "markevery": (i * every // 4 % every, every)}


def _titled(title: str, curves: pd.DataFrame) -> str:
    """Return a title that says what lines and bands are, where there are several seeds."""
    return f"{title} ({BAND})" if curves["seed"].nunique() > 1 else title


def _axes(title: str, xlabel: str, ylabels: tuple[str, ...]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(SIZE[0], SIZE[1] + 2.2 * (len(ylabels) - 1)), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(len(ylabels), 1, sharex=True)))
    axes[0].set_title(title, fontsize=11)
    axes[-1].set_xlabel(xlabel, fontsize=10)
    for ax, ylabel in zip(axes, ylabels, strict=True):
        _decorate(ax, ylabel)
    return figure, axes


def _decorate(ax: Axes, ylabel: str) -> None:
    ax.set_ylabel(ylabel, fontsize=10)
    ax.grid(True, color="#dddddd", linewidth=0.6)
    ax.tick_params(labelsize=9)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


_SUPERSCRIPT = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def _power(x: float, _: int) -> str:
    """Return the label of a power of ten as plain text, which is drawn much faster than a formula."""
    return "10" + f"{np.log10(x):.0f}".translate(_SUPERSCRIPT)


def _log(ax: Axes, which: str) -> None:
    """Make an axis ("x" or "y") logarithmic, with labels at powers of ten."""
    ax.set(**{f"{which}scale": "log"})
    axis = getattr(ax, f"{which}axis")
    axis.set_major_formatter(FuncFormatter(_power))
    axis.set_minor_formatter(NullFormatter())


def _shares(ax: Axes) -> None:
    """Let a vertical axis show shares, from 0 to 1."""
    ax.set_ylim(-0.03, 1.05)


def _legend(figure: Figure, *axes: Axes) -> None:
    """Put one legend below the axes, where it hides nothing; a label that several axes have stands there once."""
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        columns = 3 if max(map(len, entries)) < 26 else 2
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=columns,
            fontsize=9,
            frameon=False,
            handlelength=3,
        )


def _draw(ax: Axes, curves: pd.DataFrame, column: str, clock: str = "step") -> None:
    """Draw median and band of each method; one without any value keeps its colour for the other figures."""
    for i, (method, part) in enumerate(curves.groupby("method", sort=False)):
        known = part[part[column].notna()]
        if known.empty:
            continue
        steps = known.groupby(clock)[column]
        low, middle, high = (steps.quantile(q) for q in (0.05, 0.5, 0.95))
        ax.plot(middle.index, middle, label=str(method), **_style(i), **_marks(i, len(middle)))
        ax.fill_between(low.index, low, high, color=_style(i)["color"], alpha=0.15, linewidth=0)


def active_atoms(curves: pd.DataFrame, certified: int, atoms: int, noun: str = "groups") -> Figure:
    """Return the number of active atoms (column `active`) against the step, the certified number as a line."""
    figure, (ax,) = _axes(_titled(f"Active {noun}", curves), "step", (f"active {noun} of {atoms}",))
    ax.axhline(certified, color="#444444", linewidth=1.0, label=f"certified: {certified}", zorder=1)
    _draw(ax, curves, "active")
    _log(ax, "x")
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, ax)
    return figure


def precision_recall(curves: pd.DataFrame) -> Figure:
    """Return precision and recall of the active set (columns `precision`, `recall`) against the step."""
    columns = ("precision", "recall")
    figure, axes = _axes(_titled("Precision and recall of the active set", curves), "step", columns)
    for ax, column in zip(axes, columns, strict=True):
        _draw(ax, curves, column)
        _log(ax, "x")
        _shares(ax)
    _legend(figure, axes[0])
    return figure


def share(curves: pd.DataFrame, column: str, title: str, ylabel: str) -> Figure:
    """Return a column of shares in [0, 1], such as the share of wrong steps in windows that end at `step`."""
    figure, (ax,) = _axes(_titled(title, curves), "step", (ylabel,))
    _draw(ax, curves, column)
    _log(ax, "x")
    _shares(ax)
    _legend(figure, ax)
    return figure


def by_epoch(
    curves: pd.DataFrame,
    column: str,
    title: str,
    ylabel: str,
    scale: Literal["linear", "share", "count"] = "linear",
) -> Figure:
    """Return a column of network runs against the column `epoch`; shares from 0 to 1, counts from 0 to thousands."""
    figure, (ax,) = _axes(_titled(title, curves), "epoch", (ylabel,))
    _draw(ax, curves, column, "epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if scale == "share":
        _shares(ax)
    elif scale == "count":  # from none to thousands
        ax.set_yscale("symlog", linthresh=1)
        ax.set_ylim(0, max(ax.get_ylim()[1], 1))
    _legend(figure, ax)
    return figure


def trade_off(trials: pd.DataFrame, taken: pd.DataFrame, floor: float) -> Figure:
    """Return accuracy against group sparsity (columns `accuracy`, `group_sparsity`), a point for each trained network.

    A line joins the networks of a method that none of its others beats in both; rings are round those `taken`, of the
    accuracy `floor` or better. What is far below the floor is drawn at the lower edge.
    """
    figure, (ax,) = _axes("Accuracy against group sparsity", "share of groups that are zero", ("accuracy",))
    ax.axhline(floor, color="#444444", linewidth=1.0, label=f"accuracy to be chosen: {floor:.3f}", zorder=1)
    bottom = floor - max(4 * (trials["accuracy"].max() - floor), 0.01)
    for i, (method, part) in enumerate(trials.groupby("method", sort=False)):
        points = part.assign(accuracy=part["accuracy"].clip(lower=bottom)).sort_values(["group_sparsity", "accuracy"])
        look: dict[str, Any] = {"marker": MARKERS[i % len(MARKERS)], "color": COLOURS[i % len(COLOURS)]}
        ax.scatter(points["group_sparsity"], points["accuracy"], s=28, label=str(method), clip_on=False, **look)
        best = points[points["accuracy"] > points["accuracy"][::-1].cummax().shift(fill_value=bottom)[::-1]]
        ax.plot(best["group_sparsity"], best["accuracy"], **_style(i) | {"linewidth": 1.0})
    ax.scatter(taken["group_sparsity"], taken["accuracy"].clip(lower=bottom), s=110, facecolors="none",
               edgecolors="#000000", linewidths=1.2, label="taken", clip_on=False)  # fmt: skip
    ax.set(xlim=(-0.03, 1.03), ylim=(bottom, None))
    _legend(figure, ax)
    return figure


def regularization_paths(runs: pd.DataFrame) -> Figure:
    """Return accuracy against group sparsity (columns `accuracy`, `group_sparsity`), a line along `lam` a method.

    A point is the mean over the runs of one lambda, its bars their standard deviation.
    """
    title = "Accuracy against group sparsity"
    several = len(runs) > len(runs.groupby(["method", "lam"], dropna=False))
    figure, (ax,) = _axes(f"{title} (mean ± standard deviation)" if several else title,
                          "share of groups that are zero", ("accuracy",))  # fmt: skip
    for i, (method, part) in enumerate(runs.groupby("method", sort=False)):
        points = part.groupby("lam", dropna=False)[["group_sparsity", "accuracy"]].agg(["mean", "std"])
        x, y = points["group_sparsity"], points["accuracy"]
        ax.errorbar(x["mean"], y["mean"], xerr=x["std"], yerr=y["std"], label=str(method), capsize=2.5, elinewidth=1.0,
                    marker=MARKERS[i % len(MARKERS)], markersize=5.5, **_style(i))  # fmt: skip
    ax.set_xlim(-0.03, 1.03)
    _legend(figure, ax)
    return figure


def identification(runs: pd.DataFrame) -> Figure:
    """Return Kaplan-Meier curves of the share of seeds that have identified the manifold by a step, with 95 % bands.

    `runs` has one row a run: method, identified_at (NaN = censored) and steps, the horizon.
    """
    figure, (ax,) = _axes("Identified seeds (Kaplan-Meier, 95 % log-log bands)", "step", ("share of seeds identified",))
    horizon = max(2.0, float(runs["steps"].max()))
    first = runs["identified_at"].min()
    start = max(1.0, 0.3 * first) if np.isfinite(first) else 1.0
    for i, (method, part) in enumerate(runs.groupby("method", sort=False)):
        curve = kaplan_meier(part["identified_at"], part["steps"])
        x = np.append(np.maximum(curve.time, start), horizon)
        y, low, high = (np.append(1 - s, 1 - s[-1]) for s in (curve.survival, curve.high, curve.low))
        found = int(part["identified_at"].notna().sum())
        ax.step(x, y, where="post", label=f"{method} ({found}/{len(part)})", **_style(i), **_marks(i, len(x)))
        ax.fill_between(x, low, high, step="post", color=_style(i)["color"], alpha=0.13, linewidth=0)
    _log(ax, "x")
    ax.set_xlim(start, horizon)
    _shares(ax)
    _legend(figure, ax)
    return figure


def decay(curves: pd.DataFrame, column: str, title: str, ylabel: str, level: tuple[str, float] | None = None) -> Figure:
    """Return a positive column against the step, both axes logarithmic; what has reached rounding is cut at 1e-16.

    `level` = (label, height) adds a line to compare with, such as the margin beside an error.
    """
    figure, (ax,) = _axes(_titled(title, curves), "step", (ylabel,))
    if level is not None:
        ax.axhline(level[1], color="#444444", linewidth=1.0, label=level[0], zorder=1)
    _draw(ax, curves.assign(**{column: curves[column].clip(lower=1e-16)}), column)
    _log(ax, "x")
    _log(ax, "y")
    _legend(figure, ax)
    return figure


def evidence(*panels: Evidence) -> Figure:
    """Return the figure of evidence of a theorem: curves as lines or points with their bands, on the scales it names.

    Several panels stand side by side, a check beside its control for instance. Points with limits get error bars. On a
    logarithmic vertical axis a curve ends where it has reached zero or rounding (1e-17).
    """
    if not panels:
        raise ValueError("panels=() is empty: give at least one Evidence")
    figure = Figure(figsize=(SIZE[0] * (1 if len(panels) == 1 else 0.75 * len(panels)), SIZE[1]), layout="constrained")
    axes = list(figure.subplots(1, len(panels), squeeze=False)[0])
    for ax, data in zip(axes, panels, strict=True):
        ax.set_title(data.title, fontsize=11)
        ax.set_xlabel(data.xlabel, fontsize=10)
        _decorate(ax, data.ylabel)
        for i, curve in enumerate(data.curves):
            if data.yscale == "log":
                curve = dataclasses.replace(curve, y=np.where(curve.y >= 1e-17, curve.y, np.nan))
            _curve(ax, i, curve)
        ax.set(xscale=data.xscale, yscale="log" if data.yscale == "log" else "linear")
        if data.yscale == "share":
            _shares(ax)
        for which in (w for w in "xy" if getattr(data, f"{w}scale") == "log"):
            low, high = getattr(ax, f"get_{which}lim")()
            if high > 50 * low:
                _log(ax, which)
            else:  # too short for powers of ten alone
                axis = getattr(ax, f"{which}axis")
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.set_minor_formatter(NullFormatter())
    _legend(figure, *axes)
    return figure


def _curve(ax: Axes, i: int, curve: Curve) -> None:
    """Draw one curve of a theorem's evidence: a line with its band, or points with error bars."""
    colour, limits = COLOURS[i % len(COLOURS)], None
    if curve.low is not None and curve.high is not None:
        limits = (curve.low, curve.high)
    if curve.kind == "points":
        size = 4.5 if len(curve.x) < 80 else 3
        marks: dict[str, Any] = {"marker": MARKERS[i % len(MARKERS)], "markersize": size, "linestyle": "none"}
        ax.plot(curve.x, curve.y, color=colour, label=curve.label, alpha=0.8, **marks)
        if limits is not None:
            ax.vlines(curve.x, *limits, color=colour, alpha=0.4, linewidth=1.2)
        return
    ax.plot(curve.x, curve.y, label=curve.label, **_style(i))
    if limits is not None:
        ax.fill_between(curve.x, *limits, color=colour, alpha=0.15, linewidth=0)


def regularization_path(
    solutions: pd.DataFrame, norms: np.ndarray, noun: str = "group", names: Sequence[str] | None = None
) -> Figure:
    """Return norms of atoms, number of active atoms and relative margin against lam / lambda_max, falling to the right.

    `solutions` has one row for each lam: ratio, active, margin, status; `norms` is (rows, atoms). The eight atoms that
    become largest are named, by `names` or their number, the others grey; a cross marks solutions that are not
    certified.
    """
    title = "Solutions along the regularization path"
    labels = (f"norm of a {noun}" if noun != "entry" else "|entry|", "active", "margin / threshold")
    figure, axes = _axes(title, "lam / lambda_max", labels)
    ratio = solutions["ratio"].to_numpy()
    order = np.argsort(-norms.max(axis=0), kind="stable")
    order = order[norms.max(axis=0)[order] > 0]
    named = order[: len(COLOURS)]
    nearby = np.pad(norms, ((1, 1), (0, 0)))
    shown = np.where((norms > 0) | (nearby[:-2] > 0) | (nearby[2:] > 0), norms, np.nan)
    if len(order) > len(named):
        axes[0].plot(ratio, shown[:, order[len(named) :][:500]], color="#bbbbbb", linewidth=0.6, zorder=1)
    for i, atom in enumerate(named):
        axes[0].plot(
            ratio,
            shown[:, atom],
            label=f"{noun} {atom}" if names is None else names[atom],
            **_style(i),
            **_marks(i, len(ratio)),
        )
    margin, active = solutions["margin"].to_numpy(), solutions["active"].to_numpy()
    axes[1].plot(ratio, active, drawstyle="steps-post", **_style(0))
    known = np.isfinite(margin) & (margin > 0)
    axes[2].plot(ratio, np.where(known, margin, np.nan), marker="o", markersize=3, **_style(0))
    doubtful = (solutions["status"] != "certified").to_numpy()
    axes[1].plot(ratio[doubtful], active[doubtful], "x", color=COLOURS[1], markersize=7)
    axes[1].yaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes[:2]:
        ax.set_ylim(bottom=0)
    axes[2].set(xscale="log", yscale="log" if known.any() else "linear")  # a log axis without a point has no limits
    for axis in (axes[2].xaxis, axes[2].yaxis) if known.any() else (axes[2].xaxis,):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes[2].invert_xaxis()
    _legend(figure, axes[0])
    return figure
