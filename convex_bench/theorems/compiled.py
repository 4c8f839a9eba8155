"""Runs of the compiled engine as the records that verdicts read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from convex_bench.engine import run as run_engine
from convex_bench.ground_truth import Solution
from convex_bench.problem import Problem
from manifold_id.methods.base import Method
from manifold_id.theory.structure_record import StructureRecord
from manifold_id.tracking import Trace

Array = np.ndarray


def structure_record(traces: Sequence[Trace], reference: Array) -> StructureRecord:
    """Return where each trace (active or off atoms) has false positives and negatives, at the steps 1 .. T."""
    on = reference > 0
    kept = [[_changes(trace, atoms, active) for trace in traces] for atoms, active in ((~on, True), (on, False))]
    (positive, left), (negative, lost) = (np.array(kind).transpose(1, 2, 0) for kind in kept)
    return StructureRecord(positive > 0, negative > 0, (left + lost).astype(np.int32))


def _changes(trace: Trace, atoms: Array, active: bool) -> tuple[Array, Array]:
    """Return for the steps 1 .. T how many of the `atoms` (a mask) are active, or off unless `active`; and how many
    have become so at the step."""
    kept = atoms[trace.atom]
    now, before = (trace.new[kept] > 0) == active, (trace.old[kept] > 0) == active
    step, length = trace.step[kept], trace.steps + 1
    came, went = (np.bincount(step, weights=flags, minlength=length) for flags in (now & ~before, before & ~now))
    first = ((trace.initial > 0) == active)[atoms].sum()
    return (first + np.cumsum(came - went))[1:], came[1:]


def watch_compiled(
    problem: Problem,
    method: Method,
    reference: Array,
    seeds: Iterable[int],
    steps: int,
    *,
    point: str = "z",
    w0: Array | None = None,
) -> StructureRecord:
    """Run and compare the structure of the proximal points ("z") or the iterates ("w") at every step."""
    runs = run_engine(problem, method, seeds, steps, checkpoints=np.array([1]), w0=w0)
    return structure_record([r.prox_trace if point == "z" else r.trace for r in runs], reference)


def follow_compiled(
    problem: Problem,
    method: Method,
    solution: Solution,
    seeds: Iterable[int],
    steps: int,
    marks: Array,
    *,
    point: str = "z",
    w0: Array | None = None,
) -> tuple[StructureRecord, Array]:
    """Return the record and the distances of the iterates to the solution at the steps `marks`, (k, seeds)."""
    runs = run_engine(problem, method, seeds, steps, checkpoints=marks, w0=w0, reference=solution)
    record = structure_record([r.prox_trace if point == "z" else r.trace for r in runs], solution.codes)
    return record, np.array([np.interp(marks, r.curves["step"], r.curves["distance"]) for r in runs]).T
