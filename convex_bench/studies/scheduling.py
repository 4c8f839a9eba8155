"""Where the blocks of a study are computed: threads of this process, other processes, or machines behind a scheduler.

In this process one block at a time has all the threads. Elsewhere every block has one thread, because the blocks that
run beside each other fill the cores: as many at a time as there are processes, or threads of Dask workers. Problems
travel once to each process, runs come back as the compressed bytes of their files, and only the process that
called writes results. The files are the same, byte for byte, wherever a block was computed, on machines of one kind
with the same versions of the libraries.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from convex_bench.environment import libraries
from convex_bench.studies.blocks import Agenda, Block, Case, Done, Progress, compute
from manifold_id.validation import integer

Todo = dict[tuple[str, str], list[int]]
Workers = Callable[[Mapping[str, Case], Todo, Progress], Iterator[Done]]

MOST_PROCESSES = 1024
DEATHS = 3  # worker processes that may die in a row before a study gives up
CONNECT = 10.0  # seconds for a scheduler to answer and to have a worker


def workers(jobs: int | None, processes: int | None, scheduler: str | None) -> AbstractContextManager[Workers]:
    """Return a context that starts workers and gives a function: (cases, todo, progress) -> blocks as they complete.

    Parameters
    ----------
    jobs, processes, scheduler
        Threads of this process, or worker processes, or the address of a Dask scheduler; at most one of them. All
        cores of this process by default.

    Raises
    ------
    ValueError, TypeError
        For a number below 1 or of more than 1024 processes, more than one of the three, or a scheduler without the
        extra `dask`.
    """
    given = {"jobs": jobs, "processes": processes, "scheduler": scheduler}
    chosen = [f"{name}={value!r}" for name, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} exclude each other: blocks run in one place, so give one of them")
    if processes is not None:
        return _processes(integer("processes", processes, 1, MOST_PROCESSES))
    if scheduler is not None:
        if find_spec("distributed") is None:
            raise ValueError(f"{chosen[0]} needs Dask, the extra `dask`: pip install 'manifold-id[dask]'")
        return _cluster(scheduler)
    return _threads(integer("jobs", jobs, 1) if jobs is not None else (os.cpu_count() or 1))


@contextmanager
def _threads(count: int) -> Iterator[Workers]:
    def run(cases: Mapping[str, Case], todo: Todo, progress: Progress) -> Iterator[Done]:
        agenda = Agenda(todo, count)
        while (block := agenda.take()) is not None:
            done = compute(cases[block.problem], block, count, progress)
            agenda.learn(done)
            yield done

    yield run


@contextmanager
def _processes(count: int) -> Iterator[Workers]:
    """Processes of loky: they start anew where one dies, and need no guard in the caller's script."""
    from joblib.externals.loky import get_reusable_executor

    last: list[Any] = []

    def executor() -> Any:
        last[:] = [get_reusable_executor(count, initializer=_ignore_ctrl_c)]  # a new one where the last is broken
        return last[0]

    with tempfile.TemporaryDirectory(prefix="manifold-id-") as folder:

        def run(cases: Mapping[str, Case], todo: Todo, progress: Progress) -> Iterator[Done]:
            packed = {}
            for i, (name, content) in enumerate(_packed(cases, todo)):
                packed[name] = Path(folder) / f"{i}.pickle"
                packed[name].write_bytes(content)

            def submit(block: Block) -> Future[Done]:
                path = packed[block.problem]
                try:
                    return executor().submit(_work, str(path), path, block)
                except BrokenExecutor as error:  # a worker died just now
                    lost: Future[Done] = Future()
                    lost.set_exception(error)
                    return lost

            return _stream(Agenda(todo, 1), submit, lambda: count, progress)

        try:
            yield run
        finally:
            for pool in last:
                pool.shutdown(wait=True, kill_workers=True)


