"""Data sets: packed ones, a fake local folder, downloads from a server on this machine, files by path, bad input."""

from __future__ import annotations

import bz2
import dataclasses
import functools
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from convex_bench.data import datasets, load, readers, recipes
from convex_bench.data.parsed import read_once
from convex_bench.data.registry import PACKED as FOLDER
from convex_bench.data.registry import REGISTRY, DataSet
from manifold_id import remote
from manifold_id.remote import DataFile

PACKED = ("a9a", "mushrooms", "memset", "colon-cancer", "digits", "breast_cancer")
LOCAL = os.environ.get("MANIFOLD_ID_DATA", "")
needs_folder = pytest.mark.skipif(not LOCAL, reason="MANIFOLD_ID_DATA is not set")
TEXT = b"+1 1:0.5 3:2\n-1 2:1e-3\n+1\n"


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine with no data folder and an empty cache."""
    monkeypatch.delenv("MANIFOLD_ID_DATA", raising=False)
    monkeypatch.setattr(remote, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path


@pytest.fixture
def server(tmp_path, monkeypatch):
    """(folder, address) of an HTTP server on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Keep the output of the tests clean."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}/"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def register(monkeypatch, *files: DataFile, name="toy", columns=3, read=recipes.sparse_rows) -> None:
    monkeypatch.setitem(REGISTRY, name, DataSet(name, 3, columns, 2, None, read, files, "here", "none"))


# --- packed


def _same(first, second) -> bool:
    (X, y, _), (Z, z, _) = first, second
    parts = zip((X.data, X.indices, X.indptr, y), (Z.data, Z.indices, Z.indptr, z), strict=True)
    return X.shape == Z.shape and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in parts)


def test_rows_are_parsed_once_and_a_damaged_copy_is_made_anew(nowhere, monkeypatch):
    parsed = load("a9a")
    (kept,) = (nowhere / "cache" / "parsed").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("convex_bench.data.parsed.read_svmlight", None)  # calling it fails
        assert _same(load("a9a"), parsed)
    kept.write_bytes(kept.read_bytes()[:1000])
    assert _same(load("a9a"), parsed) and kept.stat().st_size > 1000


def test_rows_of_a_changed_file_are_parsed_again(nowhere, tmp_path):
    path = tmp_path / "toy.txt"
    path.write_bytes(TEXT)
    first = read_once(path, 3)[0].toarray()
    path.write_bytes(TEXT.replace(b"0.5", b"0.75"))
    assert read_once(path, 3)[0][0, 0] == 0.75 and first[0, 0] == 0.5
    assert read_once(path, 4)[0].shape == (3, 4)


def test_rows_load_where_the_cache_cannot_be_written(nowhere):
    (nowhere / "cache").write_text("a file where the folder should be")
    assert load("mushrooms")[0].shape == (8124, 112)


@pytest.mark.parametrize("name", PACKED)
def test_packed_sets_load_without_folder_or_network(name, nowhere):
    X, y, groups = load(name)
    entry = REGISTRY[name]
    assert X.shape == (entry.rows, entry.columns) and y.shape == (entry.rows,)
    assert len(np.unique(y)) == entry.classes and X.dtype == np.float64
    assert groups is None or (groups.shape == (entry.columns,) and groups.dtype == np.int64)
    assert (None if groups is None else len(np.unique(groups))) == entry.groups


def test_a9a_and_mushrooms_have_the_published_counts(nowhere):
    X, y, groups = load("a9a")
    assert isinstance(X, sparse.csr_array) and X.nnz == 451_592
    assert np.count_nonzero(y == -1) == 24_720 and np.count_nonzero(y == 1) == 7_841
    assert np.bincount(groups).tolist() == [5, 8, 5, 16, 5, 7, 14, 6, 5, 2, 2, 2, 5, 41]
    X, y, groups = load("mushrooms")
    assert X.nnz == 170_604 and np.count_nonzero(y == 1) == 3_916 and np.count_nonzero(y == 2) == 4_208
    one_hot = sparse.csr_array((np.ones(112), (np.arange(112), groups)), shape=(112, 21))
    assert np.all((X @ one_hot).toarray() == 1)  # one nonzero in every group of every row


