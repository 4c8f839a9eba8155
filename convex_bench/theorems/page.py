"""The HTML page of the outcomes: a table, then formula, statement, parts, assumptions and evidence of each theorem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from convex_bench.theorems.check import Size
from convex_bench.theorems.parallel import Outcome
from manifold_id.plots import evidence
from manifold_id.report import Picture, Section, Table, write
from manifold_id.theory.base import Part, Verdict

PICTURES = 4  # of each theorem; the JSON file has the curves of all


def write_page(outcomes: Sequence[Outcome], path: Path, *, size: Size, seed: int) -> Path:
    """Write the page and return its path."""
    rows = [(o.theorem.title, o.check.status, o.control.status, f"{o.seconds:.1f}") for o in outcomes]
    overview = Table(("theorem", "check", "control, which must fail", "seconds"), rows, words=(0, 1, 2))
    sound = sum(o.sound for o in outcomes)
    summary = [f"{sound} of {len(outcomes)} theorems hold with a control that fails ({size.name} size, seed {seed})."]
    path.parent.mkdir(parents=True, exist_ok=True)
    sections = [Section("Verdicts", tables=[overview]), *map(_section, outcomes)]
    return write(path, "Verified theorems", summary, sections)


def _section(outcome: Outcome) -> Section:
    theorem, verdict = outcome.theorem, outcome.check
    text = [
        theorem.statement,
        f"Source. {theorem.source}",
        f"Measured. {theorem.measured}",
        f"Verdict: {verdict.status}. Criterion: {verdict.criterion}. {verdict.seeds} seeds, {verdict.samples:,} "
        "comparisons.",
        f"Control: {outcome.control.status}. {theorem.control}",
    ]
    tables = [
        _parts(verdict, "Check"),
        *_power(verdict),
        _parts(outcome.control, "Control, which must fail"),
        *_assumptions(verdict),
        *_assumptions(outcome.control, "Assumptions of the control as measured"),
    ]
    pictures = [Picture(evidence(e), f"{e.title}: {e.ylabel} against {e.xlabel}.") for e in verdict.evidence[:PICTURES]]
    return Section(theorem.title, text, tables, pictures, formulas=theorem.formulas, short=theorem.name)


def _parts(verdict: Verdict, title: str) -> Table:
    parts = verdict.parts or (Part("all", verdict.status, verdict.summary),)
    return Table(
        ("part", "verdict", "measured"), [(p.name, p.status, p.summary) for p in parts], title, words=(0, 1, 2)
    )


def _power(verdict: Verdict) -> list[Table]:
    """Return the table of the wrong constants that the same runs reject; none without any."""
    rows = [
        (p.constant, f"{p.stated:.4g}", *(p.text(x) if math.isfinite(x) else "none found" for x in (p.below, p.above)))
        for p in verdict.power
    ]
    columns = ("constant or exponent", "stated", "rejected from here down", "rejected from here up")
    return [Table(columns, rows, "Power: wrong values that the same runs reject", words=(0,))] if rows else []


def _assumptions(verdict: Verdict, title: str = "Assumptions as measured") -> list[Table]:
    """Return the table of the assumptions, one row for those of the parts that share a name; none without any."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for a in verdict.assumptions:
        met = "yes" if a.met else "broken on purpose" if a.broken else "no"
        values.setdefault((a.name, met, a.note), []).append(a.value)
    rows = [
        (
            name,
            met,
            " ... ".join(dict.fromkeys(f"{x:.4g}" for x in (min(v), max(v)))),
            str(len(v)),
            note,
        )
        for (name, met, note), v in values.items()
    ]
    columns = ("assumption", "met", "value", "parts", "")
    return [Table(columns, rows, title, words=(0, 1, 4))] if rows else []
