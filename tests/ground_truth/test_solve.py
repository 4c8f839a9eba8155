"""Solutions: known facts, planted problems, degenerate and awkward instances."""

import copy
import pickle

import numpy as np
import pytest
from scipy import sparse

from convex_bench import Problem, load, planted, solve
from convex_bench.ground_truth import gap_safe_off
from convex_bench.ground_truth.form import form_of
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.refine import accurate_gradient, refine
from convex_bench.ground_truth.working_set import evaluate
from manifold_id.certificate import certify
from manifold_id.regularizers import (
    L1,
    MCP,
    Box,
    ElasticNet,
    GroupLasso,
    NonnegativeL1,
    NuclearNorm,
    TotalVariation,
    Zero,
)
from manifold_id.regularizers.sparse_group import SparseGroupLasso


def data(n=120, p=24, seed=0, loss="logistic"):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    m = X[:, :6] @ np.array([1.0, -1.0, 0.7, 0.5, -0.4, 0.8]) + 0.5 + 0.5 * rng.standard_normal(n)
    if loss == "logistic":
        return X, np.sign(m)
    return X, (m if loss == "squared" else np.digitize(m, [-1.0, 1.0]))


def check(problem, solution, gap=1e-12, status="certified"):
    """Recompute the certificate from the problem alone."""
    assert solution.status == status
    assert (solution.proved.all() and np.isfinite(solution.radius)) == (status == "certified")
    again = certify(solution.w, problem.gradient(solution.w), problem.regularizer)
    assert again.status == "certified"
    np.testing.assert_array_equal(again.codes, solution.codes)
    assert solution.residual.max() <= 1e-12
    assert 0 <= solution.gap <= gap
    assert solution.value == problem.value(solution.w)


