"""Where a study is computed changes nothing: processes, Dask workers, and workers that die in the middle."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import BrokenExecutor, CancelledError, Future
from pathlib import Path

import numpy as np
import pytest
from waiting_method import Waiting, killed

from convex_bench import Problem, Results, Study
from convex_bench.studies import scheduling
from convex_bench.studies.blocks import Agenda, Block, Done
from manifold_id.methods import FISTA, RDA, RMDA
from manifold_id.regularizers import L1, GroupLasso

ROOT = Path(__file__).resolve().parents[2]


def make_problem(seed, sparse=False):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((60, 12))
    y = np.sign(X[:, :3].sum(axis=1) + 0.3 * rng.standard_normal(60))
    if sparse:
        from scipy.sparse import csr_array

        return Problem(csr_array(np.where(abs(X) > 0.5, X, 0)), y, regularizer=L1(0.05))
    return Problem(X, y, regularizer=GroupLasso(0.1, groups=3), intercept=True)


def make_study(path, **changes):
    methods = {"waits": Waiting(str(path)), "RMDA": RMDA(lr=0.05, momentum=0.5), "RDA": RDA(), "FISTA": FISTA()}
    problems = {"dense": make_problem(0), "sparse": make_problem(1, sparse=True)}
    return Study(**({"problems": problems, "methods": methods, "seeds": 3, "steps": 300} | changes))


def stored(folder):
    """The bytes of all files of a study but those of what is measured."""
    for path in (folder / "runs").glob("*.measured"):
        assert min(json.loads(path.read_bytes())["record"]["seconds"].values()) > 0
    files = [path for path in sorted(folder.rglob("[!.]*")) if path.is_file() and path.suffix != ".measured"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The file by which the method that waits names its process."""
    return tmp_path_factory.mktemp("signal") / "pid"


@pytest.fixture(scope="module")
def alone(path, tmp_path_factory):
    """The same study in this process and in one thread, nobody waiting."""
    folder = tmp_path_factory.mktemp("alone")
    path.write_text("")
    make_study(path).run(folder, jobs=1, progress=False)
    path.unlink()
    return stored(folder)


def test_processes_give_the_same_bytes_though_one_is_killed(alone, path, tmp_path):
    path.unlink(missing_ok=True)
    with killed(path) as found:
        results = make_study(path).run(tmp_path, processes=2, progress=False)
    assert found and found[0] != os.getpid()
    assert results.missing == 0
    assert stored(tmp_path) == alone


def test_dask_gives_the_same_bytes_though_a_worker_is_killed(alone, path, tmp_path):
    distributed = pytest.importorskip("distributed")
    path.unlink(missing_ok=True)
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=2, **options) as cluster, killed(path) as found:
        results = make_study(path).run(tmp_path, scheduler=cluster.scheduler_address, progress=False)
    assert found and found[0] != os.getpid()
    assert results.missing == 0
    assert stored(tmp_path) == alone


