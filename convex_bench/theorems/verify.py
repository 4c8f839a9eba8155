"""Run checks and controls, and write what came out as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convex_bench.theorems.check import Size
from convex_bench.theorems.registry import MODULES, load_check
from manifold_id.theory.base import Theorem, Verdict


@dataclass(frozen=True)
class Outcome:
    """A theorem, the verdict of its check and that of its control, and the seconds that both took."""

    theorem: Theorem
    check: Verdict
    control: Verdict
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether the check holds and the control fails."""
        return self.check.status == "holds" and self.control.status == "fails"


def verify(
    names: Iterable[str] = (), *, size: Size, seed: int = 0, report: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Run the named theorems, all of them by default; `report` sees each outcome as it comes.

    Raises ValueError for an unknown name, before anything runs.
    """
    checks = [load_check(name) for name in (tuple(names) or MODULES)]
    outcomes = []
    for check in checks:
        clock = time.perf_counter()
        held, failed = check.check(size, seed), check.control(size, seed)
        outcome = Outcome(check.theorem, held, failed, time.perf_counter() - clock)
        outcomes.append(outcome)
        if report is not None:
            report(outcome)
    return outcomes


def write_json(outcomes: list[Outcome], path: Path, *, size: Size, seed: int) -> None:
    """Write all outcomes with statements, assumptions, figures and curves; numbers that are not finite become null."""
    data = {
        "size": size.name,
        "seed": seed,
        "sound": all(o.sound for o in outcomes),
        "theorems": [_plain(dataclasses.asdict(o)) | {"sound": o.sound} for o in outcomes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_page(outcomes: list[Outcome], path: Path, *, size: Size, seed: int) -> Path:
    """Write the HTML page: the table, then statement, assumptions, evidence and control of each theorem."""
    from manifold_id.plots import evidence
    from manifold_id.report import Picture, Section, Table, write

    rows = [(o.theorem.title, o.check.status, o.control.status, f"{o.seconds:.1f}") for o in outcomes]
    sections = [Section("Verdicts", tables=[Table(("theorem", "check", "control, which must fail", "seconds"), rows)])]
    for o in outcomes:
        t, v = o.theorem, o.check
        named = dict.fromkeys((a.name, f"{a.value:.4g}", "yes" if a.met else "no", a.note) for a in v.assumptions)
        pictures = [Picture(evidence(e), f"{e.title} ({t.title})") for e in v.evidence[:2]]
        text = [
            t.statement,
            f"Source. {t.source}",
            f"Measured. {t.measured}",
            f"Verdict: {v.status}. {v.summary}. Criterion: {v.criterion}. {v.seeds} seeds, {v.samples} comparisons.",
            f"Control: {o.control.status}. {t.control} {o.control.summary}.",
        ]
        table = Table(("assumption", "value", "met", ""), list(named), "Assumptions as measured")
        sections.append(Section(f"{t.title} ({t.name})", text, [table] if named else [], pictures, [t.latex]))
    sound = sum(o.sound for o in outcomes)
    summary = [f"{sound} of {len(outcomes)} theorems hold with a control that fails ({size.name} size, seed {seed})."]
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, "Verified theorems", summary, sections)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
