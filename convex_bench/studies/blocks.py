"""The unit of a study's work: a block of seeds of one method on one problem, cut to a few seconds of computing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from threadpoolctl import threadpool_limits

from convex_bench import engine
from convex_bench.engine import Run
from convex_bench.problem import Problem
from convex_bench.studies.stored_runs import pack_curves
from convex_bench.studies.summaries import curves, summarize
from manifold_id.methods.base import Method
from manifold_id.trace_file import pack

BLOCK_SECONDS = 5.0  # a killed study loses at most about this much work of each worker

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Case:
    """What all runs on one problem share: the certified `solution` that they are compared with, and their settings."""

    problem: Problem
    solution: Any
    methods: Mapping[str, Method]
    steps: int
    batch_size: int
    replacement: bool


class Block(NamedTuple):
    """Some seeds of one method on one problem, by their names."""

    problem: str
    method: str
    seeds: tuple[int, ...]


class Finished(NamedTuple):
    """One run as it is stored: its facts in JSON values, its parts as bytes, and the seconds that it took."""

    seed: int
    summary: dict[str, Any]
    parts: dict[str, bytes]
    seconds: float


class Done(NamedTuple):
    """A computed block: its runs and the seconds that it took where it was computed."""

    block: Block
    runs: list[Finished]
    seconds: float


def compute(case: Case, block: Block, threads: int, progress: Progress | None = None) -> Done:
    """Return the runs of a block, bit for bit the same whatever the threads, the other seeds and the process.

    BLAS has one thread meanwhile: seeds are what runs in parallel, and the last bits of a product may depend on how
    many threads share it.
    """
    clock = time.perf_counter()
    with threadpool_limits(limits=1, user_api="blas"):
        runs = engine.run(
            case.problem,
            case.methods[block.method],
            block.seeds,
            case.steps,
            batch_size=case.batch_size,
            replacement=case.replacement,
            reference=case.solution,
            threads=threads,
            progress=progress,
        )
    finished = [_finished(run, case.solution) for run in runs]
    return Done(block, finished, time.perf_counter() - clock)


def _finished(run: Run, solution: Any) -> Finished:
    parts = {"curves": pack_curves(curves(run, solution)), "trace": pack(run.trace.to_arrays())}
    if run.prox_trace is not run.trace:
        parts["prox_trace"] = pack(run.prox_trace.to_arrays())
    return Finished(run.seed, summarize(run, solution), parts, run.seconds)


@dataclass
class Agenda:
    """The seeds that are still to run, cut into blocks for `workers` that have `threads` each.

    The first block of a method on a problem has a seed for each thread; its time then sizes the next ones to about
    BLOCK_SECONDS. Blocks get smaller towards the end, so that several workers finish together.
    """

    todo: dict[tuple[str, str], list[int]]
    threads: int
    sizes: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, workers: int = 1) -> Block | None:
        """Return the next block, None where nothing is left."""
        remaining = sum(map(len, self.todo.values()))
        for key, seeds in self.todo.items():
            if seeds:
                fair = max(self.threads, remaining // (2 * workers - 1))
                size = min(self.sizes.get(key, self.threads), fair)
                self.todo[key] = seeds[size:]
                return Block(*key, tuple(seeds[:size]))
        return None

    def give_back(self, block: Block) -> None:
        """Take up a block again that was lost."""
        self.todo[block.problem, block.method] = [*block.seeds, *self.todo[block.problem, block.method]]

    def learn(self, done: Done) -> None:
        """Size the next blocks of this method on this problem by the time that one took."""
        count = len(done.block.seeds)
        rounds = int(BLOCK_SECONDS / done.seconds * count / self.threads)
        key = (done.block.problem, done.block.method)
        before = self.sizes.get(key, self.threads)
        self.sizes[key] = self.threads * max(1, min(rounds, 2 * before // self.threads))
