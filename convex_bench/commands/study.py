"""The command `manifold-id study`; what is heavy is imported when it runs."""

from __future__ import annotations

import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convex_bench.commands.terminal import console

if TYPE_CHECKING:
    from convex_bench.studies.results import Results


@click.command()
@click.argument("spec", required=False, type=click.Path())
@click.option("--out", type=click.Path(), help="Results folder.  [default: results/NAME of the study]")
@click.option("--jobs", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
@click.option("--processes", type=click.IntRange(min=1), help="Worker processes, one thread each, instead of threads.")
@click.option("--scheduler", metavar="tcp://HOST:PORT", help="Dask scheduler whose workers compute (extra `dask`).")
@click.option("--force", is_flag=True, help="Compute again what is stored.")
@click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds, instead of the file's.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of a run, instead of the file's.")
def study(
    spec: str | None,
    out: str | None,
    jobs: int | None,
    processes: int | None,
    scheduler: str | None,
    force: bool,
    seeds: int | None,
    steps: int | None,
) -> None:
    """Run a study and write its report.

    SPEC is a TOML file; without one the built-in study runs. A stopped study goes on where it was; an unchanged one is
    not computed again.
    """
    from convex_bench.specs.spec import BUILTIN, Spec
    from convex_bench.storage import check_writable

    described = Spec(spec or BUILTIN)
    made = described.study(seeds, steps)  # refuses what is wrong before there is a folder
    folder = check_writable(Path("results") / described.path.stem if out is None else out)
    options = {"--out": str(folder), "--seeds": seeds, "--steps": steps}
    words = [spec] if spec else []
    words += [str(word) for option in options.items() if option[1] is not None for word in option]
    results = made.run(
        folder,
        jobs=jobs,
        processes=processes,
        scheduler=scheduler,
        force=force,
        command=shlex.join(["manifold-id", "study", *words]),
    )
    _show(results, again=force)


def write_report_again(folder: Path) -> bool:
    """Write and show the report of a study's folder; return False for a folder of something else."""
    from convex_bench.studies.results import Results

    if not (folder / "study.json").exists():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of missing runs: they are shown below the tables
        results = Results.load(folder)
    _show(results, again=True)
    return True


def _show(results: Results, *, again: bool) -> None:
    from convex_bench.reports.report import write_report
    from convex_bench.reports.result_tables import terminal_tables

    terminal = console()
    for table in terminal_tables(results, terminal.width):
        terminal.print(table)
    if results.missing:
        terminal.print(f"{results.missing} runs are not there (yet): run the same study again to complete it")
    click.echo(f"report: {write_report(results, again=again)}")
