"""Runs of the compiled engine as the records that verdicts read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from convex_bench.engine import run as run_engine
from convex_bench.problem import Problem
from manifold_id.methods.base import Method
from manifold_id.theory.structure_record import StructureRecord
from manifold_id.tracking import Trace

Array = np.ndarray


def structure_record(traces: Iterable[Trace], reference: Array) -> StructureRecord:
    """Return where each trace (active or off atoms) has false positives and negatives, at the steps 1 .. T."""
    positive, negative = [], []
    for trace in traces:
        change = np.zeros((trace.steps + 1, len(reference)), dtype=np.int16)
        change[0] = trace.initial
        np.add.at(change, (trace.step, trace.atom), trace.new.astype(np.int16) - trace.old)
        active = np.cumsum(change, axis=0)[1:] > 0
        positive.append((active & (reference <= 0)).any(axis=1))
        negative.append((~active & (reference > 0)).any(axis=1))
    return StructureRecord(np.array(positive).T, np.array(negative).T)


def watch_compiled(
    problem: Problem, method: Method, reference: Array, seeds: Iterable[int], steps: int, **more: Any
) -> StructureRecord:
    """Run and compare the proximal points' structure at every step; further keywords go to the engine."""
    runs = run_engine(problem, method, seeds, steps, checkpoints=np.array([1]), **more)
    return structure_record((r.prox_trace for r in runs), reference)
