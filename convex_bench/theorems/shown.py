"""Outcomes as text: a table for a terminal, and lines that leave nothing out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from convex_bench.theorems.parallel import Outcome
from manifold_id.theory.base import Assumption, Verdict


def in_short(outcome: Outcome) -> str:
    """Return one line: the name, what check and control came to, the seconds, and whether that is as it must be."""
    word = "ok" if outcome.sound else "NOT OK"
    statuses = f"{outcome.check.status}, control {outcome.control.status}"
    return f"{outcome.theorem.name}: {statuses} ({outcome.seconds:.1f} s) {word}"


def terminal_table(outcomes: Sequence[Outcome]) -> Table:
    """Return the table: of a verdict with several parts it has the one that decides."""
    table = Table(title="Theorems, each with a control that must fail", title_justify="left")
    for name in ("theorem", "verdict", "evidence"):
        table.add_column(name, no_wrap=name != "evidence")
    table.add_column("s", justify="right")
    for o in outcomes:
        style = "green" if o.sound else "bold red"
        first = (o.theorem.name, Text(o.check.status, style), Text(o.check.brief), f"{o.seconds:.1f}")
        table.add_row(*first)
        table.add_row("", Text(f"control {o.control.status}", style), Text(o.control.brief), "", end_section=True)
    return table


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield each theorem's line, and below it one for every part of its check, its power and its control."""
    for outcome in outcomes:
        yield in_short(outcome)
        yield from (f"  check: {text}" for text in _parts(outcome.check))
        yield from (f"  power: {power}" for power in outcome.check.power)
        yield from (f"  control: {text}" for text in _parts(outcome.control))


def _parts(verdict: Verdict) -> list[str]:
    parts = [f"{part.status}: {part.name}: {part.summary}" for part in verdict.parts]
    return parts or [f"{verdict.status}: {verdict.summary}"]


def met_in_words(assumption: Assumption) -> str:
    """Return whether an assumption is met, or that it is broken on purpose."""
    return "met" if assumption.met else "BROKEN ON PURPOSE" if assumption.broken else "NOT MET"


def in_full(verdict: Verdict) -> Iterator[str]:
    """Yield a verdict with its interval, criterion, assumptions and control, a line each."""
    yield f"{verdict.status}: {verdict.summary}"
    low, high = verdict.interval
    interval = f" [{low:.6g}, {high:.6g}]" if low == low else ""
    yield f"  effect {verdict.effect:.6g}{interval}, {verdict.seeds} seeds, {verdict.samples:,} comparisons"
    yield f"  criterion: {verdict.criterion}"
    for a in verdict.assumptions:
        note = f" ({a.note})" if a.note else ""
        yield f"  assumption {met_in_words(a)}: {a.name} = {a.value:.6g}{note}"
    yield from (f"  power: {power}" for power in verdict.power)
    if verdict.control is None:
        yield "  control: not run"
    else:
        yield f"  control, which must fail: {verdict.control.status}: {verdict.control.summary}"
