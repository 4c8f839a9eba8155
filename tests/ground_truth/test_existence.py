"""Problems without a minimizer are told from those with one, and the direction is right."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from convex_bench import Problem, Study, solve
from convex_bench.ground_truth.existence import recession_direction
from manifold_id.methods import ProxSGD
from manifold_id.regularizers import L1, Box, ElasticNet, GroupLasso, NonnegativeL1, TotalVariation

FOUR = Problem([[1.0], [2.0], [-1.0], [-2.0]], [1, 1, 0, 0], "logistic", L1(0.0))
FREE_COLUMN = Problem(
    [[-2.0, 1], [-1, -1], [1, 1], [2, -1]],
    [0, 0, 1, 1],
    regularizer=GroupLasso(0.1, groups=[0, 1], weights=[0, 1]),
)


@pytest.mark.parametrize("problem", [FOUR, FREE_COLUMN], ids=["all free", "a free column"])
def test_separable_problems_are_unattained(problem):
    solution = solve(problem)
    assert solution.status == "unattained"
    np.testing.assert_array_equal(solution.direction, np.eye(problem.shape[0])[0])
    assert solution.value == pytest.approx(0.0, abs=1e-12)
    assert solution.radius == np.inf and not solution.proved.any()
    assert "penalize" in solution.reason


def test_iris_has_no_multinomial_fit_but_two_of_its_classes_have_one():
    X, y = load_iris(return_X_y=True)
    v = recession_direction(Problem(X, y, "multinomial", L1(0.0)))
    t = X @ v
    assert all((t[i, y[i]] - t[i] >= -1e-9).all() for i in range(len(y)))
    assert (t[:50, 0] > t[:50, 1] + 1e-3).all()
    assert recession_direction(Problem(X[50:], y[50:], "logistic", L1(0.0), intercept=True)) is None


def test_quasi_separation_by_one_row_and_badly_scaled_columns():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal((50, 3)), np.eye(50)[:, 0]]) * [1e-6, 1.0, 1e6, 1e3]
    y = rng.integers(0, 2, 50)
    v = recession_direction(Problem(X, y, "logistic", L1(0.0), intercept=True))
    np.testing.assert_allclose(v, [0, 0, 0, 2.0 * y[0] - 1.0, 0], atol=1e-9)
    assert recession_direction(Problem(X[:, :3], y, "logistic", L1(0.0), intercept=True)) is None


@pytest.mark.parametrize("penalty", [L1(0.1), ElasticNet(0.0, 0.1), GroupLasso(0.1, groups=1)])
def test_a_penalty_or_a_ridge_on_every_column_gives_a_minimizer(penalty):
    assert recession_direction(FOUR.with_regularizer(penalty)) is None


def test_the_constants_of_total_variation_are_free():
    X = np.abs(np.random.default_rng(1).standard_normal((20, 4)))
    y = np.arange(20) % 2
    assert recession_direction(Problem(X, y, "logistic", TotalVariation(0.1))) is None
    separated = Problem(X * (2.0 * y - 1.0)[:, None], y, "logistic", TotalVariation(0.1))
    np.testing.assert_allclose(recession_direction(separated), np.ones(4))


def test_a_study_refuses_a_problem_without_a_solution(tmp_path):
    study = Study({"four": FOUR}, {"S": ProxSGD(lr=0.1)}, seeds=1, steps=10)
    with pytest.raises(RuntimeError, match="'four' has no solution"):
        study.run(out=tmp_path, progress=False)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize(
    ("penalty", "exists"),
    [
        (NonnegativeL1(0.0), False),
        (NonnegativeL1(0.1), True),
        (Box(0.0, np.inf), False),
        (Box(-np.inf, 0.0), True),
        (Box(-np.inf, 1.0), True),
        (Box((-1.0, -np.inf), (np.inf, 0.0)), False),
        (Box(-1.0, 1.0), True),
    ],
    ids=str,
)
def test_bounds_on_one_side_are_open_on_the_other(penalty, exists, intercept):
    """The first column separates the rows, its negative does not."""
    X, y = [[1.0, 0.0], [2.0, 1.0], [-1.0, 0.5], [-2.0, 0.0]], [1, 1, -1, -1]
    direction = recession_direction(Problem(X, y, regularizer=penalty, intercept=intercept))
    assert (direction is None) is exists
    if not exists:
        assert direction[0] > 0 and (np.array(y) * (X @ direction[:2] + (direction[2] if intercept else 0)) >= 0).all()


def test_no_gap_is_claimed_where_free_columns_are_dependent_up_to_rounding():
    """A dual point must be orthogonal to them exactly; along them F may still fall by more than any rounding."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((15, 1))
    near = np.hstack([x, x * (1 + 1e-15), rng.standard_normal((15, 2))])
    y = rng.standard_normal(15)
    assert solve(Problem(near, y, "squared", L1(0.0))).gap == np.inf
    assert solve(Problem(near[:, 1:], y, "squared", L1(0.0))).gap < 1e-14
