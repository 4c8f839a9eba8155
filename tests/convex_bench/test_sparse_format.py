"""Index arrays that SciPy would follow out of its arrays are refused before anything reads them."""

import numpy as np
import pytest
from scipy import sparse

from convex_bench import load
from convex_bench.data.readers import read_svmlight
from convex_bench.problem import Problem
from convex_bench.problem.row_matrix import check_design
from convex_bench.problem.sparse_format import check_structure, narrow
from manifold_id.regularizers import L1

FORMATS = ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")


def matrix(kind, array=True):
    dense = np.random.default_rng(0).random((30, 6)) + 0.1
    whole = sparse.bsr_array(dense, blocksize=(5, 2)) if kind == "bsr" else sparse.csr_array(dense).asformat(kind)
    return whole if array else getattr(sparse, f"{kind}_matrix")(whole)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("array", [True, False])
def test_sound_matrices_of_all_formats_are_taken(kind, array):
    X = matrix(kind, array)
    check_structure(X)
    assert np.array_equal(check_design(X).toarray(), X.toarray())


@pytest.mark.parametrize(
    ("kind", "name", "at", "value", "message"),
    [
        ("csr", "indices", 0, 77, r"X.indices\[0\] \(row 0\) is 77, but must be in \[0, 6\): build the matrix anew"),
        ("csr", "indices", 13, -1, r"X.indices\[13\] \(row 2\) is -1"),
        ("csc", "indices", 31, 30, r"X.indices\[31\] \(column 1\) is 30, but must be in \[0, 30\)"),
        ("bsr", "indices", 4, 3, r"X.indices\[4\] \(row of blocks 1\) is 3, but must be in \[0, 3\)"),
        ("coo", "row", 7, 30, r"X.row\[7\] is 30, but must be in \[0, 30\)"),
        ("coo", "col", 8, -2, r"X.col\[8\] is -2, but must be in \[0, 6\)"),
        ("csr", "indptr", 0, 1, r"X.indptr\[0\] is 1, but X.indptr must rise from 0"),
        ("csc", "indptr", 3, 2, r"X.indptr\[3\] is 2, but X.indptr must rise from 0"),
        ("csr", "indptr", -1, 10**6, r"X.indptr\[30\] is 1000000, but X has 180 entries"),
    ],
)
def test_a_wrong_index_is_named(kind, name, at, value, message):
    X = matrix(kind)
    getattr(X, name)[at] = value
    with pytest.raises(ValueError, match=message):
        Problem(X, np.arange(30) % 2, regularizer=L1(0.1))


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        ("csr", "indptr", np.arange(3), r"X.indptr has 3 entries, but 31 belong to X"),
        ("csr", "indices", np.zeros(2, dtype=np.int32), r"X.indptr\[30\] is 180, but X has 2 entries"),
        ("csr", "data", np.zeros(2), r"X.indptr\[30\] is 180, but X has 2 entries"),
        ("csc", "indices", np.zeros(180), r"X.indices must be a 1-D array of integers"),
        ("bsr", "indices", np.zeros((2, 9), dtype=np.int32), r"X.indices must be a 1-D array of integers"),
        ("coo", "data", np.zeros(2), r"X.row has 180 entries, but 2 belong to X"),
    ],
)
def test_arrays_that_do_not_belong_together(kind, name, value, message):
    X = matrix(kind)
    setattr(X, name, value)
    with pytest.raises(ValueError, match=message):
        check_design(X)


def test_a_list_of_lists_with_a_wrong_column():
    X = matrix("lil")
    X.rows[3][5] = 99
    with pytest.raises(ValueError, match=r"X.indices\[23\] \(row 3\) is 99"):
        check_design(X)


def test_indices_are_as_narrow_as_they_can_be(tmp_path):
    wide = sparse.csr_array(
        (np.ones(2), np.array([0, 2**31], dtype=np.int64), np.array([0, 1, 2])), shape=(2, 2**31 + 1)
    )
    assert narrow(wide) is wide
    for text in ("1 1:2 3:4\n-1 2:5\n", "1 1:2 3:4 # by the line\n-1 2:5\n"):
        path = tmp_path / "rows.svm"
        path.write_text(text)
        (tmp_path / "rows.groups.txt").write_text("a\na\nb\nb\n")
        for X in (read_svmlight(path)[0], load(path)[0], load("a9a")[0], load("mushrooms")[0]):
            assert X.indices.dtype == X.indptr.dtype == np.int32