def test_memset_is_one_hot_in_seven_positions(nowhere):
    X, y, groups = load("memset")
    assert np.all(X.reshape(400, 7, 4).sum(axis=2) == 1) and np.array_equal(groups, np.repeat(np.arange(7), 4))
    assert X[0].reshape(7, 4).argmax(axis=1).tolist() == [2, 0, 2, 2, 0, 2, 0]  # g a g g a g a
    assert y.sum() == 200


def test_scalings(nowhere):
    X, y, _ = load("colon-cancer")
    assert X.mean(axis=0) == pytest.approx(0.0, abs=1e-14) and X.std(axis=0) == pytest.approx(1.0, rel=1e-13)
    assert np.count_nonzero(y == 1) == 40
    X, _, _ = load("breast_cancer")
    assert X.std(axis=0) == pytest.approx(1.0, rel=1e-13)
    X, _, _ = load("digits")
    assert X.min() == 0.0 and X.max() == 1.0
    constant = recipes.standardize(np.array([[1.0, 2.0], [1.0, 4.0]]))
    assert constant.tolist() == [[0.0, -1.0], [0.0, 1.0]]


def test_pairs_of_classes(nowhere):
    X, y, _ = load("digits-3-vs-8")
    everything, labels, _ = load("digits")
    rows = (labels == 3) | (labels == 8)
    assert np.array_equal(X, everything[rows]) and np.array_equal(y, labels[rows])


def test_packed_hashes_are_those_of_the_list():
    listed = dict(reversed(line.split()) for line in (FOLDER / "SHA256SUMS").read_text().splitlines())
    known = {file.name: file.sha256 for entry in REGISTRY.values() for file in entry.files if file.packed}
    assert listed == known
    for name, digest in listed.items():
        assert sha((FOLDER / name).read_bytes()) == digest


# --- a local folder


def test_local_folder_is_used_and_checked(nowhere, monkeypatch):
    folder = nowhere / "data"
    (folder / "libsvm").mkdir(parents=True)
    (folder / "libsvm" / "toy.bz2").write_bytes(bz2.compress(TEXT))
    monkeypatch.setenv("MANIFOLD_ID_DATA", str(folder))
    register(monkeypatch, DataFile("libsvm/toy.bz2", sha(bz2.compress(TEXT))))
    X, y, groups = load("toy")
    assert (
        X.toarray().tolist() == [[0.5, 0, 2], [0, 1e-3, 0], [0, 0, 0]] and y.tolist() == [1, -1, 1] and groups is None
    )
    assert {row.name: row.where for row in datasets()}["toy"] == "local"
    (folder / "libsvm" / "toy.bz2").write_bytes(bz2.compress(TEXT + b"-1\n"))
    with pytest.raises(ValueError, match=r"toy\.bz2 has sha256 .* is expected: the file is damaged"):
        load("toy")


def test_damaged_packed_file_is_refused(nowhere, monkeypatch):
    (nowhere / "memset-donor-400.csv").write_text("y,Pos.1\n1,a\n")
    register(monkeypatch, dataclasses.replace(REGISTRY["memset"].files[0], packed=nowhere))
    with pytest.raises(ValueError, match=r"memset-donor-400\.csv has sha256"):
        load("toy")


def test_missing_files_say_where_they_were_looked_for(nowhere, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"leukemia\.bz2 is not in MANIFOLD_ID_DATA, which is not set, .*put"):
        load("leukemia")
    monkeypatch.setenv("MANIFOLD_ID_DATA", str(nowhere))
    with pytest.raises(FileNotFoundError, match=rf"leukemia\.bz2 is not in MANIFOLD_ID_DATA={nowhere}"):
        load("leukemia")
    monkeypatch.setenv("MANIFOLD_ID_DATA", str(nowhere / "gone"))
    with pytest.raises(FileNotFoundError, match=r"MANIFOLD_ID_DATA=.*gone' is not a folder"):
        load("leukemia")


