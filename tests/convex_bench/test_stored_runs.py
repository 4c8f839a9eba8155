"""Runs that share files: what is stored in which order does not show, and damage costs only the runs that it hits."""

import json
import threading
import time

import numpy as np
import pytest

from convex_bench.storage import StoredFileError
from convex_bench.studies.blocks import Finished
from convex_bench.studies.stored_runs import CHUNK, CURVES, RunStore, pack_curves

KEY, ABOUT = "k", {"steps": 3}
SEEDS = [0, 1, 5, CHUNK - 1, CHUNK, 7 * CHUNK + 2]


def finished(seed, seconds=1.0):
    curves = {name: np.full(4, seed + place / 10) for place, name in enumerate(CURVES)}
    return Finished(seed, {"last": seed}, {"curves": pack_curves(curves), "trace": bytes([seed % 256]) * 5}, seconds)


def save(store, *seeds, **options):
    store.save(KEY, ABOUT, [finished(seed, **options) for seed in seeds])


def files(folder, suffix=".runs"):
    return {path.name: path.read_bytes() for path in folder.glob(f"*{suffix}")}


@pytest.fixture
def store(tmp_path):
    made = RunStore(tmp_path / "runs")
    save(made, *SEEDS)
    return made


def test_what_is_saved_is_read_back(store):
    runs = store.load(KEY, [*SEEDS, 3, 10**12])
    assert sorted(runs) == SEEDS
    for seed, run in runs.items():
        assert (run.seed, run.summary, run.seconds) == (seed, {"last": seed}, 1.0)
        np.testing.assert_array_equal(run.curves()[CURVES.index("active")], np.full(4, seed + 0.5))
    assert set(files(store.folder)) == {f"{KEY}.{chunk}.runs" for chunk in (0, 1, 7)}
    assert store.load("other", SEEDS) == {}


def test_the_order_and_the_number_of_writes_do_not_show(store, tmp_path):
    other = RunStore(tmp_path / "other")
    for seed in reversed(SEEDS):
        save(other, seed, 9, seconds=2.0)
    other.drop(KEY, ABOUT, [9])
    assert files(other.folder) == files(store.folder)
    assert other.load(KEY, [0])[0].seconds == 2.0


def test_studies_that_share_a_file_lose_nothing(tmp_path, monkeypatch):
    """One saves while another has read the file and not yet written it."""
    stores = [RunStore(tmp_path), RunStore(tmp_path)]
    write, started = RunStore._write, threading.Event()

    def slow(*args):
        started.set()
        time.sleep(0.2)
        write(*args)

    monkeypatch.setattr(RunStore, "_write", slow)
    first = threading.Thread(target=save, args=(stores[0], 1))
    first.start()
    started.wait(10)
    save(stores[1], 2)
    first.join()
    assert sorted(stores[0].load(KEY, range(5))) == [1, 2]


def damaged(store, chunk, place, suffix="runs"):
    path = store.path(KEY, chunk, suffix)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    return path


def test_damage_of_a_part_costs_one_run(store):
    whole = files(store.folder)
    path = damaged(store, 0, -1)  # of the trace of the last seed
    run = store.load(KEY, SEEDS)[CHUNK - 1]
    run.curves()
    with pytest.raises(StoredFileError, match=path.name):
        run.trace()
    assert store.intact(KEY, SEEDS) == set(SEEDS) - {CHUNK - 1}
    save(store, CHUNK - 1)
    assert files(store.folder) == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda store: damaged(store, 0, 0),
        lambda store: damaged(store, 0, 15),
        lambda store: damaged(store, 0, 40),
        lambda store: damaged(store, 0, 300),
        lambda store: damaged(store, 0, 120, "measured"),
        lambda store: store.path(KEY, 0, "measured").unlink(),
        lambda store: store.path(KEY, 0, "runs").write_bytes(files(store.folder)["k.1.runs"]),
        lambda store: store.path(KEY, 0, "measured").write_bytes(files(store.folder, ".measured")["k.1.measured"]),
        lambda store: store.path(KEY, 0, "runs").write_bytes(files(store.folder)["k.0.runs"][:-1]),
        lambda store: store.path(KEY, 0, "runs").write_bytes(files(store.folder)["k.0.runs"] + b"1"),
        lambda store: store.path(KEY, 0, "runs").write_bytes(b""),
    ],
)
def test_damage_of_what_holds_a_file_together_costs_its_runs(store, damage):
    whole = files(store.folder)
    damage(store)
    with pytest.raises(StoredFileError, match=r"k\.0\.(runs|measured)' .*: run the same study or path again"):
        store.load(KEY, SEEDS)
    assert store.intact(KEY, SEEDS) == {seed for seed in SEEDS if seed >= CHUNK}
    save(store, *(seed for seed in SEEDS if seed < CHUNK))
    assert files(store.folder) == whole
    assert store.intact(KEY, SEEDS) == set(SEEDS)


def test_a_kill_between_the_files_of_a_chunk_loses_nothing(store, monkeypatch):
    def killed(path, write):
        raise RuntimeError("killed")

    for change in (lambda: save(store, 2, seconds=3.0), lambda: store.drop(KEY, ABOUT, [0])):
        with monkeypatch.context() as patch:
            patch.setattr("convex_bench.studies.stored_runs.write_file", killed)
            with pytest.raises(RuntimeError, match="killed"):
                change()
        assert sorted(store.load(KEY, range(100))) == [0, 1, 5, CHUNK - 1, CHUNK]


def test_the_header_says_what_the_runs_are(store):
    text = store.path(KEY, 0, "runs").read_bytes()[16:].split(b"}\n", 1)[0] + b"}"
    header = json.loads(text)["record"]
    assert (header["key"], header["chunk"], header["description"]) == (KEY, 0, ABOUT)
