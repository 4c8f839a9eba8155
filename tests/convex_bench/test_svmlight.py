"""The fast parser of svmlight text gives what scikit-learn's gives, and leaves to it every file that is not plain."""

import io

import numpy as np
import pytest
from sklearn.datasets import load_svmlight_file

from convex_bench.data.svmlight import parse_plain


def same(data, columns=None):
    X, y = parse_plain(data, columns)
    base = "auto" if columns is None else False
    expected, labels = load_svmlight_file(io.BytesIO(data), n_features=columns, zero_based=base)
    assert X.shape == expected.shape
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(X, name), getattr(expected, name))
    assert X.data.dtype == np.float64 and X.indices.dtype == X.indptr.dtype == np.int32
    np.testing.assert_array_equal(y, labels, strict=True)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
def test_random_text(first, end):
    rng = np.random.default_rng(first)
    lines = []
    for _ in range(200):
        index = first + np.flatnonzero(rng.random(30) < 0.2)
        values = rng.standard_normal(len(index)) * 10.0 ** rng.integers(-300, 300, len(index))
        words = [f"{i}:{value!r}" for i, value in zip(index, values.tolist(), strict=True)]
        lines.append(" ".join([repr(float(rng.integers(-1, 2))), *words]))
    data = end.join(lines).encode()
    same(data)
    same(data + end.encode())
    if first == 1:
        same(data, columns=40)


@pytest.mark.parametrize(
    "text",
    ["+1 1:2 3:4\n-1 2:5", "1 5:1\n\n\n2 7:.5\n", "1\n2 1:3\n3\n", "0 0:1 10:1e-3", "1 1:0 2:-0.0", "1  1:2   2:3"],
)
def test_plain_files(text):
    same(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        *("", "\n", "1\n2\n", "1 2:3 # comment", "1 qid:3 1:2", "1\t2:3", "a 1:2", "1 1:x", "1 1:nan", "1,2 3:4"),
        *("1 2:1 1:1", "1 1:1 1:2", "1 2", "1 2:3 4", "1 2:", "1 :2", "1 2: 3", "1 2 :3", "1 2:3:4", "1 1e2:3"),
        *(
            "1 1.0:3",
            "1 -1:3",
            "1 +1:3",
            "1:2 3:4",
            "1 2:3-4",
            "1 2:3e",
            "1 2:--3",
            "1 2 3:4\n:5",
            "1 2:3.4.5",
            "1 1:+",
        ),
    ],
)
def test_all_other_files_are_left_to_the_careful_parser(text):
    assert parse_plain(text.encode(), None) is None


@pytest.mark.parametrize("text", ["1 0:1 2:3", "1 1:1 5:3"])
def test_indices_out_of_range_are_left_to_it_too(text):
    assert parse_plain(text.encode(), 4) is None
