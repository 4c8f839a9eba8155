"""python -m convex_bench.audit [--count 10000] [--seed S] [--processes 2] [--out FILE.csv]."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import pandas as pd

from convex_bench.audit.one import audit

CHUNK = 25


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return counts by kind of problem: drawn, by status, false claims."""
    parts = []
    for axis in ("loss", "penalty", "scaling", "shape", "storage"):
        counts = pd.crosstab(rows[axis], rows["status"])
        counts["drawn"], counts["false claims"] = counts.sum(axis=1), (rows["false"] != "").groupby(rows[axis]).sum()
        counts.insert(0, "kind", [f"{axis}: {name}" for name in counts.index])
        parts.append(counts)
    columns = ["kind", "drawn", "certified", "degenerate", "unattained", "failed", "false claims"]
    return pd.concat(parts).reindex(columns=columns).fillna(0).reset_index(drop=True)


@click.command()
@click.option("--count", type=click.IntRange(1, 10_000_000), default=10_000, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**40), default=0, show_default=True, help="of the first problem")
@click.option("--processes", type=click.IntRange(1, 256), default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="a CSV file of the counts")
def main(count: int, seed: int, processes: int, out: Path | None) -> None:
    """Solve COUNT random problems and check every claim; exits with 1 on a false one."""
    began, rows = time.perf_counter(), []
    with contextlib.ExitStack() as stack:
        results: Iterable[dict[str, object]] = map(audit, range(seed, seed + count))
        if processes > 1:  # not forked: a lock that another thread holds would stay locked
            pool = stack.enter_context(ProcessPoolExecutor(processes, get_context("spawn")))
            results = pool.map(audit, range(seed, seed + count), chunksize=CHUNK)
        for row in results:
            rows.append(row)
            if row["false"]:
                click.echo(f"seed {row['seed']}: {row['false']}  ({row['loss']}, {row['penalty']}, {row['scaling']})")
            if len(rows) % 500 == 0:
                click.echo(f"{len(rows)} of {count}, {time.perf_counter() - began:.0f} s", err=True)
    counts = table(pd.DataFrame(rows))
    click.echo(counts.to_string(index=False, float_format="%.0f"))
    if out is not None:
        counts.astype({name: int for name in counts.columns[1:]}).to_csv(out, index=False)
    sys.exit(int(any(row["false"] for row in rows)))


if __name__ == "__main__":
    main()
