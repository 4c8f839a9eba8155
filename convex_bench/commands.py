"""The commands `manifold-id study | solve | data | report | verify`; what is heavy is imported when a command runs."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convex_bench.problem_options import problem_of, problem_options

if TYPE_CHECKING:
    from convex_bench.results import Results


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
    from convex_bench.spec import BUILTIN, Spec
    from convex_bench.storage import check_writable

    described = Spec(spec or BUILTIN)
    folder = check_writable(out or Path("results") / described.path.stem)
    options = {"--out": str(folder), "--seeds": seeds, "--steps": steps}
    words = [spec] if spec else []
    words += [str(word) for option in options.items() if option[1] is not None for word in option]
    results = described.study(seeds, steps).run(
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
    from convex_bench.results import Results

    if not (folder / "study.json").is_file():
        return False
    _show(Results.load(folder), again=True)
    return True


@click.command()
@problem_options
@click.option("--lam", type=float, help="Strength of the penalty.")
@click.option("--lam-ratio", type=float, help="Strength as a share of lambda_max.  [default: 0.1]")
@click.option("--solver", default="auto", show_default=True, help="auto or cvxpy.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, the coefficients included.")
def solve(lam: float | None, lam_ratio: float | None, solver: str, as_json: bool, **options: Any) -> None:
    """Solve one problem to a certificate.

    DATA is a name that `manifold-id data` lists or an svmlight file."""
    from convex_bench.ground_truth import solve as solve_problem
    from convex_bench.solution_report import solution_json, solution_text

    if lam is None and lam_ratio is None:
        lam_ratio = 0.1
    problem = problem_of(options, lam=lam, lam_ratio=lam_ratio)
    solution = solve_problem(problem, solver=solver)
    click.echo(solution_json(problem, solution) if as_json else solution_text(options["data"], problem, solution))


@click.command()
@click.argument("name", required=False)
def data(name: str | None) -> None:
    """List the data sets; with NAME, fetch and check that one."""
    from convex_bench.data_table import data_table, describe_data

    if name is None:
        console().print(data_table())
    else:
        click.echo(describe_data(name))


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--quick/--full", default=True, help="Few seeds and short runs, or many in minutes.  [default: quick]")
@click.option("--out", type=click.Path(file_okay=False), help="Folder for verification.json and verification.html.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of instances and noise.")
@click.option("--list", "listing", is_flag=True, help="List the theorems and stop.")
def verify(names: tuple[str, ...], quick: bool, out: str | None, seed: int, listing: bool) -> None:
    """Verify theorems numerically, each with a control that must fail.

    NAMEs choose theorems, by default all. Exit code 1 when a theorem fails or a control passes.
    """
    from convex_bench.theorems import FULL, QUICK, all_checks
    from convex_bench.theorems import verify as run
    from convex_bench.theorems.shown import in_short, lines, terminal_table
    from convex_bench.theorems.verify import write_json

    if listing:
        for name, item in all_checks().items():
            click.echo(f"{name:28s} {item.theorem.title}")
        return
    size = QUICK if quick else FULL
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    outcomes = run(names, size=size, seed=seed, processes=cores, report=lambda o: click.echo(in_short(o), err=True))
    terminal = console()
    if terminal.is_terminal:
        terminal.print(terminal_table(outcomes))
    else:
        click.echo("\n".join(lines(outcomes)))
    sound = sum(outcome.sound for outcome in outcomes)
    click.echo(f"{sound} of {len(outcomes)} theorems hold with a control that fails.")
    if out is not None:
        write_json(outcomes, Path(out) / "verification.json", size=size, seed=seed)
        from convex_bench.theorems.page import write_page

        click.echo(f"page: {write_page(outcomes, Path(out) / 'verification.html', size=size, seed=seed)}")
    elif terminal.is_terminal:
        click.echo("every part, with figures: --out DIR writes a page")
    if not all(outcome.sound for outcome in outcomes):
        sys.exit(1)


def _show(results: Results, *, again: bool) -> None:
    from convex_bench.report import write_report
    from convex_bench.result_tables import terminal_tables

    terminal = console()
    for table in terminal_tables(results, terminal.width):
        terminal.print(table)
    if results.missing:
        terminal.print(f"{results.missing} runs are not there (yet): the same command goes on from here")
    click.echo(f"report: {write_report(results, again=again)}")


def console(width: int = 160) -> Any:
    """Return rich's console of the terminal, or where the output goes elsewhere one of that many columns."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=width)
