"""Problem: value and derivatives against finite differences, batches, storage formats, constants, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from convex_bench import Study, solve
from convex_bench.problem import Problem, row_matrix
from convex_bench.studies.stored_path import run_path
from manifold_id.methods import RMDA
from manifold_id.regularizers import L1, Box, ElasticNet, GroupLasso, NuclearNorm

LOSS_NAMES = ("logistic", "squared", "multinomial")
N, P = 30, 7


def make(
    loss: str, intercept: bool = False, kind: str = "dense", seed: int = 0, dtype=np.float64, n: int = N
) -> Problem:
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((n, P)) * (rng.random((n, P)) < 0.6)).astype(dtype)
    y = {"logistic": np.arange(n) % 2, "squared": rng.standard_normal(n), "multinomial": np.arange(n) % 3}[loss]
    return Problem(sparse.csr_array(X) if kind == "csr" else X, y, loss, L1(0.01), intercept=intercept)


def points(problem: Problem, count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *problem.shape))


cases = pytest.mark.parametrize(
    ("loss", "intercept", "kind"), [(x, i, k) for x in LOSS_NAMES for i in (False, True) for k in ("dense", "csr")]
)


@cases
def test_value_is_the_formula(loss, intercept, kind):
    problem = make(loss, intercept, kind)
    w = points(problem, 1)[0]
    X = problem.X.toarray() if kind == "csr" else problem.X
    margins = X @ w[:P] + (w[P] if intercept else 0.0)
    if loss == "logistic":
        expected = np.mean(np.log1p(np.exp(-problem.y * margins)))
    elif loss == "squared":
        expected = np.mean((margins - problem.y) ** 2) / 2
    else:
        expected = np.mean(np.log(np.exp(margins).sum(axis=1)) - margins[np.arange(N), problem.y])
    assert problem.smooth_value(w) == pytest.approx(expected, rel=1e-13)
    assert problem.value(w) == pytest.approx(expected + 0.01 * np.abs(w[:P]).sum(), rel=1e-13)
    assert isinstance(problem.value(w), float) and isinstance(problem.smooth_value(w), float)
    assert problem.margins(w) == pytest.approx(margins, rel=1e-12, abs=1e-13)


@cases
def test_gradient_and_hessian_by_finite_differences(loss, intercept, kind):
    problem = make(loss, intercept, kind)
    w, v = points(problem, 2)
    step = 1e-5
    slope = (problem.smooth_value(w + step * v) - problem.smooth_value(w - step * v)) / (2 * step)
    gradient = problem.gradient(w)
    assert slope == pytest.approx(np.sum(gradient * v), abs=1e-8)
    change = (problem.gradient(w + step * v) - problem.gradient(w - step * v)) / (2 * step)
    hessian = problem.hessian(w)
    assert (hessian @ v.ravel()).reshape(v.shape) == pytest.approx(change, abs=1e-8)
    assert problem.hessian_product(w, v) == pytest.approx((hessian @ v.ravel()).reshape(v.shape), abs=1e-13)
    coords = np.array([w.size - 1, 0, 3])
    assert problem.hessian(w, coords) == pytest.approx(hessian[np.ix_(coords, coords)], abs=1e-15)
    value, both = problem.smooth(w)
    assert value == problem.smooth_value(w) and np.array_equal(both, gradient)


@cases
def test_batches_are_singles(loss, intercept, kind):
    problem = make(loss, intercept, kind)
    W = points(problem, 6).reshape(2, 3, *problem.shape)
    rows = np.array([4, 4, 0, 29])
    for function, exact in (
        (problem.value, 1e-13),
        (problem.gradient, 1e-13),
        (problem.margins, 1e-13),
        (problem.gradient_noise, 1e-13),
        (lambda w: problem.minibatch_gradient(w, rows), 1e-13),
        (lambda w: problem.row_gradients(w, rows), 1e-13),
    ):
        singles = np.stack([[function(w) for w in half] for half in W])
        assert np.asarray(function(W)) == pytest.approx(singles, rel=exact, abs=exact)
    assert problem.adjoint(problem.margins(W)).shape == W.shape


@cases
def test_rows_blocks_and_noise_agree_with_their_definitions(loss, intercept, kind, monkeypatch):
    problem = make(loss, intercept, kind)
    W = points(problem, 3)
    rows = problem.row_gradients(W, np.arange(N))
    assert rows.mean(axis=1) == pytest.approx(problem.gradient(W), abs=1e-14)
    assert problem.gradient_noise(W) == pytest.approx(rows.var(axis=1), abs=1e-13)
    drawn = np.array([3, 3, 17])
    assert problem.minibatch_gradient(W, drawn) == pytest.approx(rows[:, drawn].mean(axis=1), abs=1e-14)
    with monkeypatch.context() as patch:
        patch.setattr(row_matrix, "FEW", 0)  # the general way of selecting rows
        assert problem.row_gradients(W, drawn) == pytest.approx(rows[:, drawn], abs=1e-14)
    whole = problem.smooth(W), problem.hessian(W[0]), problem.margins(W), problem.adjoint(problem.margins(W))
    monkeypatch.setattr(row_matrix, "BLOCK", 40)  # blocks of a few rows
    blocks = problem.smooth(W), problem.hessian(W[0]), problem.margins(W), problem.adjoint(problem.margins(W))
    assert blocks[0][0] == pytest.approx(whole[0][0], rel=1e-14)
    assert blocks[0][1] == pytest.approx(whole[0][1], abs=1e-14)
    for one, other in zip(blocks[1:], whole[1:], strict=True):
        assert one == pytest.approx(other, abs=1e-14)


@cases
def test_formats_and_precisions_agree(loss, intercept, kind):
    reference = make(loss, intercept, "dense", dtype=np.float32)
    other = make(loss, intercept, kind, dtype=np.float32)
    assert other.X.dtype == np.float32
    exact = Problem(reference.X.astype(np.float64), reference.y, loss, L1(0.01), intercept=intercept)
    w = points(reference, 1)[0]
    assert other.gradient(w).dtype == np.float64
    assert other.gradient(w) == pytest.approx(exact.gradient(w), abs=1e-14)  # float64 sums, not float32 ones
    assert other.hessian(w) == pytest.approx(exact.hessian(w), abs=1e-14)
    assert other.value(w) == pytest.approx(exact.value(w), rel=1e-14)
    assert other.lipschitz() == pytest.approx(exact.lipschitz(), rel=1e-12)
    assert other.row_lipschitz() == pytest.approx(exact.row_lipschitz(), rel=1e-12)


@cases
def test_lipschitz_constants(loss, intercept, kind):
    problem = make(loss, intercept, kind)
    design = problem.design.toarray() if kind == "csr" else problem.design
    assert design.shape == (N, P + intercept) and (not intercept or np.all(design[:, -1] == 1.0))
    bound = {"logistic": 0.25, "squared": 1.0, "multinomial": 0.5}[loss]
    assert problem.lipschitz() == pytest.approx(bound * np.linalg.norm(design, 2) ** 2 / N, rel=1e-12)
    assert problem.row_lipschitz() == pytest.approx(bound * (design**2).sum(axis=1), rel=1e-14)
    for w in points(problem, 5):
        assert np.linalg.eigvalsh(problem.hessian(w))[-1] <= problem.lipschitz() * (1 + 1e-12)


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("shape", [(40, 25), (25, 40)])
def test_spectral_norm_by_lanczos_is_that_of_the_gram_matrix(kind, shape, monkeypatch):
    X = np.random.default_rng(0).standard_normal(shape)
    y = np.arange(len(X)) % 2
    for limit in (500, 10):
        monkeypatch.setattr(row_matrix, "GRAM", limit)
        problem = Problem(sparse.csr_array(X) if kind == "csr" else X, y, "logistic", L1(0.1), intercept=True)
        norm = np.linalg.norm(np.hstack([X, np.ones((len(X), 1))]), 2)
        assert problem.lipschitz() == pytest.approx(norm**2 / 4 / len(X), rel=1e-11)


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_lambda_max_separates_zero_from_nonzero(loss, intercept, grouped):
    """Just above lambda_max the null model is a fixed point of the prox-gradient step; just below it is not."""
    problem = make(loss, intercept)
    if grouped:
        problem = problem.with_regularizer(GroupLasso(0.01, groups=[[0, 1, 2], [3, 4], [5, 6]]))
    null = problem.null_model()
    assert np.all(null[:P] == 0)
    assert not intercept or problem.gradient(null)[P] == pytest.approx(0.0, abs=1e-15)
    top = problem.lambda_max()
    step = 1.0 / problem.lipschitz()
    for factor, zero in ((1 + 1e-9, True), (1 - 1e-9, False)):
        near = problem.with_lam(factor * top)
        moved = near.regularizer.prox(null - step * near.gradient(null), step)
        assert np.all(moved[:P] == 0) is np.True_ if zero else np.any(moved[:P] != 0)
        assert near.is_trivial() is zero


def test_problems_without_lambda_max_are_not_trivial():
    rng = np.random.default_rng(0)
    problem = Problem(rng.standard_normal((9, 3)), rng.standard_normal(9), "squared", Box(-1.0, 1.0))
    assert problem.is_trivial() is False
    with pytest.raises(NotImplementedError, match="lambda_max"):
        problem.lambda_max()


def test_with_lam_shares_data_and_constants():
    problem = make("logistic")
    constant = problem.lipschitz()
    other = problem.with_lam(0.5)
    assert other.X is problem.X and other.regularizer == L1(0.5) and problem.regularizer == L1(0.01)
    assert other.lipschitz() == constant and other.separable.lam[0] == 0.5 and problem.separable.lam[0] == 0.01


def test_multinomial_regularizers_act_on_rows_of_features():
    problem = make("multinomial", intercept=True)
    W = points(problem, 4)
    labels = np.array([0, 0, 1, 1, 1, 2, 2])
    by_label = problem.with_regularizer(GroupLasso(0.3, groups=labels))
    norms = np.stack([np.linalg.norm(W[:, :P][:, labels == g], axis=(1, 2)) for g in range(3)], axis=1)
    psi = by_label.value(W) - by_label.smooth_value(W)
    assert psi == pytest.approx(0.3 * norms @ np.sqrt(3 * np.bincount(labels)), rel=1e-12)
    rows = problem.with_regularizer(GroupLasso(0.3, axis=0))
    psi = rows.value(W) - rows.smooth_value(W)
    assert psi == pytest.approx(0.3 * np.sqrt(3) * np.linalg.norm(W[:, :P], axis=2).sum(axis=1), rel=1e-12)
    nuclear = problem.with_regularizer(NuclearNorm(0.3))
    psi = nuclear.value(W) - nuclear.smooth_value(W)
    assert psi == pytest.approx(0.3 * np.linalg.norm(W[:, :P], "nuc", axis=(1, 2)), rel=1e-12)


@pytest.mark.parametrize("intercept", [False, True])
def test_atom_noise_is_that_of_the_groups_coordinates(intercept):
    problem = make("logistic", intercept).with_regularizer(GroupLasso(0.1, groups=np.array([0, 1, 0, 2, 2, 1, 0])))
    w = points(problem, 1)[0]
    rows = problem.row_gradients(w, np.arange(N))
    for g in range(3):
        members = np.flatnonzero(np.array([0, 1, 0, 2, 2, 1, 0]) == g)
        centred = rows[:, members] - rows[:, members].mean(axis=0)
        assert problem.atom_noise(w)[g] == pytest.approx(np.sqrt((centred**2).sum(axis=1).mean()), rel=1e-12)


def test_constructor_leaves_the_callers_arrays_as_they_are():
    dense = np.random.default_rng(0).standard_normal((6, 3))
    messy = sparse.coo_array((np.ones(4), ([0, 0, 1, 2], [1, 1, 0, 2])), shape=(3, 3))
    unsorted = sparse.csr_array((np.ones(3), np.array([2, 0, 1]), np.array([0, 2, 2, 3])), shape=(3, 3))
    before = unsorted.indices.copy()
    assert not np.shares_memory(Problem(dense, np.arange(6) % 2, "logistic", L1(0.1)).X, dense)
    assert Problem(np.asfortranarray(dense), np.arange(6) % 2, "logistic", L1(0.1)).X.flags.c_contiguous
    assert Problem(messy, [0, 1, 1], "logistic", L1(0.1)).X.toarray()[0, 1] == 2.0
    assert Problem(unsorted, [0, 1, 1], "logistic", L1(0.1)).X.has_sorted_indices
    assert np.array_equal(unsorted.indices, before)
    integers = Problem(np.arange(6).reshape(3, 2), [[0], [1], [1]], "logistic", L1(0.1))
    assert integers.X.dtype == np.float64 and integers.y.shape == (3,)


def test_repr_names_all_parts():
    text = repr(make("multinomial", True, "csr", dtype=np.float32))
    assert (
        "30 x 7 csr float32" in text
        and "loss='multinomial'" in text
        and "L1(lam=0.01" in text
        and "intercept=True" in text
    )


def _x(value=None, at=(2, 1)):
    X = np.random.default_rng(0).standard_normal((6, 3))
    if value is not None:
        X[at] = value
    return X


Y = np.array([0, 1, 0, 1, 1, 0])
nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("X", "y", "options", "error", "message"),
    [
        (_x(nan), Y, {}, ValueError, r"X\[2, 1\] is nan"),
        (_x(-inf), Y, {}, ValueError, r"X\[2, 1\] is -inf"),
        (_x(inf).astype(np.float32), Y, {}, ValueError, r"X\[2, 1\] is inf"),
        (sparse.csr_array(_x(nan)), Y, {}, ValueError, r"X\[2, 1\] is nan"),
        (sparse.csc_matrix(_x(inf, (5, 2))), Y, {}, ValueError, r"X\[5, 2\] is inf"),
        (_x().ravel(), Y, {}, ValueError, r"X has shape \(18,\), but must be 2-D"),
        (np.zeros((0, 3)), [], {}, ValueError, r"X has shape \(0, 3\), but needs at least one row"),
        (np.zeros((6, 0)), Y, {}, ValueError, r"X has shape \(6, 0\)"),
        (_x().astype(str), Y, {}, TypeError, "X has dtype <U"),
        (_x().astype(complex), Y, {}, TypeError, "X has dtype complex128"),
        (_x(), Y[:5], {}, ValueError, "y has 5 entries, but X has 6 rows"),
        (_x(), np.zeros((6, 2)), {}, ValueError, r"y has shape \(6, 2\), but must be 1-D"),
        (_x(), np.where(np.arange(6) == 3, nan, Y), {}, ValueError, r"y\[3\] is nan"),
        (_x(), np.where(np.arange(6) == 3, inf, Y), {"loss": "squared"}, ValueError, r"y\[3\] is inf"),
        (_x(), np.where(np.arange(6) == 3, nan, Y), {"loss": "multinomial"}, ValueError, r"y\[3\] is nan"),
        (_x(), np.array([0, 1, None, 1, 0, 1], dtype=object), {}, ValueError, r"y\[2\] is None"),
        (_x(), np.arange(6), {}, ValueError, r"y has 6 distinct values \(0, 1, 2, 3, 4, \.\.\.\).*exactly two"),
        (_x(), np.ones(6), {}, ValueError, r"y has 1 distinct values \(1.0\)"),
        (_x(), np.array(list("abcabc")), {"loss": "squared"}, TypeError, "y has dtype <U1.*real numbers"),
        (_x(), np.ones(6), {"loss": "multinomial"}, ValueError, "y has 1 class"),
        (_x(), Y + 0.5, {"loss": "multinomial"}, ValueError, r"y\[0\]=0.5 is not a class label"),
        (_x(), Y, {"loss": "logistc"}, ValueError, "loss='logistc' is not known: did you mean 'logistic'"),
        (_x(), Y, {"loss": 3}, ValueError, "loss=3 is not known"),
        (_x(), Y, {"regularizer": 0.1}, TypeError, "regularizer=0.1 must be a Regularizer"),
        (_x(), Y, {"regularizer": None}, TypeError, "regularizer=None must be a Regularizer"),
        (_x(), Y, {"regularizer": NuclearNorm(0.1)}, ValueError, "NuclearNorm.*2-D points.*'logistic' is 1-D"),
        (_x(), Y, {"intercept": "yes"}, TypeError, "intercept='yes' must be True or False"),
        (_x(), Y, {"regularizer": GroupLasso(0.1, groups=[[0], [1]])}, ValueError, "group"),
        (_x(), Y, {"regularizer": GroupLasso(0.1, groups=np.array([0, 0, 1, 1]))}, ValueError, "group"),
        (_x(), Y, {"regularizer": GroupLasso(0.1, groups=2)}, ValueError, "group"),
    ],
)
def test_bad_input_is_one_clear_error(X, y, options, error, message):
    with pytest.raises(error, match=message):
        Problem(X, y, **{"loss": "logistic", "regularizer": L1(0.1), **options})


def _y(*first, dtype=object):
    return np.array([*first, *Y[len(first) :].tolist()], dtype=dtype)


MASKED_X, MASKED_Y = np.ma.array(_x()), np.ma.array(Y)
MASKED_X[4, 2] = MASKED_Y[3] = np.ma.masked
NAMES = ["age", "height", "sex"]
HUGE = 2**53


def _table(**columns):
    return pd.DataFrame(_x(), columns=NAMES).assign(**columns)


@pytest.mark.parametrize(
    ("X", "y", "loss", "error", "message"),
    [
        (MASKED_X, Y, "logistic", ValueError, r"X\[4, 2\] is masked: impute or remove the row"),
        (_x(), MASKED_Y, "logistic", ValueError, r"y\[3\] is masked: remove the row or give it a label"),
        (_x().astype(object), Y, "logistic", TypeError, "X has dtype object, but must hold real numbers"),
        ([[1, 2], [3, None], [5, 6]], [0, 1, 1], "logistic", ValueError, r"X\[1, 1\] is None: impute"),
        ([[1, 2], [3, pd.NA], [5, 6]], [0, 1, 1], "logistic", ValueError, r"X\[1, 1\] is <NA>: impute"),
        ([[1, 2], [3, {}], [5, 6]], [0, 1, 1], "logistic", TypeError, r"X\[1, 1\]=\{\} must be a real number"),
        ([[1, 2], [3]], [0, 1], "logistic", ValueError, "X is no array: its rows must all have the same length"),
        (_x(), [[0], [1, 1], 0, 0, 0, 0], "logistic", ValueError, "y is no array"),
        (_table(height=[1, 2, nan, 3, 4, 5]), Y, "logistic", ValueError, r"X\[2, 1\] \(column 'height'\) is nan"),
        (
            _table(age=pd.array([1, 2, 3, 4, None, 6], dtype="Int64")),
            *(Y, "logistic", ValueError, r"X\[4, 0\] \(column 'age'\) is nan"),
        ),
        (_table(sex=list("mfmfmf")), Y, "logistic", TypeError, "X has column 'sex' of dtype.*encode, convert"),
        (
            _table(age=pd.Series(list("abcabc"), dtype="category")),
            *(Y, "logistic", TypeError, "X has column 'age' of dtype category"),
        ),
        (_x(), _y(-inf), "logistic", ValueError, r"y\[0\] is -inf: remove the row"),
        (_x(), _y(-inf, dtype=float), "multinomial", ValueError, r"y\[0\] is -inf: remove the row"),
        (_x(), _y(0, 1, pd.NA), "logistic", ValueError, r"y\[2\] is <NA>"),
        (_x(), _y(0, pd.NaT), "multinomial", ValueError, r"y\[1\] is NaT"),
        (_x(), _y(0, None), "squared", ValueError, r"y\[1\] is None"),
        (_x(), Y.astype("datetime64[D]") + np.array([0, "NaT", 0, 0, 0, 0], "m8[D]"), "logistic", ValueError, "NaT"),
        (_x(), ["a", nan, "a", "a", "a", "a"], "logistic", ValueError, r"y\[1\] is nan"),
        (_x(), ["a", 1, "a", "1", "a", "a"], "multinomial", TypeError, r"types that have no order \(int, str\)"),
        (_x(), Y * 1j, "logistic", TypeError, "y has dtype complex128, but labels must be"),
        (_x(), Y * 1j, "squared", TypeError, "y has dtype complex128"),
        (_x(), [0, HUGE + 1, HUGE + 3, 0, 0, 0], "squared", ValueError, r"y\[1\] is 9007199254740993, beyond 2\*\*53"),
        (_x(), [2**63, 2**63 + 1, -1, -1, -1, -1], "logistic", ValueError, r"y\[0\] is 9.22.*e\+18, beyond 2\*\*53"),
        (_x(), _y(-1e300, dtype=float), "multinomial", ValueError, r"y\[0\] is -1e\+300, beyond"),
    ],
)
def test_missing_mixed_and_merged_entries_are_named(X, y, loss, error, message):
    with pytest.raises(error, match=message):
        Problem(X, y, loss, L1(0.1))


def test_tables_masks_and_labels_that_are_sound():
    whole = Problem(_x(), Y, "logistic", L1(0.1))
    for X in (pd.DataFrame(_x()), np.ma.array(_x()), _x().tolist()):
        assert np.array_equal(Problem(X, Y, "logistic", L1(0.1)).X, whole.X)
    mixed = Problem(_table(sex=[True, False] * 3, age=pd.array(range(6), dtype="Int64")), Y, "logistic", L1(0.1))
    assert mixed.X[:, 2].tolist() == [1.0, 0.0] * 3 and mixed.X[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert Problem(pd.DataFrame(_x(), dtype=np.float32), Y, "logistic", L1(0.1)).X.dtype == np.float32
    huge = Problem(_x(), [HUGE, HUGE + 1] * 3, "logistic", L1(0.1))
    assert huge.classes.tolist() == [HUGE, HUGE + 1]
    for labels in (["no", "yes"] * 3, [False, 1] * 3, [2**70, 2**71] * 3, np.arange(6) % 2 * np.timedelta64(1, "D")):
        assert Problem(_x(), labels, "logistic", L1(0.1)).y.tolist() == [-1.0, 1.0] * 3
    assert Problem(_x(), np.ma.array(Y), "multinomial", L1(0.1)).y.tolist() == Y.tolist()
    assert Problem(_x(), [1e149] * 6, "squared", L1(0.1)).y[0] == 1e149


def test_frames_and_series_are_paired_by_their_index_or_refused():
    X, y = pd.DataFrame(_x(), index=list("abcdef")), pd.Series(Y, index=list("abcdef"))
    whole = Problem(X, y, "logistic", L1(0.1))
    with pytest.raises(ValueError, match=r"y's index is not X's: row 0 is 'a' in X and 'f' in y.*y.loc\[X.index\]"):
        Problem(X, y[::-1], "logistic", L1(0.1))
    for same in (y[::-1].loc[X.index], y.to_numpy()):
        assert Problem(X, same, "logistic", L1(0.1)).digest == whole.digest


def test_bad_points_and_coordinates():
    problem = make("multinomial")
    with pytest.raises(ValueError, match=r"w has shape \(7,\), but its last axes must be \(7, 3\)"):
        problem.value(np.zeros(7))
    with pytest.raises(ValueError, match=r"w has shape \(3, 7\)"):
        problem.gradient(np.zeros((3, 7)))
    with pytest.raises(ValueError, match=r"one point of shape \(7, 3\)"):
        problem.hessian(np.zeros((2, 7, 3)))
    with pytest.raises(ValueError, match=r"coords must lie in \[0, 21\), but reach from 0 to 21"):
        problem.hessian(np.zeros((7, 3)), [0, 21])
    for rows in ([], [-1], [0, 30]):
        with pytest.raises(ValueError, match=r"must be indices in \[0, 30\)"):
            problem.minibatch_gradient(np.zeros((7, 3)), rows)
    with pytest.raises(ValueError, match="not separable"):
        problem.with_regularizer(NuclearNorm(0.1)).atom_noise(np.zeros((7, 3)))


def test_digest_is_that_of_the_data():
    one = make("logistic")
    assert one.digest == make("logistic").digest == one.with_lam(0.5).digest
    assert len({one.digest, make("logistic", True).digest, make("squared").digest, make("logistic", n=29).digest}) == 4
    narrow = make("logistic", kind="csr")
    X = narrow.X.copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    assert Problem(X, narrow.y, "logistic", L1(0.01)).digest == narrow.digest


def test_elastic_net_lambda_max_is_that_of_l1():
    problem = make("squared")
    assert problem.with_regularizer(ElasticNet(0.1, ridge=3.0)).lambda_max() == pytest.approx(
        problem.lambda_max(), rel=1e-15
    )


@pytest.mark.parametrize("form", [np.array, sparse.csr_array, sparse.csr_matrix])
def test_a_problem_stays_what_it_was_when_the_callers_arrays_change(form):
    dense = np.random.default_rng(0).standard_normal((50, 6))
    X, y = form(dense), dense[:, 0].copy()
    problem = Problem(X, y, "squared", L1(0.05))
    value = problem.value(np.ones(6))
    (X if form is np.array else X.data)[:] *= 7
    y[:] = 1.0
    assert problem.value(np.ones(6)) == value
    assert problem.digest == Problem(form(dense), dense[:, 0], "squared", L1(0.05)).digest
    assert Problem(X, y, "squared", L1(0.05)).digest != problem.digest


@pytest.mark.parametrize("form", [np.array, sparse.csr_array, pd.DataFrame])
def test_numbers_whose_squares_overflow_are_named(form):
    X, numbers = np.eye(6), np.arange(6.0)
    X[4, 2] = numbers[4] = 1e149
    assert np.isfinite(Problem(form(X), numbers, "squared", L1(0.1)).lipschitz())
    X[4, 2] = -1e155
    named = r"X\[4, 2\] \(column 2\)" if form is pd.DataFrame else r"X\[4, 2\]"
    for data, y, name in ((form(X), numbers, named), (form(np.eye(6)), X[:, 2], r"y\[4\]")):
        with pytest.raises(ValueError, match=rf"^{name} is -1e\+155: squares .* overflow.*, divide .* by a power"):
            Problem(data, y, "squared", L1(0.1))


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("name", ["X", "y"])
def test_writing_into_a_problem_is_noticed(kind, name, tmp_path):
    problem = make("squared", kind=kind).with_lam(0.2)
    problem.check_unchanged()
    study = Study({"p": problem}, {"m": RMDA()}, seeds=1, steps=5)
    values = problem.y if name == "y" else problem.X if kind == "dense" else problem.X.data
    values[-1] += 1.0
    for start in (
        problem.with_lam(0.3).check_unchanged,
        lambda: study.run(tmp_path / "out", progress=False),
        lambda: run_path(problem, tmp_path / "out", count=2, min_ratio=0.5, tol=1e-12),
    ):
        with pytest.raises(ValueError, match=r"X or y of Problem.* was changed .*: make a new Problem"):
            start()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("loss", ["squared", "logistic", "multinomial"])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_lambda_max_is_taken_at_the_fit_of_the_free_part(loss, intercept, ridge):
    """Just above it the solution has no penalized group, just below it has one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6))
    m = X[:, 0] * 3 + X[:, 3] + rng.normal(size=60)
    y = {"squared": m, "logistic": m + 3 * rng.normal(size=60) > 0, "multinomial": np.digitize(m, [-2, 2])}[loss]
    weights = [0, 0, 1, 1, 1, 1]
    penalty = ElasticNet(1.0, ridge, groups=1, weights=weights) if ridge else GroupLasso(1.0, groups=1, weights=weights)
    problem = Problem(X, y, loss, penalty, intercept=intercept)
    top = problem.lambda_max()
    if loss == "squared" and not intercept and not ridge:
        assert top == pytest.approx(1.399, abs=5e-4)
        assert not problem.with_lam(1.0).is_trivial()
    with pytest.warns(UserWarning, match="the solution is zero"):
        above = solve(problem.with_lam(1.0001 * top))
    below = solve(problem.with_lam(0.9999 * top))
    assert above.active == 2 + intercept
    assert below.active == 3 + intercept


@pytest.mark.parametrize("mean", [1e2, 1e8])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_lambda_max_keeps_its_digits_where_columns_lie_far_from_zero(mean, free, storage):
    """The gradient at the fit of the free part is that of the centred columns, here exact: multiples of 1/8."""
    rng = np.random.default_rng(1)
    Z = rng.integers(-24, 25, (40, 4)) / 8
    y = np.where(Z[:, 3] + rng.standard_normal(40) > 0, 1, 0)
    psi = GroupLasso(1.0, groups=np.arange(4), weights=[0.0 if free else 1.0, 1.0, 1.0, 1.0])
    near = Problem(Z, y, regularizer=psi, intercept=True).lambda_max()
    far = Problem(storage(Z + mean * np.array([1, -1, 3, 0])), y, regularizer=psi, intercept=True)
    assert far.lambda_max() == pytest.approx(near, rel=1e-12)
    w = far.null_model()
    assert np.count_nonzero(w) == 1 + free