def test_idx_files_and_pairs_from_a_folder(nowhere, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
    labels = np.array([3, 5, 0, 3, 5, 1], dtype=np.uint8)
    files = []
    for name, array in (("images.gz", images), ("labels.gz", labels)):
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
        (nowhere / name).write_bytes(gzip.compress(head + array.tobytes()))
        files.append(DataFile(name))
    monkeypatch.setenv("MANIFOLD_ID_DATA", str(nowhere))
    monkeypatch.setitem(REGISTRY, "toys", DataSet("toys", 6, 20, 6, None, recipes.idx, tuple(files), "here", "none"))
    X, y, _ = load("toys")
    assert X.dtype == np.float32 and np.array_equal(X, images.reshape(6, 20) / np.float32(255)) and y.dtype == np.int64
    X, y, _ = load("toys-3-vs-5")
    assert y.tolist() == [3, 5, 3, 5] and np.array_equal(X[1], images[1].ravel() / np.float32(255))
    (nowhere / "labels.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x09abc"))
    with pytest.raises(ValueError, match=r"labels\.gz is not an IDX file"):
        load("toys")


@pytest.mark.parametrize(
    ("label_bytes", "members"), [(1, ("data_batch_1.bin", "data_batch_2.bin")), (2, ("train.bin",))]
)
def test_cifar_archives_are_read_without_unpacking(tmp_path, label_bytes, members):
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, (len(members), 4, label_bytes + 3072), dtype=np.uint8)
    path = tmp_path / "cifar.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, block in zip(members, records, strict=True):
            entry = tarfile.TarInfo(f"folder/{name}")
            entry.size = block.nbytes
            archive.addfile(entry, io.BytesIO(block.tobytes()))
    pixels, labels = readers.read_cifar(path, members, label_bytes)
    flat = records.reshape(-1, label_bytes + 3072)
    assert np.array_equal(pixels, flat[:, label_bytes:]) and np.array_equal(labels, flat[:, label_bytes - 1])
    with pytest.raises(ValueError, match=r"lacks data_batch_9\.bin"):
        readers.read_cifar(path, ("data_batch_9.bin",), label_bytes)


@needs_folder
@pytest.mark.parametrize("name", ["rcv1-ccat-small", "german.numer", "australian", "birthwt", "leukemia", "w8a"])
def test_sets_of_the_data_folder(name):
    X, y, groups = load(name)
    entry = REGISTRY[name]
    assert X.shape == (entry.rows, entry.columns) and len(np.unique(y)) == 2
    assert (None if groups is None else len(np.unique(groups))) == entry.groups


@needs_folder
def test_mnist_pair_of_the_data_folder():
    X, y, _ = load("mnist-3-vs-5")
    assert X.shape == (6131 + 5421, 784) and np.count_nonzero(y == 3) == 6131
    assert X.dtype == np.float32 and X.min() == 0.0 and X.max() == 1.0


# --- downloads


def test_download_is_checked_cached_and_shown(nowhere, server, monkeypatch, capsys):
    folder, address = server
    (folder / "toy").write_bytes(TEXT)
    file = DataFile("libsvm/toy.bz2", "0" * 64, address + "toy", "sha256:" + sha(TEXT))
    register(monkeypatch, file)
    assert {row.name: row.where for row in datasets()}["toy"] == "download"
    assert load("toy")[0].shape == (3, 3)
    assert "toy" in capsys.readouterr().out  # the progress bar
    assert {row.name: row.where for row in datasets()}["toy"] == "cached"
    (folder / "toy").unlink()
    assert load("toy", quiet=True)[0].shape == (3, 3)
    assert capsys.readouterr().out == ""


def test_download_with_a_wrong_hash_is_refused_and_not_kept(nowhere, server, monkeypatch):
    folder, address = server
    (folder / "toy").write_bytes(TEXT)
    register(monkeypatch, DataFile("libsvm/toy", None, address + "toy", "md5:" + "0" * 32))
    with pytest.raises(ValueError, match="does not match the known hash"):
        load("toy", quiet=True)
    assert not (nowhere / "cache" / "libsvm" / "toy").exists()


def test_download_without_a_known_hash_is_trusted_once(nowhere, server, monkeypatch):
    folder, address = server
    (folder / "toy").write_bytes(TEXT)
    register(monkeypatch, DataFile("libsvm/toy", None, address + "toy"))
    load("toy", quiet=True)
    cached = nowhere / "cache" / "libsvm" / "toy"
    assert cached.with_name("toy.sha256").read_text().split()[0] == sha(TEXT)
    cached.write_bytes(TEXT + b"+1 1:1\n")
    with pytest.raises(ValueError, match=r"toy has sha256 .* the file is damaged or another version"):
        load("toy", quiet=True)


