"""How often a verdict flips with another seed: `python -m convex_bench.theorems.false_alarms --repeats 200 --out DIR`.

One JSON line for each (theorem, seed) is appended to DIR/false_alarms.jsonl as it completes, and DIR/summary.csv counts
them; the same command goes on where it was stopped. Use another folder once the code has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import pandas as pd

from convex_bench.theorems.check import QUICK, Size
from convex_bench.theorems.parallel import Job, Outcome, run_jobs
from convex_bench.theorems.registry import MODULES, load_check
from manifold_id.files import write_text
from manifold_id.statistics import proportion

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """Return the rows of a file, none if there is no file; a line that was cut off by a kill is removed from it."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(path, whole)
    return [json.loads(line) for line in whole.splitlines()]


def false_alarms(
    names: Iterable[str], seeds: Iterable[int], path: Path, *, size: Size = QUICK, processes: int = 1
) -> list[Row]:
    """Run what is not in the file `path` yet, append it, and return the rows asked for, by seed and name."""
    wanted = [Job(name, seed) for seed in seeds for name in names]
    done = {Job(row["theorem"], row["seed"]) for row in read(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        for job, outcome in run_jobs([job for job in wanted if job not in done], size, processes):
            stream.write(json.dumps(_row(job, outcome)) + "\n")
            stream.flush()
    rows = {Job(row["theorem"], row["seed"]): row for row in read(path)}
    return [rows[job] for job in wanted]


def _row(job: Job, outcome: Outcome) -> Row:
    return {
        "theorem": job.name,
        "seed": job.seed,
        "check": outcome.check.status,
        "control": outcome.control.status,
        "seconds": round(outcome.seconds, 2),
        "check_summary": outcome.check.summary,
        "control_summary": outcome.control.summary,
    }


def summary(rows: list[Row], level: float = 0.95) -> list[Row]:
    """Return for each theorem how often the check did not hold and the control did not fail, with exact intervals."""
    table = []
    for name in dict.fromkeys(row["theorem"] for row in rows):
        mine = [row for row in rows if row["theorem"] == name]
        flips = [row["seed"] for row in mine if row["check"] != "holds"]
        passes = [row["seed"] for row in mine if row["control"] != "fails"]
        item: Row = {"theorem": name, "repeats": len(mine), "check_flips": len(flips), "control_passes": len(passes)}
        for key, seeds in (("check", flips), ("control", passes)):
            share = proportion(len(seeds), len(mine), level, "exact")
            item[f"{key}_low"], item[f"{key}_high"] = share.low, share.high
            item[f"{key}_seeds"] = " ".join(map(str, seeds))
        table.append(item)
    return table


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--repeats", type=click.IntRange(min=1), default=200, show_default=True, help="Seeds for each theorem.")
@click.option("--first-seed", type=click.IntRange(min=0), default=1000, show_default=True)
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results.")
def main(names: tuple[str, ...], repeats: int, first_seed: int, processes: int, out: Path) -> None:
    """Count how often the quick verdicts of the named theorems, by default all, flip with other seeds."""
    chosen = tuple(load_check(name).theorem.name for name in names) or tuple(MODULES)
    seeds = range(first_seed, first_seed + repeats)
    table = summary(false_alarms(chosen, seeds, out / "false_alarms.jsonl", processes=processes))
    write_text(out / "summary.csv", pd.DataFrame(table).to_csv(index=False, float_format="%.4f"))
    for r in table:
        check = f"check flips {r['check_flips']:3d} [{r['check_low']:.1%}, {r['check_high']:.1%}]"
        control = f"control passes {r['control_passes']:3d} [{r['control_low']:.1%}, {r['control_high']:.1%}]"
        click.echo(f"{r['theorem']:26s} {check:32s} {control:35s} of {r['repeats']}")


if __name__ == "__main__":
    main()
