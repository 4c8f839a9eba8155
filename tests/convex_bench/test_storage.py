"""Stored files: whole or not at all, and refused when they are not what was written."""

import numpy as np
import pytest

from convex_bench.storage import (
    PART,
    Entry,
    Store,
    StoredFileError,
    check_writable,
    digest,
    key_of,
    read_sealed,
    write_sealed,
)
from manifold_id.files import write_atomic


def _text(content):
    return lambda path: path.write_text(content)


def test_key_ignores_order_and_sees_every_value():
    description = {"seed": 1, "method": "RMDA(lr=0.1)", "steps": 10}
    assert key_of(description) == key_of(dict(reversed(description.items())))
    keys = {key_of(description | change) for change in ({}, {"seed": 2}, {"method": "RMDA(lr=0.2)"}, {"steps": 11})}
    assert len(keys) == 4


@pytest.mark.parametrize(
    "other",
    [np.arange(6.0) + 1e-300, np.arange(6), np.arange(6.0).reshape(2, 3), np.arange(6.0, dtype=np.float32)],
)
def test_digest_sees_content_type_and_shape(other):
    same = digest(np.arange(6.0)) == digest(other)
    assert same == (np.asarray(other).dtype == float and np.array_equal(other, np.arange(6.0)))


def test_digest_does_not_confuse_how_items_are_cut():
    assert digest("ab", "c") != digest("a", "bc")


def test_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "x.json"
    write_sealed(path, {"a": 1})

    def broken(part):
        part.write_text("half of")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_atomic(path, broken)
    assert read_sealed(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_record_round_trip(tmp_path):
    store = Store(tmp_path)
    store.save([Entry("k", {"summary": {"x": 1.5}}, {"w.npz": _text("abc")}, {"seconds": 0.5})])
    assert store.load("k")["summary"] == {"x": 1.5}
    assert store.load("k")["measured"]["seconds"] == 0.5
    assert store.path("k", "w.npz").read_text() == "abc"


@pytest.mark.parametrize(
    "damage",
    [
        lambda store: store.path("k", "w.npz").write_text("abd"),
        lambda store: store.path("k", "w.npz").write_text("ab"),
        lambda store: store.path("k", "w.npz").unlink(),
        lambda store: store.path("k", "json").write_text(""),
        lambda store: store.path("k", "json").write_text('{"sha256": "0", "record": {"files": {}}}'),
        lambda store: store.path("k", "json").write_text("[1]"),
        lambda store: store.path("k", "json").write_text(store.path("k", "json").read_text().replace("1.5", "1.6")),
        lambda store: store.path("k", "json").unlink(),
        lambda store: store.path("k", "measured").unlink(),
        lambda store: store.path("k", "measured").write_text(store.path("k", "measured").read_text().replace("5", "6")),
        lambda store: store.remove(["k"]),
    ],
)
def test_every_damage_is_detected(tmp_path, damage):
    store = Store(tmp_path)
    store.save([Entry("k", {"summary": {"x": 1.5}}, {"w.npz": _text("abc")}, {"seconds": 0.5})])
    damage(store)
    with pytest.raises(StoredFileError):
        store.load("k")


def test_light_load_sees_a_missing_or_short_file_only(tmp_path):
    store = Store(tmp_path)
    store.save([Entry("k", {}, {"w.npz": _text("abc")}, {"seconds": 0.5})])
    store.path("k", "w.npz").write_text("abd")
    store.load("k", thorough=False)
    store.path("k", "w.npz").write_text("ab")
    with pytest.raises(StoredFileError):
        store.load("k", thorough=False)


def test_record_exists_only_when_its_last_file_is_there(tmp_path):
    store = Store(tmp_path)

    def broken(part):
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.save([Entry("k", {}, {"w.npz": _text("abc"), "v.npz": broken}, {"seconds": 0.5})])
    with pytest.raises(StoredFileError):
        store.load("k")


def test_tidy_deletes_old_unfinished_files_only(tmp_path):
    store = Store(tmp_path)
    (tmp_path / f"{PART}x").write_text("half")
    store.tidy(older_than=3600)
    assert (tmp_path / f"{PART}x").exists()
    store.tidy(older_than=-1)
    assert not (tmp_path / f"{PART}x").exists()


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"out='.*file.inner' is no folder that can be written .*choose another"):
        check_writable(str(tmp_path / "file" / "inner"))
    assert check_writable(tmp_path / "new" / "folder").is_dir()
    assert list((tmp_path / "new" / "folder").iterdir()) == []