def test_failed_download_says_what_to_do(nowhere, server, monkeypatch):
    register(monkeypatch, DataFile("libsvm/toy", None, server[1] + "absent"))
    with pytest.raises(FileNotFoundError, match=r"absent could not be downloaded .*put libsvm/toy into a"):
        load("toy", quiet=True)
    assert not list((nowhere / "cache").rglob("*absent*"))


def test_file_under_its_name_at_the_host_is_found_in_the_folder(nowhere, monkeypatch):
    register(monkeypatch, DataFile("libsvm/toy.bz2", "0" * 64, "http://127.0.0.1:9/toy"))
    (nowhere / "libsvm").mkdir()
    (nowhere / "libsvm" / "toy").write_bytes(TEXT)
    monkeypatch.setenv("MANIFOLD_ID_DATA", str(nowhere))
    assert load("toy")[0].shape == (3, 3)


# --- files by path


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".txt", bytes), (".svm", bytes), (".bz2", bz2.compress), (".gz", gzip.compress), (".xz", lzma.compress)],
)
def test_svmlight_files_by_path(tmp_path, suffix, pack):
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(pack(TEXT))
    X, y, groups = load(path)
    assert X.shape == (3, 3) and X[0, 2] == 2.0 and y.tolist() == [1, -1, 1] and groups is None
    (tmp_path / "mine.groups.txt").write_text("head\nhead\ntail\ntail\n")
    X, _, groups = load(str(path))
    assert X.shape == (3, 4) and groups.tolist() == [0, 0, 1, 1]  # a last column without nonzeros
    (tmp_path / f"mine{suffix}.groups.txt").write_text("1\n2\n3\n")
    assert load(path)[2].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a,b\n1,2\n", "is not svmlight text"), (b"+1 2:x\n", "is not svmlight text"), (b"", "has no rows")],
)
def test_files_of_another_format(tmp_path, content, message):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_truncated_archive(tmp_path):
    path = tmp_path / "mine.bz2"
    path.write_bytes(bz2.compress(TEXT)[:-8])
    with pytest.raises(ValueError, match="is not svmlight text"):
        load(path)


def test_groups_that_do_not_fit_the_file(tmp_path):
    path = tmp_path / "mine.svm"
    path.write_bytes(TEXT)
    (tmp_path / "mine.groups.txt").write_text("1\n1\n")
    with pytest.raises(ValueError, match=r"has 2 lines, but .* has 3 columns"):
        load(path)
    (tmp_path / "mine.groups.txt").write_text("1\n\n1\n")
    with pytest.raises(ValueError, match=r"mine\.groups\.txt:2 is empty"):
        load(path)


# --- names


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a9b", ValueError, "data='a9b' is not known: did you mean 'a9a'"),
        ("minst", ValueError, "did you mean 'mnist'"),
        ("digits-3-vs-3", ValueError, "choose two different classes of 0 ... 9"),
        ("digits-3-vs-10", ValueError, "choose two different classes of 0 ... 9"),
        ("a9a-0-vs-1", ValueError, "choose 'a9a' itself"),
        ("nets-1-vs-2", ValueError, "data='nets-1-vs-2' is not known"),
        ("folder/absent.bz2", FileNotFoundError, "data='folder/absent.bz2' is not a file"),
        ("absent.svm", FileNotFoundError, "data='absent.svm' is not a file"),
        (5, TypeError, "data=5 must be the name of a data set or a path"),
        (Path("absent"), FileNotFoundError, "data='absent' is not a file"),
    ],
)
def test_unknown_names(name, error, message):
    with pytest.raises(error, match=message):
        load(name)


def test_table_lists_every_set_once_and_says_where(nowhere):
    rows = {row.name: row for row in datasets()}
    assert set(rows) == set(REGISTRY) and len(datasets()) == len(REGISTRY)
    assert all(rows[name].where == "packed" for name in PACKED)
    assert rows["mnist"].where == "download" and rows["leukemia"].where == "missing"
    assert all(row.source and row.licence for row in rows.values())


def test_every_remote_file_is_https_or_hashed():
    for entry in REGISTRY.values():
        for file in entry.files:
            assert file.url is None or file.url.startswith("https://") or file.url_hash is not None
            assert file.sha256 or file.url, f"{entry.name}: {file.path} can neither be checked nor downloaded"
