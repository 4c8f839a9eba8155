"""The command `manifold-id verify`; what is heavy is imported when it runs."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import click

from convex_bench.commands.terminal import console


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--quick/--full", default=True, help="Few seeds and short runs, or many in minutes.  [default: quick]")
@click.option("--out", type=click.Path(file_okay=False), help="Folder for verification.json and verification.html.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of instances and noise.")
@click.option("--spec", type=click.Path(), help="Study file: its problems, methods, seeds and steps.")
@click.option("--list", "listing", is_flag=True, help="List the theorems and stop.")
def verify(names: tuple[str, ...], quick: bool, out: str | None, seed: int, spec: str | None, listing: bool) -> None:
    """Verify theorems numerically, each with a control that must fail.

    NAMEs choose theorems, by default all. Exit code 1 when a theorem fails or a control passes; with --spec, when a
    theorem fails.
    """
    from convex_bench.theorems import FULL, QUICK, all_checks, verify_all
    from convex_bench.theorems.shown import in_short, lines, terminal_table
    from convex_bench.theorems.verify import write_json

    if listing:
        for name, item in all_checks().items():
            click.echo(f"{name:28s} {item.theorem.title}")
        return
    if spec is not None:
        sys.exit(_on_study(names, spec, seed, out))
    size = QUICK if quick else FULL
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    report = lambda o: click.echo(in_short(o), err=True)  # noqa: E731
    outcomes = verify_all(names, size=size, seed=seed, processes=cores, report=report)
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


def _on_study(names: tuple[str, ...], spec: str, seed: int, out: str | None) -> int:
    """Verify on every problem and method of a study; return the exit code."""
    from convex_bench.specs.spec import Spec
    from convex_bench.theorems import load_check
    from convex_bench.theorems import verify as judge
    from convex_bench.theorems.shown import in_full

    if not names or out is not None:
        raise click.UsageError("--spec needs the NAMEs of theorems" if not names else "--out goes without --spec")
    checks = [load_check(name) for name in names]
    for check in checks:
        if isinstance(check.own, str):
            raise click.UsageError(f"{check.theorem.name} is about {check.own}: leave it out of --spec")
    study, tested, failed = Spec(spec).study(), 0, False
    many = len(study.seed_list)
    for check, (label, problem) in itertools.product(checks, study.problems.items()):
        alone = check.own.methods == ()  # type: ignore[union-attr]
        for kind, method in [("no method", None)] if alone else study.methods.items():
            title = f"{check.theorem.name}, {label}, {kind}"
            if method is not None and not check.own.accepts(method):  # type: ignore[union-attr]
                click.echo(f"{title}: not tested, it is not about {type(method).__name__}")
                continue
            verdict = judge(check.theorem.name, problem, method, seeds=many, steps=study.steps, seed=seed)
            tested, failed = tested + 1, failed or verdict.status == "fails"
            click.echo("\n".join((f"{title}:", *in_full(verdict))))
    if not tested:
        raise click.UsageError(f"{spec}: none of its methods is one that {', '.join(names)} are about")
    return int(failed)