# --- stops ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["processes", "scheduler"])
def test_ctrl_c_keeps_what_is_complete_and_ends_what_runs(where, tmp_path):
    """Ctrl-C of a terminal reaches the whole process group; workers of a cluster lie outside of it."""
    code = f"""
        import signal
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}, {str(Path(__file__).parent)!r}]
        from convex_bench.studies import blocks
        from test_scheduling import make_problem, make_study, RMDA
        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
            blocks.BLOCK_SECONDS = 1e-9
            changes = {{"problems": {{"dense": make_problem(0)}}, "methods": {{"RMDA": RMDA()}}, "seeds": 40}}
            where = {{{where!r}: eval(sys.argv[1])}}
            make_study("", **changes, steps=100_000).run({str(tmp_path / "out")!r}, progress=False, **where)
        """
    code = textwrap.dedent(code)

    def stop(argument):
        command = [sys.executable, "-c", code, repr(argument)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            while process.poll() is None and not list((tmp_path / "out" / "runs").glob("[!.]*.runs")):
                time.sleep(0.01)
            assert process.returncode is None, process.stderr.read()
            os.killpg(process.pid, signal.SIGINT)
            stderr = process.communicate(timeout=100)[1]
        assert re.search(r"KeyboardInterrupt: stopped: \d+ of 40 runs are stored in .*the same command goes on", stderr)
        deadline = time.monotonic() + 30
        with pytest.raises(ProcessLookupError):  # nobody of its group is left
            while time.monotonic() < deadline:
                os.killpg(process.pid, 0)
                time.sleep(0.05)

    if where == "processes":
        stop(2)
    else:
        distributed = pytest.importorskip("distributed")
        options = {"processes": False, "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
        with distributed.LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster:
            stop(cluster.scheduler_address)
            with distributed.Client(cluster, set_as_default=False) as client:
                assert not any(client.processing().values())
    with pytest.warns(UserWarning, match=r"lacks \d+ of the study's runs"):
        results = Results.load(tmp_path / "out")
    assert 1 <= len(results.frame()) < 40


def test_a_block_that_runs_ends_when_its_study_is_stopped(monkeypatch):
    distributed = pytest.importorskip("distributed")
    stopped, asked = [], []

    class Event:
        def __init__(self, name):
            asked.append(name)

        def is_set(self):
            return bool(stopped)

    monkeypatch.setattr(distributed, "Event", Event)
    last = [time.monotonic()]
    scheduling._look("study", last, 1)
    assert not asked  # not more than once a second
    last[0] -= 2
    scheduling._look("study", last, 1)
    assert asked == ["study"]
    stopped.append(True)
    last[0] -= 2
    with pytest.raises(CancelledError):
        scheduling._look("study", last, 1)


def test_gives_up_where_processes_die_again_and_again(monkeypatch):
    def submit(block):
        future = Future()
        future.set_exception(BrokenExecutor("killed"))
        return future

    agenda = Agenda({("problem", "method"): list(range(5))}, 1)
    with pytest.raises(RuntimeError, match=f"died {scheduling.DEATHS + 1} times in a row.*use fewer"):
        list(scheduling._stream(agenda, submit, lambda: 2, lambda steps: None))


# --- how the work is cut ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "threads"), [(1, 1), (1, 3), (4, 1), (7, 2)])
@pytest.mark.parametrize("seconds", [1e-3, 1.0, 100.0])
def test_blocks_hold_every_seed_once_and_shrink_towards_the_end(workers, threads, seconds):
    todo = {("p", "A"): list(range(50)), ("p", "B"): [3, 1], ("q", "A"): []}
    agenda, sizes, seen = Agenda(dict(todo), threads), [], {key: [] for key in todo}
    while (block := agenda.take(workers)) is not None:
        if len(sizes) == 2:  # one is lost
            agenda.give_back(block)
            block = agenda.take(workers)
        seen[block.problem, block.method] += block.seeds
        sizes.append(len(block.seeds))
        agenda.learn(Done(block, [], seconds * len(block.seeds)))
    assert seen == todo
    assert max(sizes) <= max(threads, 52 // (2 * workers - 1))
    if seconds == 100.0:
        assert max(sizes) == threads
    if workers > 1:
        assert sizes[-1] <= threads
    if seconds == 1e-3 and workers == 1:
        assert len(sizes) < 12


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"processes": 0}, ValueError, "processes=0 must be at least 1"),
        ({"processes": 1.5}, TypeError, "processes=1.5 must be an integer"),
        ({"processes": 2, "jobs": 2}, ValueError, "jobs=2 and processes=2 exclude each other"),
        ({"processes": 2, "scheduler": "tcp://a:1"}, ValueError, "processes=2 and scheduler='tcp://a:1' exclude"),
    ],
)
def test_bad_arguments(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        make_study("").run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_scheduler_without_dask(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"scheduler='tcp://a:1' needs Dask.*pip install 'manifold-id\[dask\]'"):
        make_study("").run(tmp_path / "out", scheduler="tcp://a:1")
    assert not (tmp_path / "out").exists()


def test_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(scheduling, "CONNECT", 0.5)
    with pytest.raises(ConnectionError, match=r"scheduler='tcp://127\.0\.0\.1:9' does not answer"):
        make_study("").run(tmp_path / "out", scheduler="tcp://127.0.0.1:9")


def test_scheduler_without_workers(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(scheduling, "CONNECT", 1.0)
    options = {"processes": False, "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    cluster = distributed.LocalCluster(n_workers=0, **options)
    with cluster, pytest.raises(ConnectionError, match="has no worker"):
        make_study("").run(tmp_path / "out", scheduler=cluster.scheduler_address)


def test_worker_with_other_versions_is_refused():
    block = Block("problem", "method", (0,))
    with pytest.raises(ValueError, match=r"a worker has other versions \(.*'numpy': '.*, not 1.0'"):
        scheduling._work("key", b"", block, scheduling.libraries() | {"numpy": "1.0"})
