"""The page of the benchmarks' results: machine and versions, one table each, slopes of growth, plots."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from manifold_id.files import write_atomic, write_text
from manifold_id.plots import COLOURS, DASHES, MARKERS

FIXED = ("benchmark", "case", "system", "quantity", "value", "unit", "accuracy", "note")  # all others are parameters
PACKAGES = (
    *("manifold-id", "numpy", "scipy", "numba", "llvmlite", "scikit-learn", "cvxpy", "torch"),
    *("copt", "skglm", "celer", "liblinear-official", "joblib", "dask"),
)


class Series(NamedTuple):
    """One quantity of one system against one parameter `axis`, all others fixed."""

    case: str
    system: str
    quantity: str
    unit: str
    axis: str
    others: str
    x: list[float]
    y: list[float]

    @property
    def slope(self) -> float:
        """The exponent p of y ~ x^p, by least squares on the logarithms."""
        return float(np.polyfit(np.log(self.x), np.log(self.y), 1)[0])


def machine() -> dict[str, str]:
    """Return the processor, cores, caches, memory and operating system, as far as they can be found out."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    caches = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        caches.append(f"L{level} {kind.lower()} {size}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "caches": ", ".join(caches) or "unknown",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }


def packages() -> dict[str, str]:
    """Return the versions of the packages that are compared, of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def series(rows: list[dict[str, str]]) -> list[Series]:
    """Return every quantity that was measured at three or more values of one parameter, all others being equal."""
    parameters = [name for name in rows[0] if name not in FIXED] if rows and "value" in rows[0] else []
    found = []
    for axis in parameters:
        groups: dict[tuple[str, ...], dict[float, float]] = {}
        for row in rows:
            x, y = _number(row[axis]), _number(row["value"])
            if x > 0 and y > 0:
                others = ", ".join(f"{p} = {row[p]}" for p in parameters if p != axis and row[p])
                key = (row.get("case", ""), row.get("system", ""), row.get("quantity", ""), row["unit"], axis, others)
                groups.setdefault(key, {})[x] = y
        for key, points in groups.items():
            if len(points) >= 3:
                found.append(Series(*key, x=sorted(points), y=[points[x] for x in sorted(points)]))
    return found


def write_page(folder: Path) -> None:
    """Write README.md and the plots of all the results in `folder`."""
    parts = ["# Results of the benchmarks", "", "Made by `make bench`; each table is also a CSV file beside this page."]
    shown: dict[str, Any] = {}
    for path in sorted(folder.glob("*.csv")):
        facts_path = path.with_suffix(".json")
        if not facts_path.exists():
            continue
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        where = {"machine": facts.pop("machine"), "packages": facts.pop("packages")}
        if where != shown:  # said once, unless results of several machines or versions are mixed
            for title, items in where.items():
                parts += ["", f"{title.capitalize()}: " + "; ".join(f"{k} {v}" for k, v in items.items()) + "."]
            shown = where
        parts += ["", f"## {path.stem}", "", f"`{facts['command']}`, {facts['date']}: {facts['seconds']} s, "]
        parts[-1] += f"peak memory {facts['peak MB']} MB; load average before: {facts['load before']}."
        parts += ["", *markdown(rows)]
        lines = series(rows)
        if lines:
            parts += ["", "Growth (slope in log-log axes):", ""]
            parts += markdown(
                [
                    {
                        "case": s.case,
                        "system": s.system,
                        "quantity": s.quantity,
                        "against": f"{s.axis} = {s.x[0]:g} ... {s.x[-1]:g}",
                        "others": s.others,
                        "slope": f"{s.slope:.2f}",
                    }
                    for s in lines
                ]
            )
            for quantity, axis, case in dict.fromkeys((s.quantity, s.axis, s.case) for s in lines):
                chosen = [s for s in lines if (s.quantity, s.axis, s.case) == (quantity, axis, case)]
                name = "".join(c if c.isalnum() else "-" for c in f"{path.stem}-{case}-{quantity}-{axis}") + ".png"
                plot(folder / name, chosen)
                parts += ["", f"![{case}: {quantity} against {axis}]({name})"]
    write_text(folder / "README.md", "\n".join(parts) + "\n")


def plot(path: Path, lines: list[Series]) -> None:
    """Draw series of one quantity against one parameter, both axes logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, s in enumerate(lines):
        look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "markersize": 5}
        axes.loglog(s.x, s.y, label=f"{s.system} ({s.slope:.2f})", linestyle=DASHES[i % len(DASHES)], **look)
    axes.set_title(lines[0].case, fontsize=11)
    axes.set_xlabel(lines[0].axis)
    axes.set_ylabel(f"{lines[0].quantity} [{lines[0].unit}]")
    ticks: list[float] = []
    for x in sorted({x for s in lines for x in s.x}):
        if not ticks or x > 1.15 * ticks[-1]:  # labels would overlap
            ticks.append(x)
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.tick_params(axis="x", which="minor", labelbottom=False)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.grid(True, which="both", alpha=0.2)
    figure.legend(loc="outside right upper", fontsize=8, title="system (slope)", title_fontsize=8, handlelength=3)
    write_atomic(path, lambda part: figure.savefig(part, dpi=110, metadata={"Software": None}))


def markdown(rows: list[dict[str, str]]) -> list[str]:
    """Return the lines of a Markdown table, without the columns that are empty throughout."""
    columns = [name for name in rows[0] if any(row[name] not in ("", None) for row in rows)]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return lines + ["| " + " | ".join(_cell(row[name]) for name in columns) + " |" for row in rows]


def _cell(text: str | None) -> str:
    value = _number(text)
    if "." in (text or "") and len(text or "") > 6 and not math.isnan(value):
        return f"{value:.4g}"
    return (text or "").replace("|", "\\|").replace("\n", " ")


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
