"""A file that cannot be written is named, whichever library failed to write it, and nothing is left of it."""

import errno
from pathlib import Path

import pytest

from manifold_id.files import write_atomic
from manifold_id.formula import check_label
from manifold_id.toml_file import read_toml


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), OSError("100 requested and 0 written")])
def test_a_full_disk_names_the_file(tmp_path, error):
    def write(part):
        part.write_text("begun")
        raise error

    with pytest.raises(OSError) as caught:
        write_atomic(tmp_path / "x.npz", write)
    assert caught.value.filename == str(tmp_path / "x.npz") and caught.value.errno == error.errno
    assert (caught.value.strerror or "") in str(error) and not list(tmp_path.iterdir())


def test_a_disk_that_cannot_be_written_names_the_file(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)  # there nothing can be removed either
    with pytest.raises(OSError, match="Read-only") as caught:
        write_atomic(tmp_path / "x.npz", refuse)
    assert caught.value.filename == str(tmp_path / "x.npz")


def test_a_folder_that_is_not_there_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_atomic(tmp_path / "none" / "x.txt", lambda part: part.write_text("x"))
    assert caught.value.filename == str(tmp_path / "none" / "x.txt")
    with pytest.raises(FileNotFoundError) as caught:  # what is read meanwhile keeps its name
        write_atomic(tmp_path / "x.txt", lambda part: (tmp_path / "source").read_text())
    assert str(caught.value.filename) == str(tmp_path / "source")


def test_toml_with_a_mark_and_its_mistakes(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_toml(path) == ({"a": 1}, "a = 1\n")
    deep = "a = " + "[" * 99 + "]" * 99
    path.write_text(deep)
    assert read_toml(path)[1] == deep
    for text in ("a = " + "[" * 101 + "]" * 101, "a = " + "[" * 9000 + "]" * 9000, "a" + ".a" * 101 + " = 1"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"x\.toml: is nested more than 100 deep"):
            read_toml(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"x\.toml: is not UTF-8 text"):
        read_toml(path)
    path.write_text("a = 1\nb = = 2")
    with pytest.raises(ValueError, match=r"x\.toml:2: is not valid TOML"):
        read_toml(path)


def test_labels_of_figures():
    for label in ("RMDA", "cost in $", "$x_1$", r"\$5 and \$6_", r"$\lambda$, \$5"):
        check_label("name", label)
    for label in ("$x_$", r"a $\frac{1$", "$$"):
        with pytest.raises(ValueError, match=r"name='.*' is no formula that figures can draw"):
            check_label("name", label)