PENALTIES = {
    "l1": lambda outputs: L1(1.0),
    "group": lambda outputs: GroupLasso(1.0, groups=np.arange(24) // 4),
    "group-shuffled": lambda outputs: GroupLasso(1.0, groups=np.arange(24) % 5, weights=[1.0, 2.0, 0.5, 1.5, 1.0]),
    "elastic": lambda outputs: ElasticNet(1.0, 0.05),
    "elastic-group": lambda outputs: ElasticNet(1.0, 0.05, groups=np.arange(24) // 4),
    "sparse-group": lambda outputs: SparseGroupLasso(1.0, groups=np.arange(24) // 4),
}


@pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
@pytest.mark.parametrize("loss", ["logistic", "squared", "multinomial"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_every_penalty_and_loss_is_certified(penalty, loss, intercept):
    X, y = data(loss=loss)
    problem = Problem(X, y, loss, PENALTIES[penalty](1), intercept=intercept)
    problem = problem.with_lam(0.5 * problem.lambda_max())
    solution = solve(problem)
    check(problem, solution)
    assert 0 < solution.active < len(solution.codes)
    if loss == "multinomial" and intercept:  # adding a constant to all intercepts changes nothing
        assert solution.curvature == pytest.approx(0.0, abs=1e-10)
        assert solution.intercept.sum() == pytest.approx(0.0, abs=1e-10)
    else:
        assert solution.curvature > 1e-6
    assert solution.coef.shape[0] == 24
    # the same problem in other clothes: sparse, single precision, another start
    as_sparse = Problem(sparse.csr_array(X), y, loss, problem.penalty, intercept=intercept)
    np.testing.assert_allclose(solve(as_sparse).w, solution.w, atol=1e-11)
    start = np.random.default_rng(1).standard_normal(problem.shape)
    other = solve(problem, start=start)
    np.testing.assert_array_equal(other.codes, solution.codes)
    np.testing.assert_allclose(other.w, solution.w, atol=1e-11)


def test_perturbations_are_not_certified():
    X, y = data()
    problem = Problem(X, y, "logistic", GroupLasso(0.05, groups=4))
    w = solve(problem).w
    for at in (0, 23):
        moved = w.copy()
        moved[at] += 1e-6
        assert certify(moved, problem.gradient(moved), problem.regularizer).status == "failed"


def test_float32_rows_are_solved_as_they_are():
    X, y = data()
    single = Problem(X.astype(np.float32), y, "logistic", L1(0.05))
    same = Problem(X.astype(np.float32).astype(np.float64), y, "logistic", L1(0.05))
    check(single, solve(single))
    np.testing.assert_allclose(solve(single).w, solve(same).w, atol=1e-13)
    rows = Problem(sparse.csr_array(X.astype(np.float32)), y, "logistic", L1(0.05))
    np.testing.assert_allclose(solve(rows).w, solve(same).w, atol=1e-12)


def test_a9a_group_lasso_known_facts():
    X, y, groups = load("a9a")
    problem = Problem(X, y, "logistic", GroupLasso(1.0, groups=groups))
    top = problem.lambda_max()
    solution = solve(problem.with_lam(0.1 * top))
    check(problem.with_lam(0.1 * top), solution, gap=1e-11)
    assert solution.active == 5
    assert solution.relative_margin == pytest.approx(0.059, abs=5e-4)
    assert solution.smallest_active == pytest.approx(0.126, abs=5e-4)
    small = problem.with_lam(0.02 * top)
    check(small, solve(small), gap=1e-11)
    l1 = problem.with_regularizer(L1(1.0))
    for ratio in (0.1, 0.02):
        one = l1.with_lam(ratio * l1.lambda_max())
        status = "certified" if ratio == 0.1 else "degenerate"  # one-hot columns: the second one is not unique
        check(one, solve(one), gap=1e-11, status=status)


@pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
def test_mushrooms_has_collinear_columns(intercept):
    X, y, groups = load("mushrooms")
    problem = Problem(X, y, "logistic", GroupLasso(1.0, groups=groups), intercept=intercept)
    problem = problem.with_lam(0.05 * problem.lambda_max())
    check(problem, solve(problem), gap=1e-11)


def test_colon_cancer_more_columns_than_rows():
    X, y, _ = load("colon-cancer")
    for penalty in (L1(1.0), GroupLasso(1.0, groups=10)):
        problem = Problem(X, y, "logistic", penalty)
        problem = problem.with_lam(0.05 * problem.lambda_max())
        check(problem, solve(problem))


def test_digits_multinomial_groups():
    X, y, _ = load("digits")
    problem = Problem(X, y, "multinomial", GroupLasso(1.0, groups=list(range(64))), intercept=True)
    problem = problem.with_lam(0.2 * problem.lambda_max())
    solution = solve(problem)
    check(problem, solution, gap=1e-11)
    assert solution.intercept.shape == (10,)
    assert solution.curvature == pytest.approx(0.0, abs=1e-10)  # adding a constant to all intercepts changes nothing


@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("group_size", [1, 5])
def test_planted_solution_is_found(loss, group_size):
    instance = planted(n=300, groups=30, group_size=group_size, loss=loss, seed=3)
    solution = solve(instance.problem)
    check(instance.problem, solution)
    np.testing.assert_allclose(solution.w, instance.w, atol=1e-12)
    np.testing.assert_array_equal(solution.codes, instance.codes)
    assert solution.min_margin == pytest.approx(instance.min_margin, rel=1e-9)


@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("group_size", [1, 5])
@pytest.mark.parametrize("seed", range(3))
def test_planted_degenerate_instances_are_called_degenerate(loss, group_size, seed):
    instance = planted(n=300, groups=30, group_size=group_size, loss=loss, degenerate=True, seed=seed)
    for solver in ("auto", "cvxpy"):
        solution = solve(instance.problem, solver=solver)
        assert solution.status == "degenerate"
        assert solution.residual.max() <= 1e-12
        np.testing.assert_allclose(solution.w, instance.w, atol=1e-11)


def test_group_of_tiny_norm_is_settled_either_way():
    """A group whose norm at the solution passes through 0: certified on both sides, degenerate in the middle."""
    rng = np.random.default_rng(5)
    Q = np.linalg.qr(rng.standard_normal((40, 8)))[0] * np.sqrt(40)  # X^T X / n = I: w = prox(X^T y / n)
    direction = np.array([0.6, 0.8])
    expected = {-1e-5: "certified", -1e-13: "degenerate", 0.0: "degenerate", 1e-13: "degenerate", 1e-5: "certified"}
    for excess, status in expected.items():
        target = np.r_[3.0, 1.0, direction * (0.5 + excess), np.zeros(4)]
        problem = Problem(Q, Q @ target, "squared", GroupLasso(0.5, groups=2, weights=None))
        solution = solve(problem)
        assert solution.status == status, excess
        assert solution.codes[1] == (excess == 1e-5)


def test_support_that_goes_round_is_settled():
    """Two nearly equal columns of opposite merit, with a scale of 1e2 between columns."""
    rng = np.random.default_rng(6)
    X = rng.standard_normal((50, 10))
    X[:, 1] = X[:, 0] + 1e-6 * rng.standard_normal(50)
    X[:, 5] *= 1e2
    y = X[:, 0] - X[:, 2] + 0.1 * rng.standard_normal(50)
    for lam in (0.3, 0.03, 0.003):
        for loss, labels in (("squared", y), ("logistic", np.sign(y))):
            problem = Problem(X, labels, loss, L1(lam))
            solution = solve(problem)
            assert solution.status in ("certified", "degenerate")
            assert certify(solution.w, problem.gradient(solution.w), problem.regularizer).residual.max() <= 1e-12


def test_accurate_gradient_agrees_with_the_exact_one():
    """Integers and dyadic numbers make the squared loss's gradient exact; a plain sum of these rows is not."""
    rng = np.random.default_rng(9)
    X = rng.integers(-8, 9, (64, 5)) * 2.0 ** np.array([0, 20, -20, 10, 0])
    w = rng.integers(-8, 9, 5) * 2.0 ** np.array([0, -20, 20, -10, 0])
    y = rng.integers(-8, 9, 64).astype(float)
    for storage in (np.asarray, sparse.csr_array):
        problem = Problem(storage(X), y, "squared", L1(0.1), intercept=True)
        full = np.r_[w, 3.0]
        exact = np.r_[X.T @ (X @ w + 3.0 - y), (X @ w + 3.0 - y).sum()] / 64
        found = accurate_gradient(problem, full, np.zeros(6), np.arange(6))
        np.testing.assert_array_equal(found.gradient, exact)
    for loss in ("logistic", "multinomial"):
        other = Problem(
            rng.standard_normal((64, 5)),
            y if loss == "multinomial" else np.sign(y + 0.5),
            loss,
            L1(0.1),
            intercept=True,
        )
        point = rng.standard_normal(other.shape)
        found = accurate_gradient(other, point.ravel(), np.zeros(point.size), np.arange(point.size))
        np.testing.assert_allclose(found.gradient, other.gradient(point).ravel(), atol=1e-14)


def test_refinement_settles_the_last_digits():
    X, y = data()
    problem = Problem(X * np.logspace(0, 2, 24), y, "logistic", L1(0.02), intercept=True)
    w = solve(problem).w
    smooth, form = Smooth(problem), form_of(problem)
    rough = evaluate(smooth, form, w + 1e-14 * (w != 0))
    assert rough.worst > 1e-12
    fine = refine(smooth, form, rough, 1e-12)
    exact = accurate_gradient(problem, fine.at.w, fine.low, np.arange(fine.at.w.size))
    assert not fine.low.any()
    assert certify(fine.at.w, exact.gradient, problem.regularizer).residual.max() <= fine.worst <= 0.1 * rough.worst


def test_what_float64_cannot_hold_is_certified_with_the_part_below_its_last_digit():
    """With columns of mean 1e4 and spread 1 the rounding of w alone moves the gradient by more than 1e-12 lam."""
    rng = np.random.default_rng(10)
    X = rng.standard_normal((200, 12)) + 1e4 * (np.arange(12) > 5)
    problem = Problem(X, np.sign(X[:, 0] + 0.5 * rng.standard_normal(200)), "logistic", L1(0.002), intercept=True)
    solution = solve(problem)
    assert certify(solution.w, problem.gradient(solution.w), problem.regularizer).residual.max() > 1e-12
    assert solution.status == "certified"
    assert 0 < np.abs(solution.low / np.where(solution.w == 0, 1.0, solution.w)).max() <= 2**-52


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_duplicate_columns_share_the_weight(loss):
    X, y = data(loss=loss)
    single = solve(Problem(X, y, loss, L1(0.05)))
    problem = Problem(np.hstack([X, X[:, :1]]), y, loss, L1(0.05))
    solution = solve(problem)
    check(problem, solution, status="degenerate")  # the twins' shares are not determined: neither is proved
    assert not solution.proved[[0, 24]].any() and solution.proved[solution.codes == 0].all()
    assert solution.curvature == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(solution.w[[0, 24]], 0.5 * single.w[0], atol=1e-11)  # the solution of least norm
    uneven = np.r_[single.w, 0.0]
    np.testing.assert_allclose(solve(problem, start=uneven).w, solution.w, atol=1e-10)


def test_a_start_with_saturated_margins_is_no_trap():
    X, y, groups = load("mushrooms")
    problem = Problem(X, y, "logistic", GroupLasso(1.0, groups=groups), intercept=True)
    problem = problem.with_lam(1e-4 * problem.lambda_max())
    start = 10.0 * np.random.default_rng(0).standard_normal(problem.shape)
    solution = solve(problem, start=start)
    assert solution.status == "certified"
    assert solution.value == pytest.approx(solve(problem).value, rel=1e-12)


def test_separable_classes_and_small_lam():
    rng = np.random.default_rng(7)
    X = rng.standard_normal((40, 15))
    y = np.sign(X[:, 0] + 0.3 * X[:, 1])
    problem = Problem(X, y, "logistic", L1(1.0))
    for ratio in (1e-2, 1e-4, 1e-6):
        one = problem.with_lam(ratio * problem.lambda_max())
        check(one, solve(one))


def test_constant_columns_of_different_scale_and_zero_columns():
    X, y = data()
    X[:, 3] = 0.0
    X *= np.logspace(-3, 3, 24)
    problem = Problem(X, y, "logistic", L1(1.0), intercept=True)
    problem = problem.with_lam(0.01 * problem.lambda_max())
    solution = solve(problem)
    check(problem, solution)
    assert solution.w[3] == 0.0


def test_unpenalized_groups_stay_in():
    X, y = data()
    weights = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    problem = Problem(X, y, "logistic", GroupLasso(0.1, groups=4, weights=weights), intercept=True)
    solution = solve(problem)
    check(problem, solution)
    assert (solution.codes[[0, 3]] == 1).all()


def test_more_active_coordinates_than_a_dense_hessian_takes(monkeypatch):
    X, y = data(n=400, p=120, seed=8)
    X[np.abs(X) < 0.8] = 0.0
    monkeypatch.setattr("convex_bench.ground_truth.working_set.SPARSE", 10)
    for loss, labels in (("logistic", y), ("multinomial", (y > 0) + 1 * (X[:, 7] > 0))):
        for penalty in (L1(1.0), GroupLasso(1.0, groups=np.arange(120) // 6)):
            problem = Problem(sparse.csr_array(X), labels, loss, penalty, intercept=True)
            problem = problem.with_lam(0.2 * problem.lambda_max())
            check(problem, solve(problem))


def test_trivial_solution_warns_and_is_exact():
    X, y = data()
    problem = Problem(X, y, "logistic", L1(1.0), intercept=True)
    top = problem.lambda_max()
    with pytest.warns(UserWarning, match=r"lambda_max.*the solution is zero"):
        solution = solve(problem.with_lam(1.5 * top))
    assert not solution.coef.any()
    assert solution.intercept == pytest.approx(np.log((y > 0).sum() / (y < 0).sum()))
    assert solution.status == "certified"
    assert solution.smallest_active == np.inf
    below = solve(problem.with_lam(0.99 * top))  # no warning, which would be an error here
    assert below.coef.any()


@pytest.mark.parametrize(
    "penalty",
    [TotalVariation(0.05), TotalVariation(0.05, l1=0.02), Box(-0.3, 0.3), NonnegativeL1(0.05), Zero()],
    ids=lambda r: type(r).__name__,
)
@pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
def test_other_convex_penalties(penalty, intercept):
    X, y = data(loss="squared")
    problem = Problem(X, y, "squared", penalty, intercept=intercept)
    solution = solve(problem)
    assert solution.status == "certified"
    witness = solve(problem, solver="cvxpy")
    assert witness.witness >= solution.value - 1e-12
    assert witness.witness == pytest.approx(solution.value, rel=1e-6)
    np.testing.assert_array_equal(witness.codes, solution.codes)


def test_nuclear_norm():
    X, y = data(loss="multinomial")
    problem = Problem(X, y, "multinomial", NuclearNorm(1.0))
    problem = problem.with_lam(0.4 * problem.lambda_max())
    solution = solve(problem)
    assert solution.status == "certified"
    assert 0 < solution.active < 3


@pytest.mark.parametrize("penalty", ["l1", "group", "elastic", "elastic-group", "sparse-group"])
def test_gap_safe_rule_never_contradicts_and_ends_by_finding_all(penalty):
    X, y = data()
    problem = Problem(X, y, "logistic", PENALTIES[penalty](1), intercept=True)
    problem = problem.with_lam(0.3 * problem.lambda_max())
    solution = solve(problem)
    labels = np.arange(24) // 4 if "group" in penalty else np.arange(24)
    off = np.bincount(labels, weights=np.abs(solution.coef)) == 0
    found = []
    for t in (0.0, 0.5, 0.9, 0.99, 0.9999, 1.0):
        w = (1 - t) * problem.null_model() + t * solution.w
        screened = gap_safe_off(problem, w, slack=1e-15)[: len(off)]
        assert not (screened & ~off).any()
        found.append(int(screened.sum()))
    assert found[-1] == off.sum()
    assert found[0] < found[-1]


def test_solution_prints_stores_and_copies():
    X, y = data()
    problem = Problem(X, y, "logistic", L1(0.05), intercept=True)
    solution = solve(problem)
    text = str(solution)
    assert "certified" in text and "duality gap" in text and "restricted curvature" in text
    assert "certified" in repr(solution)
    again = pickle.loads(pickle.dumps(solution))
    np.testing.assert_array_equal(again.w, solution.w)
    assert again.lipschitz == solution.lipschitz == problem.lipschitz()
    assert copy.copy(solution).curvature == solution.curvature
    assert solution.coef.shape == (24,)
    assert solution.intercept == solution.w[-1]


def test_curvature_is_the_smallest_eigenvalue_on_the_support():
    X, y = data(loss="squared")
    problem = Problem(X, y, "squared", L1(0.1))
    solution = solve(problem)
    S = np.flatnonzero(solution.w)
    assert solution.curvature == pytest.approx(np.linalg.eigvalsh(X[:, S].T @ X[:, S] / 120)[0], rel=1e-10)
    grouped = Problem(X, y, "squared", GroupLasso(0.1, groups=24))
    one = solve(grouped)
    r = np.linalg.norm(one.w)
    H = X.T @ X / 120 + 0.1 * np.sqrt(24) / r * (np.eye(24) - np.outer(one.w, one.w) / r**2)
    assert one.curvature == pytest.approx(np.linalg.eigvalsh(H)[0], rel=1e-9)


def test_errors():
    X, y = data()
    problem = Problem(X, y, "logistic", L1(0.05))
    with pytest.raises(TypeError, match=r"must be a convex_bench\.Problem"):
        solve((X, y))
    with pytest.raises(ValueError, match="did you mean 'cvxpy'"):
        solve(problem, solver="cvxpi")
    with pytest.raises(ValueError, match=r"tol=0\.001"):
        solve(problem, tol=1e-3)
    with pytest.raises(ValueError, match=r"start has shape \(3,\)"):
        solve(problem, start=np.zeros(3))
    with pytest.raises(ValueError, match="start must be finite"):
        solve(problem, start=np.full(24, np.inf))
    with pytest.raises(ValueError, match="is not convex"):
        solve(Problem(X, y, "logistic", MCP(0.05)))
    with pytest.raises(ValueError, match="sum of norms"):
        gap_safe_off(Problem(X, y, "logistic", Box(-1.0, 1.0)), np.zeros(24))
