"""What the constructors of the regularizers accept and refuse: groups, axes, weights, strengths, shapes."""

import copy
import pickle

import numpy as np
import pytest
import torch

from manifold_id.regularizers import (
    L0,
    L1,
    MCP,
    SCAD,
    Box,
    ElasticNet,
    GroupLasso,
    LHalf,
    LInfNorm,
    NonnegativeL1,
    NuclearNorm,
    SparseGroupLasso,
    Unpenalized,
)


@pytest.mark.parametrize(
    "groups",
    [
        [0, 1, 1, 0, 2, 2],
        (0, 1, 1, 0, 2, 2),
        np.array([0, 1, 1, 0, 2, 2], dtype=np.int32),
        np.array([5, 7, 7, 5, 90, 90]),
        [-3, 0, 0, -3, 1, 1],
        np.array([0.0, 1.0, 1.0, 0.0, 2.0, 2.0]),
        torch.tensor([1, 2, 2, 1, 3, 3]),
        ["a", "b", "b", "a", "c", "c"],
        np.array(["colour", "odor", "odor", "colour", "size", "size"]),
        [[0, 3], [1, 2], [4, 5]],
        [[3, 0], (2, 1), np.array([4, 5])],
        [range(0, 4, 3), {1, 2}, [4, 5]],
        {"z": [0, 3], "y": (2, 1), "x": np.array([4, 5])},
        {7: [3, 0], 5: range(1, 3), 6: {4, 5}},
        np.ma.array([5, 7, 7, 5, 90, 90]),
    ],
)
def test_groups_have_one_form(groups):
    regularizer = GroupLasso(0.5, groups=groups)
    assert regularizer.groups == (0, 1, 1, 0, 2, 2)
    assert regularizer == GroupLasso(0.5, groups=(0, 1, 1, 0, 2, 2))


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        (["job", "age", "age", "job", "zip"], ("age", "job", "zip")),
        (np.array(["job", "age", "age", "job", "zip"]), ("age", "job", "zip")),
        ([30, 7, 7, 30, 100], ("7", "30", "100")),
        (np.array([3.0, 1.0, 1.0, 3.0, 4.0]), ("1", "3", "4")),
        ([[0, 3], [1, 2], [4]], ("0", "1", "2")),
        ({"job": [0, 3], "age": [1, 2], "zip": [4]}, ("job", "age", "zip")),
        ({7: [0, 3], 5: [1, 2], 6: [4]}, ("7", "5", "6")),
        (1, None),
    ],
)
def test_labels_are_the_names_of_the_atoms_and_change_nothing_else(groups, names):
    regularizer = GroupLasso(0.5, groups=groups)
    changed = (regularizer.with_lam(0.1), pickle.loads(pickle.dumps(regularizer)), copy.deepcopy(regularizer))
    assert [r.atom_names for r in (regularizer, *changed)] == [names] * 4
    assert Unpenalized(regularizer).atom_names == (None if names is None else (*names, "intercept"))
    assert MCP(0.5, groups=groups).atom_names == names
    assert SparseGroupLasso(0.5, groups=groups).atom_names is None  # its atoms are the entries
    if names is not None:
        bare = GroupLasso(0.5, groups=tuple(regularizer.groups))
        assert regularizer == bare and hash(regularizer) == hash(bare) and repr(regularizer) == repr(bare)


@pytest.mark.parametrize(
    ("groups", "weights", "expected"),
    [
        ({"b": [0, 1], "a": [2]}, {"a": 2.0, "b": 3.0}, (3.0, 2.0)),
        (["b", "b", "a"], {"b": 3.0, "a": 2.0}, (2.0, 3.0)),
        ([30, 30, 7], {30: 3.0, 7: 2}, (2.0, 3.0)),
        ([[2], [0, 1]], {1: 3.0, 0: 2.0}, (2.0, 3.0)),
        (1, {2: 0.5, 0: 2.0, 1: 3.0}, (2.0, 3.0, 0.5)),
    ],
)
def test_weights_by_the_names_of_the_groups(groups, weights, expected):
    for kind in (GroupLasso, MCP, SparseGroupLasso):
        regularizer = kind(0.5, groups=groups, weights=weights)
        assert regularizer.weights == expected
        assert regularizer.with_lam(0.1).weights == expected
    assert GroupLasso(1.0, axis=0, weights={1: 2.0, 0: 3.0}).value(np.eye(2)) == 5.0


