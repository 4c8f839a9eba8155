"""Run checks and controls, and write what came out as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from convex_bench.theorems.check import Size
from convex_bench.theorems.parallel import Job, Outcome, run_jobs
from convex_bench.theorems.registry import MODULES, load_check


def verify(
    names: Iterable[str] = (),
    *,
    size: Size,
    seed: int = 0,
    processes: int = 1,
    report: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run the named theorems, all of them by default, and return their outcomes in the order of the names.

    `report` sees each outcome as it comes. With `processes` > 1 that many interpreters share the theorems.

    Raises ValueError for an unknown name, before anything runs.
    """
    chosen = tuple(names) or tuple(MODULES)
    for name in chosen:
        load_check(name)
    jobs = [Job(name, seed) for name in dict.fromkeys(chosen)]
    outcomes = {}
    for job, outcome in run_jobs(jobs, size, min(processes, len(jobs))):
        outcomes[job.name] = outcome
        if report is not None:
            report(outcome)
    return [outcomes[job.name] for job in jobs]


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


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
