"""The facts of one run that are stored beside its change log, so that the table of a study reads no logs."""

from __future__ import annotations

from typing import Any

import numpy as np

from convex_bench.engine import Run
from manifold_id.tracking import Trace


def summarize(run: Run, solution: Any) -> dict[str, Any]:
    """Return what is computed of a run, as JSON values; `solution` is the certified one that it is compared with."""
    codes = np.asarray(solution.codes).reshape(-1)
    iterate = structure_facts(run.trace, codes)
    return {
        "steps": run.steps,
        "solution": solution.status,
        "iterate": iterate,
        "prox": iterate if run.prox_trace is run.trace else structure_facts(run.prox_trace, codes),
        "last": {name: float(values[-1]) for name, values in run.curves.items()},
        "compiled": run.compiled,
    }


def curves(run: Run, solution: Any) -> dict[str, np.ndarray]:
    """Return the checkpoints, with the active atoms of the iterate: their number, precision and recall."""
    codes, steps = np.asarray(solution.codes).reshape(-1), run.curves["step"]
    precision, recall = run.trace.precision_recall(codes, steps)
    return {**run.curves, "active": run.trace.active_count(steps), "precision": precision, "recall": recall}


def structure_facts(trace: Trace, codes: np.ndarray) -> dict[str, Any]:
    """Return the facts of one change log against the certified codes.

    settled_at does not depend on a persistence: it is the first step from which the structure is right until the end.
    flicker_rate (changes a step) and wrong_share are those of the last quarter of the run.
    """
    quarter = 3 * trace.steps // 4
    return {
        "settled_at": trace.settled_at(codes),
        "last_change": trace.last_change,
        "last_false_positive": trace.last_false_positive(codes),
        "last_false_negative": trace.last_false_negative(codes),
        "flicker_rate": trace.flicker_rate(quarter),
        "wrong_share": trace.wrong_share(codes, quarter),
    }