@contextmanager
def _cluster(address: str) -> Iterator[Workers]:
    """The workers of a Dask scheduler; a block whose worker dies is computed again by another one."""
    import dask
    import distributed

    client = None
    try:
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
        client.wait_for_workers(1, timeout=CONNECT)
    except (OSError, ValueError, distributed.TimeoutError) as error:
        if client is not None:
            client.close()
        raise ConnectionError(
            f"scheduler={address!r} does not answer or has no worker ({error}): start `dask scheduler` and "
            "`dask worker tcp://HOST:PORT`, and give that address"
        ) from error
    stop = distributed.Event(f"manifold-id-{uuid.uuid4()}", client=client)

    def capacity() -> int:
        return max(1, sum(client.nthreads().values()))

    def run(cases: Mapping[str, Case], todo: Todo, progress: Progress) -> Iterator[Done]:
        # Made by a task, so that a copy that is lost with its worker is made again; Dask warns of large arguments,
        # but these the scheduler has to keep.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
            packed = {name: client.submit(bytes, content, pure=False) for name, content in _packed(cases, todo)}
        pool = client.get_executor(pure=False)

        def submit(block: Block) -> Future[Done]:
            key = f"{stop.name} {block.problem}"
            return pool.submit(_work, key, packed[block.problem], block, libraries(), stop.name)

        try:
            yield from _stream(Agenda(todo, 1), submit, capacity, progress)
        except (CancelledError, OSError) as error:
            if client.status == "running":
                raise
            raise ConnectionError(f"the scheduler {address!r} was lost: the same study goes on from here") from error

    try:
        yield run
    except BaseException:
        with contextlib.suppress(OSError):  # there may be no scheduler any more
            stop.set()  # what is running on a worker stops at its next look
        raise
    finally:
        client.close()


def _stream(
    agenda: Agenda, submit: Callable[[Block], Future[Done]], capacity: Callable[[], int], progress: Progress
) -> Iterator[Done]:
    """Keep the workers and one spare block for each busy; yield what they complete, in whichever order."""
    pending: dict[Future[Done], Block] = {}
    deaths = 0
    while True:
        count = capacity()
        while len(pending) < 2 * count and (block := agenda.take(count)) is not None:
            pending[submit(block)] = block
        if not pending:
            return
        for future in wait(pending, return_when=FIRST_COMPLETED).done:
            try:
                done = future.result()
            except BrokenExecutor as error:
                deaths += 1
                if deaths > DEATHS:
                    raise RuntimeError(
                        f"worker processes died {deaths} times in a row, perhaps for lack of memory: use fewer"
                    ) from error
                for block in pending.values():  # they all share the fate of their pool
                    agenda.give_back(block)
                pending.clear()
                break
            deaths = 0
            block = pending.pop(future)
            agenda.learn(done)
            progress(len(block.seeds) * done.runs[0].summary["steps"])
            yield done


def _packed(cases: Mapping[str, Case], todo: Todo) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of the problems that have runs to do."""
    import cloudpickle  # takes classes along that are defined in a script or notebook

    for name in dict.fromkeys(name for (name, _), seeds in todo.items() if seeds):
        # Arrays of protocol 4 come back as the kernels know them: writable, in memory of their own.
        yield name, cloudpickle.dumps(cases[name], protocol=4)


# --- in the workers ---------------------------------------------------------------------------------------------------

_CASES: dict[str, Case] = {}  # the problems that a worker holds: the last two


def _work(key: str, packed: bytes | Path, block: Block, expected: dict[str, str] | None = None, stop: str = "") -> Done:
    """Compute a block in a worker; `expected` are the versions that its caller has, `stop` the event that ends it."""
    if expected not in (None, here := libraries()):
        different = {name: f"{here.get(name)}, not {own}" for name, own in expected.items() if here.get(name) != own}
        raise ValueError(f"a worker has other versions ({different}), and so other results: install the same there")
    threadpool_limits(limits=1, user_api="blas")  # for good: the blocks of a worker with several threads overlap
    if key not in _CASES:
        while len(_CASES) > 1:
            _CASES.pop(next(iter(_CASES)), None)
        _CASES[key] = pickle.loads(packed.read_bytes() if isinstance(packed, Path) else packed)
    return compute(_CASES[key], block, 1, partial(_look, stop, [time.monotonic()]) if stop else None)


def _look(stop: str, last: list[float], steps: int) -> None:
    """End the block, at most once a second, where the event that stops its study is set."""
    import distributed

    if time.monotonic() - last[0] > 1.0:
        last[0] = time.monotonic()
        if distributed.Event(stop).is_set():
            raise CancelledError("the study was stopped")


def _ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
