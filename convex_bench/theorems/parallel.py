"""Checks and controls in several processes: what comes out depends neither on their number nor on the order."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass

from convex_bench.ground_truth.threads import one_thread
from convex_bench.theorems.check import Size
from convex_bench.theorems.registry import load_check
from manifold_id.theory.base import Theorem, Verdict


@dataclass(frozen=True)
class Job:
    """One theorem with one seed."""

    name: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """A theorem, the verdict of its check and that of its control, and the CPU seconds that both took."""

    theorem: Theorem
    check: Verdict
    control: Verdict
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether the check holds and the control fails."""
        return self.check.status == "holds" and self.control.status == "fails"


def run_job(job: Job, size: Size) -> Outcome:
    """Run check and control of one theorem; BLAS has one thread, so that the last bit is the same everywhere."""
    item = load_check(job.name)
    with one_thread(0, sparse=True):
        clock = time.process_time()
        held, failed = item.check(size, job.seed), item.control(size, job.seed)
    return Outcome(item.theorem, held, failed, time.process_time() - clock)


def run_jobs(jobs: Iterable[Job], size: Size, processes: int) -> Iterator[tuple[Job, Outcome]]:
    """Yield (job, outcome) as they complete: in the order given with one process, which then runs in this one."""
    if processes == 1:
        yield from ((job, run_job(job, size)) for job in jobs)
        return
    waiting = iter(jobs)
    # fresh interpreters: a fork would inherit the threads of BLAS and of the compiled loop in an unknown state
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(run_job, job, size): job for job in itertools.islice(waiting, 2 * processes)}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                yield job, future.result()
                for following in itertools.islice(waiting, 1):
                    running[pool.submit(run_job, following, size)] = following
