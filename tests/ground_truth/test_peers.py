"""Our solutions beside cvxpy, scikit-learn and skglm: the same objective, and the same support."""

import warnings

import numpy as np
import pytest
from scipy import sparse

from convex_bench import Problem, solve
from manifold_id.regularizers import L1, ElasticNet, GroupLasso
from manifold_id.regularizers.sparse_group import SparseGroupLasso


def data(loss, n=100, p=20, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    m = X[:, :4] @ np.array([1.5, -1.0, 0.8, 0.5]) + 0.3 + rng.logistic(size=n) * 0.7
    if loss == "squared":
        return X, m
    return X, (np.sign(m) if loss == "logistic" else np.digitize(m, [-1.0, 1.0]))


@pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
@pytest.mark.parametrize("loss", ["logistic", "squared", "multinomial"])
@pytest.mark.parametrize(
    "penalty",
    [
        L1(1.0),
        GroupLasso(1.0, groups=np.arange(20) // 4),
        ElasticNet(1.0, 0.1),
        SparseGroupLasso(1.0, groups=np.arange(20) // 4),
    ],
    ids=lambda r: type(r).__name__,
)
def test_cvxpy(penalty, loss, intercept):
    problem = Problem(*data(loss), loss, penalty, intercept=intercept)
    problem = problem.with_lam(0.2 * problem.lambda_max())
    ours, witness = solve(problem), solve(problem, solver="cvxpy")
    assert ours.status == witness.status == "certified"
    assert witness.method.startswith("cvxpy (Clarabel)")
    assert -1e-14 <= witness.witness - ours.value <= 1e-6  # its own answer, never better than ours
    np.testing.assert_array_equal(witness.codes, ours.codes)
    np.testing.assert_allclose(witness.w, ours.w, atol=1e-11)


def test_scs_takes_over_where_clarabel_fails(monkeypatch):
    monkeypatch.setattr("convex_bench.ground_truth.model.SOLVERS", ("NO_SUCH_SOLVER", "SCS"))
    problem = Problem(*data("logistic"), "logistic", L1(0.05))
    witness = solve(problem, solver="cvxpy")
    assert "Scs" in witness.method
    assert witness.status == "certified"


def sklearn_fit(model, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn deprecates arguments that older releases need
        return model.fit(X, y)


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
def test_sklearn_lasso_and_elastic_net(storage):
    linear = pytest.importorskip("sklearn.linear_model")
    X, y = data("squared")
    lam, ridge = 0.1, 0.05
    ours = solve(Problem(storage(X), y, "squared", ElasticNet(lam, ridge), intercept=True))
    theirs = sklearn_fit(
        linear.ElasticNet(alpha=lam + ridge, l1_ratio=lam / (lam + ridge), tol=1e-14, max_iter=10**6), X, y
    )
    np.testing.assert_allclose(ours.coef, theirs.coef_, atol=1e-9)
    np.testing.assert_array_equal(ours.coef != 0, theirs.coef_ != 0)
    assert ours.intercept == pytest.approx(theirs.intercept_, abs=1e-9)
    ours = solve(Problem(storage(X), y, "squared", L1(lam)))
    theirs = sklearn_fit(linear.Lasso(alpha=lam, fit_intercept=False, tol=1e-14, max_iter=10**6), X, y)
    np.testing.assert_array_equal(ours.w != 0, theirs.coef_ != 0)


def test_sklearn_logistic():
    linear = pytest.importorskip("sklearn.linear_model")
    X, y = data("logistic")
    problem = Problem(X, y, "logistic", L1(0.05))
    ours = solve(problem)
    model = linear.LogisticRegression(
        C=1 / (100 * 0.05), l1_ratio=1.0, solver="liblinear", fit_intercept=False, tol=1e-12, max_iter=10_000
    )
    theirs = sklearn_fit(model, X, y).coef_.ravel()
    assert problem.value(theirs) == pytest.approx(ours.value, rel=1e-9)
    np.testing.assert_array_equal(theirs != 0, ours.w != 0)


def test_skglm_logistic():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        skglm = pytest.importorskip("skglm")
        X, y = data("logistic")
        theirs = skglm.SparseLogisticRegression(alpha=0.05, fit_intercept=False, tol=1e-12).fit(X, y).coef_.ravel()
    problem = Problem(X, y, "logistic", L1(0.05))
    ours = solve(problem)
    assert problem.value(theirs) >= ours.value - 1e-15
    assert problem.value(theirs) == pytest.approx(ours.value, rel=1e-12)
    np.testing.assert_array_equal(theirs != 0, ours.w != 0)
