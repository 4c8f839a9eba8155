"""The command `manifold-id path`; what is heavy is imported when it runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from convex_bench.commands.problem_options import problem_of, problem_options
from convex_bench.commands.terminal import console


@click.command()
@problem_options
@click.option("--count", type=click.IntRange(min=1), default=50, show_default=True, help="Number of lam.")
@click.option("--min-ratio", type=float, default=0.01, show_default=True, help="Smallest lam / lambda_max.")
@click.option(
    "--tol", type=float, default=1e-12, show_default=True, help="Largest relative residual that is certified."
)
@click.option("--out", type=click.Path(), help="Results folder.  [default: results/path-DATA]")
@click.option("--force", is_flag=True, help="Compute again what is stored.")
def path(count: int, min_ratio: float, tol: float, out: str | None, force: bool, **options: Any) -> None:
    """Solve for falling lam, each solution certified and started from the one before, and write a report.

    DATA is a name that `manifold-id data` lists or an svmlight file. The lam are geometrically spaced below lambda_max.
    A stopped path goes on where it was; an unchanged one is not computed again.
    """
    from convex_bench.ground_truth.path import check_ratios
    from convex_bench.reports.path_report import terminal_table, write_report
    from convex_bench.storage import check_writable
    from convex_bench.studies.stored_path import run_path

    check_ratios(None, count, min_ratio)
    problem = problem_of(options, lam=1.0, lam_ratio=None)
    folder = check_writable(Path("results") / f"path-{Path(options['data']).name}" if out is None else out)
    result = run_path(problem, folder, count=count, min_ratio=min_ratio, tol=tol, force=force)
    console(120).print(terminal_table(problem, result))
    given = {**options, "count": count, "min_ratio": min_ratio, "tol": tol, "out": str(folder)}
    page = write_report(folder / "report.html", options["data"], problem, result, _command(given))
    click.echo(f"report: {page}")


def _command(given: dict[str, Any]) -> str:
    """Return the command line that repeats it."""
    words = ["manifold-id", "path", given["data"]]
    for name, value in sorted(given.items()):
        if name != "data" and value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return shlex.join(words)