def test_equal_forms_of_blocks_agree():
    v = np.random.default_rng(0).normal(size=(3, 8))
    expected = GroupLasso(0.3, groups=2).prox(v, 1.0)
    for groups in (np.int64(2), [[0, 1], [2, 3], [4, 5], [6, 7]], [0, 0, 1, 1, 2, 2, 3, 3]):
        assert np.array_equal(GroupLasso(0.3, groups=groups).prox(v, 1.0), expected)
    assert GroupLasso(0.3, groups=np.int64(2)) == GroupLasso(0.3, groups=2)
    reordered = GroupLasso(0.3, groups=[[6, 7], [0, 1], [4, 5], [2, 3]])
    np.testing.assert_allclose(reordered.prox(v, 1.0), expected, rtol=1e-15)
    order = [3, 0, 2, 1]
    assert np.array_equal(reordered.structure(expected), GroupLasso(0.3, groups=2).structure(expected)[:, order])


def test_many_groups_of_very_different_sizes():
    sizes = np.array([1, 700, 3, 1, 2, 5, 64, 65, 1, 128])
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10), sizes))
    v = np.random.default_rng(2).normal(size=(2, len(labels)))
    regularizer = GroupLasso(0.4, groups=labels)
    x = regularizer.prox(v, 1.0)
    for k in range(10):
        part = v[:, labels == k]
        norm = np.linalg.norm(part, axis=1, keepdims=True)
        np.testing.assert_allclose(
            x[:, labels == k], part * np.maximum(1 - 0.4 * sizes[k] ** 0.5 / norm, 0), rtol=1e-13
        )
    plain = GroupLasso(1.0, groups=labels, weights=None)
    np.testing.assert_allclose(
        plain.value(v), sum(np.linalg.norm(v[:, labels == k], axis=1) for k in range(10)), rtol=1e-14
    )


def test_the_axis_of_a_tensor():
    w = np.random.default_rng(3).normal(size=(4, 3, 5, 5))
    regularizer = GroupLasso(0.1, axis=1)
    expected = 0.1 * np.sqrt(100) * np.sqrt((w**2).sum(axis=(0, 2, 3))).sum()
    assert float(regularizer.value(w)) == pytest.approx(expected, rel=1e-14)
    assert regularizer.event_ndim is None and regularizer.structure(w).shape == (3,)
    assert np.array_equal(GroupLasso(0.1, axis=-3).prox(w, 1.0), regularizer.prox(w, 1.0))
    batched = GroupLasso(0.1, axis=0, event_ndim=3)  # four points of shape (3, 5, 5)
    assert batched.structure(w).shape == (4, 3)
    moved = torch.tensor(w).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels last in memory
    np.testing.assert_allclose(regularizer.prox(moved, 1.0), regularizer.prox(w, 1.0), rtol=1e-13)


def test_groups_of_weight_zero_are_free():
    regularizer = GroupLasso(0.5, groups=[0, 0, 1, 1], weights=[0.0, 1.0])
    w, g = np.zeros(4), np.array([3.0, 4.0, 0.1, 0.2])
    assert regularizer.structure(w).tolist() == [1, 0]
    assert regularizer.margin(w, g)[0] == np.inf
    assert regularizer.residual(w, g).tolist() == [5.0, 0.0]
    assert np.array_equal(regularizer.prox(g, 10.0)[:2], g[:2])
    assert regularizer.lambda_max(g) == pytest.approx(np.hypot(0.1, 0.2))
    assert L1(0.0).structure(w).tolist() == [1, 1, 1, 1]
    assert MCP(0.0).structure(w).tolist() == [1, 1, 1, 1]
    assert NonnegativeL1(0.0).structure(w).tolist() == [0, 0, 0, 0]  # the bound remains


def test_l0_and_l_half_say_nothing_at_zero():
    for kind in (L0, LHalf):
        regularizer = kind(0.5, groups=2)
        w, g = np.array([0.0, 0.0, 1.0, 0.0]), np.array([1e3, 0.0, 0.0, 2.0])
        assert regularizer.residual(w, g)[0] == 0 and np.all(regularizer.margin(w, g) == np.inf)
        assert regularizer.residual(w, g)[1] > 0


V = np.arange(6.0)
KINDS = [L1, NonnegativeL1, NuclearNorm, L0, LHalf, MCP, SCAD, lambda lam: ElasticNet(lam, 0.1), GroupLasso]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("lam", "error"),
    [(-0.1, ValueError), (float("nan"), ValueError), (float("inf"), ValueError), ("1", TypeError), (None, TypeError)],
)
def test_strengths_that_are_refused(kind, lam, error):
    with pytest.raises(error, match="lam="):
        kind(lam)


