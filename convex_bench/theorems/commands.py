"""The command `manifold-id verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


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
    from convex_bench.theorems import check
    from convex_bench.theorems.registry import all_checks
    from convex_bench.theorems.verify import verify as run
    from convex_bench.theorems.verify import write_json, write_page

    if listing:
        for name, item in all_checks().items():
            click.echo(f"{name:28s} {item.theorem.title}")
        return
    size = check.QUICK if quick else check.FULL
    outcomes = run(names, size=size, seed=seed, report=lambda o: click.echo(_line(o), err=True))
    _print(outcomes)
    if out is not None:
        write_json(outcomes, Path(out) / "verification.json", size=size, seed=seed)
        write_page(outcomes, Path(out) / "verification.html", size=size, seed=seed)
    if not all(outcome.sound for outcome in outcomes):
        sys.exit(1)


def _line(outcome: Any) -> str:
    word = "ok" if outcome.sound else "NOT OK"
    statuses = f"{outcome.check.status}, control {outcome.control.status}"
    return f"{outcome.theorem.name}: {statuses} ({outcome.seconds:.1f} s) {word}"


def _print(outcomes: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "theorem", "verdict", "evidence", "control", "s", title="Theorems, each with a control that must fail"
    )
    for o in outcomes:
        style = "green" if o.sound else "bold red"
        control = f"{o.control.status}: {_short(o.control.summary)}"
        table.add_row(
            o.theorem.name, f"[{style}]{o.check.status}[/]", _short(o.check.summary), control, f"{o.seconds:.1f}"
        )
    console = Console()
    console.print(table)
    sound = sum(o.sound for o in outcomes)
    console.print(f"{sound} of {len(outcomes)} theorems hold with a control that fails.")


def _short(text: str, width: int = 160) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
