"""The compiled passes over sparse rows, and Newton's method by conjugate gradients where much is active."""

import numpy as np
import pytest
from scipy import sparse

from convex_bench import Problem, solve
from convex_bench.ground_truth import quadratic, working_set
from convex_bench.ground_truth.form import form_of
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.working_set import evaluate, model_at
from manifold_id.certificate import certify
from manifold_id.regularizers import L1, GroupLasso, SparseGroupLasso


def rows(n, p, density, seed=0):
    random = np.random.default_rng(seed)
    return sparse.random_array((n, p), density=density, rng=random, data_sampler=random.standard_normal).tocsr()


def problem_of(loss, penalty, intercept=False, n=150, p=30):
    X = rows(n, p, 0.3)
    margin = X @ np.r_[np.ones(8), np.zeros(p - 8)] + 0.3 * np.random.default_rng(1).standard_normal(n)
    y = {"logistic": np.sign(margin), "squared": margin, "multinomial": np.digitize(margin, [-0.5, 0.5])}[loss]
    problem = Problem(X, y, loss, regularizer=penalty, intercept=intercept)
    return problem.with_lam(0.2 * problem.lambda_max())


LOSSES = ("logistic", "squared", "multinomial")


@pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])
@pytest.mark.parametrize("loss", LOSSES)
def test_products_and_gram_are_the_problems_own(loss, intercept):
    problem = problem_of(loss, L1(1.0), intercept)
    smooth, form = Smooth(problem), form_of(problem)
    random = np.random.default_rng(2)
    w = np.where(random.random(form.size) < 0.5, random.standard_normal(form.size), 0.0)
    at = evaluate(smooth, form, w)
    W = w.reshape(problem.shape)
    assert at.value == pytest.approx(problem.smooth_value(W), rel=1e-15)
    np.testing.assert_allclose(at.gradient, problem.gradient(W).ravel(), rtol=1e-12, atol=1e-15)
    groups = np.flatnonzero(random.random(len(form.lam)) < 0.6)
    expected = problem.hessian(W, groups)
    np.testing.assert_allclose(smooth.gram(groups, smooth.curvature(at.margins)), expected, rtol=1e-11, atol=1e-15)
    model = quadratic.ColumnModel(smooth, groups, smooth.curvature(at.margins), *model_parts(form, at, groups))
    v = random.standard_normal(len(groups))
    np.testing.assert_allclose(model._product(np.arange(len(groups)), v), expected @ v, rtol=1e-11, atol=1e-14)


def model_parts(form, at, groups):
    _, arrays = working_set.restrict(form, groups)
    return form.ridge[groups], at.gradient[groups], at.w[groups], arrays


def test_extreme_margins_give_finite_parts():
    problem = problem_of("logistic", L1(1.0))
    margins = np.linspace(-1e4, 1e4, problem.n)
    smooth = Smooth(problem)
    loss, y = problem.loss, problem.y
    assert smooth.value(margins) == pytest.approx(loss.value(margins, y).mean(), rel=1e-15)
    np.testing.assert_allclose(smooth.curvature(margins)[:, 0], loss.curvature(margins, y), rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(smooth.gradient(margins), problem.adjoint(loss.derivative(margins, y)), atol=1e-15)


@pytest.mark.parametrize("penalty", [L1(1.0), GroupLasso(1.0, groups=5), SparseGroupLasso(1.0, groups=5)], ids=repr)
@pytest.mark.parametrize("loss", LOSSES)
def test_iterative_newton_finds_the_same_solution(loss, penalty, monkeypatch):
    problem = problem_of(loss, penalty, intercept=loss != "multinomial")
    dense = solve(problem)
    monkeypatch.setattr(working_set, "SPARSE", 0)
    monkeypatch.setattr(quadratic.GramModel, "__init__", None)  # from here on no Hessian may be formed
    again = solve(problem)
    assert dense.status == again.status == "certified"
    np.testing.assert_array_equal(again.codes, dense.codes)
    np.testing.assert_allclose(again.w, dense.w, rtol=0, atol=1e-9 * np.abs(dense.w).max())


def test_conjugate_gradients_reach_the_accuracy_asked_for():
    problem = problem_of("logistic", GroupLasso(1.0, groups=5))
    smooth, form = Smooth(problem), form_of(problem)
    at = evaluate(smooth, form, np.random.default_rng(0).standard_normal(form.size))
    groups = np.arange(len(form.lam))
    coords, exact = model_at(smooth, form, at, groups)
    P, g = smooth.curvature(at.margins), at.gradient[coords]
    model = quadratic.ColumnModel(smooth, coords, P, form.ridge[coords], g, at.w[coords], exact.arrays)
    S, rhs = np.arange(len(coords)), np.random.default_rng(1).standard_normal(len(coords))
    for share in (1e-2, 1e-8):
        x, flat = model.solve(S, None, rhs, share)
        assert flat is None
        assert np.linalg.norm(exact.H @ x - rhs) <= 2 * share * np.linalg.norm(rhs)


def test_more_than_two_thousand_active_coordinates():
    X = rows(4000, 2400, 0.01)
    random = np.random.default_rng(5)
    y = X @ random.choice([-3.0, 3.0], 2400) + random.standard_normal(4000)
    problem = Problem(X, y, "squared", regularizer=L1(1.0))
    problem = problem.with_lam(0.02 * problem.lambda_max())
    solution = solve(problem)
    assert solution.active > 2000
    again = certify(solution.w, problem.gradient(solution.w), problem.regularizer)
    assert solution.status == again.status == "certified"
    assert 0 <= solution.gap <= 1e-12