ERRORS = [
    (lambda: ElasticNet(0.1, -1.0), ValueError, "ridge=-1.0 must be"),
    (lambda: MCP(0.1, gamma=0.0), ValueError, "gamma=0.0 must be"),
    (lambda: SCAD(0.1, a=1.0), ValueError, "a=1.0 must be"),
    (lambda: GroupLasso(0.1).prox(V, 1.0), ValueError, "needs groups .* or axis"),
    (lambda: GroupLasso(0.1, groups=2, axis=0), ValueError, "groups and axis=0 are both given"),
    (lambda: GroupLasso(0.1, axis=0.5), TypeError, "axis=0.5 must be an integer"),
    (lambda: GroupLasso(0.1, axis=True), TypeError, "axis=True must be an integer"),
    (lambda: GroupLasso(0.1, groups=0), ValueError, "groups=0 must be at least 1"),
    (lambda: GroupLasso(0.1, groups=2.5), TypeError, "groups=2.5 must be a list of index lists"),
    (lambda: GroupLasso(0.1, groups=True), TypeError, "groups=True must be a list of index lists"),
    (lambda: GroupLasso(0.1, groups="natural"), TypeError, "groups='natural' must be a list of index lists"),
    (lambda: GroupLasso(0.1, groups=[]), ValueError, r"groups has shape \(0,\)"),
    (lambda: GroupLasso(0.1, groups=np.zeros((2, 3), int)), ValueError, r"groups has shape \(2, 3\): give a 1-D array"),
    (lambda: GroupLasso(0.1, groups=np.array(3)), ValueError, r"groups has shape \(\)"),
    (lambda: GroupLasso(0.1, groups=[0.5, 1.5]), TypeError, "labels of type float64"),
    (lambda: GroupLasso(0.1, groups=[0.0, float("nan")]), TypeError, "labels of type float64"),
    (lambda: GroupLasso(0.1, groups=[0, None]), TypeError, "labels of type object"),
    (lambda: GroupLasso(0.1, groups=[[0, 1], [1, 2]]), ValueError, "groups overlap: feature 1 "),
    (lambda: GroupLasso(0.1, groups=[[0, 0], [1]]), ValueError, "groups overlap: feature 0 "),
    (lambda: GroupLasso(0.1, groups=[[0], [2, 3]]), ValueError, "groups miss feature 1"),
    (lambda: GroupLasso(0.1, groups=[[0], []]), ValueError, r"groups\[1\] is empty"),
    (lambda: GroupLasso(0.1, groups=[[0], [1.5]]), TypeError, r"groups\[1\]=\[1.5\] must be a list of integer"),
    (lambda: GroupLasso(0.1, groups=[[0], [-1]]), ValueError, "groups holds the index -1"),
    (lambda: GroupLasso(0.1, groups=[[0], 1]), TypeError, r"groups\[1\]=1 must be a list of feature indices"),
    (lambda: GroupLasso(0.1, groups=2, weights=[1.0, -1.0]), ValueError, r"weights\[1\]=-1.0 must be"),
    (lambda: GroupLasso(0.1, groups=2, weights=[float("nan")]), ValueError, r"weights\[0\]=nan must be"),
    (lambda: GroupLasso(0.1, groups=[0.0, float("inf")]), TypeError, "labels of type float64"),
    (lambda: GroupLasso(0.1, groups=["a", float("nan")]), TypeError, "mixes strings with other labels"),
    (lambda: GroupLasso(0.1, groups=[0, "0"]), TypeError, "mixes strings with other labels"),
    (lambda: GroupLasso(0.1, groups=np.array(["a", np.nan], object)), TypeError, "labels of type object"),
    (lambda: GroupLasso(0.1, groups=np.array(["NaT"], "M8[D]")), TypeError, "labels of type datetime64"),
    (lambda: GroupLasso(0.1, groups=[np.datetime64("NaT")]), TypeError, "labels of type datetime64"),
    (lambda: GroupLasso(0.1, groups={0, 1}), TypeError, "is a set, which has no order"),
    (lambda: GroupLasso(0.1, groups={frozenset([0]), frozenset([1])}), TypeError, "is a set, which has no order"),
    (lambda: GroupLasso(0.1, groups=np.ma.array([0, 1], mask=[0, 1])), ValueError, "groups has masked entries"),
    (lambda: GroupLasso(0.1, [[0], np.ma.array([1, 2], mask=[0, 1])]), ValueError, r"groups\[1\] has masked entries"),
    (lambda: GroupLasso(0.1, groups={}), ValueError, "groups is empty"),
    (lambda: GroupLasso(0.1, groups={"a": 0, "b": 1}), TypeError, r"groups\[a\]=0 must be a list of feature indices"),
    (lambda: GroupLasso(0.1, groups={"a": [0], "b": [0]}), ValueError, "groups overlap: feature 0 "),
    (lambda: GroupLasso(0.1, groups={"1": [0], 1: [1]}), ValueError, "two have one name"),
    (lambda: GroupLasso(0.1, groups={None: [0]}), TypeError, "groups has the key None"),
    (lambda: GroupLasso(0.1, groups=[{0: 1}, [1]]), TypeError, r"groups\[0\]=\{0: 1\} must be a list of feature"),
    (lambda: GroupLasso(0.1, groups=2, weights={1.0, 2.0}), TypeError, "weights=.* must be 'sqrt_size'"),
    (lambda: GroupLasso(0.1, groups=2, weights=b"ab"), TypeError, "weights=b'ab' must be 'sqrt_size'"),
    (lambda: GroupLasso(0.1, 2, weights=np.ma.array([1.0], mask=[1])), ValueError, "weights has masked entries"),
    (lambda: GroupLasso(0.1, groups=["a", "b"], weights={0: 1.0, 1: 1.0}), ValueError, "differ from the groups' names"),
    (lambda: GroupLasso(0.1, groups=["a", "b"], weights={"a": 1.0}), ValueError, r"in \['b'\]: give one weight"),
    (lambda: GroupLasso(0.1, groups=2, weights={0: 1.0, 2: 1.0}), ValueError, r"in \['1', '2'\]: give one weight"),
    (lambda: GroupLasso(0.1, groups=["a"], weights={"a": -1.0}), ValueError, r"weights\['a'\]=-1.0 must be"),
    (lambda: GroupLasso(0.1, groups=2, weights={0: 1.0}).value(V), ValueError, "weights has 1 entries, .* 3 groups"),
    (lambda: Box(np.ma.array([0.0, 1.0], mask=[0, 1]), 2.0), ValueError, "lower has masked entries"),
    (lambda: GroupLasso(0.1, groups=2, weights="size"), ValueError, "weights='size' is not known: did you mean 'sqrt"),
    (lambda: GroupLasso(0.1, groups=2, weights=1.0), TypeError, "weights=1.0 must be 'sqrt_size'"),
    (
        lambda: GroupLasso(0.1, groups=[0, 1], weights=[1.0]),
        ValueError,
        "weights has 1 entries, but there are 2 groups",
    ),
    (lambda: GroupLasso(0.1, groups=2, weights=[1.0]).value(V), ValueError, "weights has 1 entries, .* 3 groups"),
    (lambda: GroupLasso(0.1, axis=1, weights=[1.0]).value(np.ones((2, 3))), ValueError, "weights has 1 .* 3 groups"),
    (lambda: GroupLasso(0.1, groups=4).prox(V, 1.0), ValueError, "groups=4 does not divide the 6 features"),
    (lambda: GroupLasso(0.1, groups=[0, 1]).prox(V, 1.0), ValueError, "groups has 2 labels, but .* 6 features"),
    (lambda: GroupLasso(0.1, groups=[0, 1]).structure(V), ValueError, "groups has 2 labels, but .* 6 features"),
    (lambda: GroupLasso(0.1, groups=4).separable((6,)), ValueError, "groups=4 does not divide the 6 features"),
    (
        lambda: GroupLasso(0.1, axis=2).prox(np.ones((3, 4)), 1.0),
        ValueError,
        r"axis=2 is out of range for a tensor of shape \(3, 4\)",
    ),
    (lambda: GroupLasso(0.1, axis=-3).value(np.ones((3, 4))), ValueError, "axis=-3 is out of range"),
    (lambda: GroupLasso(0.1, groups=2, event_ndim=0), ValueError, "event_ndim=0 must be at least 1"),
    (lambda: GroupLasso(0.1, groups=2, event_ndim="all"), ValueError, "event_ndim='all' is not known"),
    (lambda: NuclearNorm(0.1).prox(V, 1.0), ValueError, r"w has shape \(6,\), but a point has at least 2 axes"),
    (lambda: LInfNorm(0.1).prox_metric(np.ones(2), 1.0, np.ones(2)), NotImplementedError, "no exact prox"),
    (lambda: NuclearNorm(0.1).dimension(np.ones(2)), ValueError, "shape=None"),
    (lambda: NuclearNorm(0.1).tangent(np.ones(2), np.eye(2)), ValueError, "w=None"),
    (lambda: L1(0.1).prox_metric(V, 1.0, np.ones(5)), ValueError, r"d has shape \(5,\), but needs .* \(6,\)"),
    (lambda: L1(0.1).prox(V, -1.0), ValueError, "step=-1.0 must be"),
    (lambda: L1(0.1).prox(V, float("nan")), ValueError, "step=nan must be"),
    (lambda: L1(0.1).prox(V[:0], 1.0), ValueError, "at least one entry"),
    (lambda: L1(0.1).with_lam(-1.0), ValueError, "lam=-1.0 must be"),
    (lambda: L0(0.1).lambda_max(V), NotImplementedError, "stationary for every lam"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
