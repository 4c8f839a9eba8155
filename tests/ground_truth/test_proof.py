"""What a certificate claims, held to exact arithmetic: residual, radius, proved atoms; and badly scaled problems."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from numba import njit
from scipy.optimize import nnls

from convex_bench import Problem, solve
from convex_bench.ground_truth.doubled import EXP, ROOTS, _exp, accurate_gradient
from convex_bench.ground_truth.form import form_of
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.proof import _sum_square, prove
from convex_bench.ground_truth.refine import judge
from convex_bench.ground_truth.working_set import evaluate
from manifold_id.regularizers import L1, ElasticNet, GroupLasso, NonnegativeL1, SparseGroupLasso


def exact_gradient(problem, w, low):
    """The gradient of the squared loss in rational numbers, and the size of its terms."""
    X = [[Fraction(float(a)) for a in row] + [Fraction(1)] * problem.intercept for row in problem.X]
    point = [Fraction(float(a)) + Fraction(float(b)) for a, b in zip(w, low, strict=True)]
    d = [
        sum(a * b for a, b in zip(row, point, strict=True)) - Fraction(float(t))
        for row, t in zip(X, problem.y, strict=True)
    ]
    columns = range(len(point))
    g = [sum(row[j] * r for row, r in zip(X, d, strict=True)) / problem.n for j in columns]
    return g, [sum(abs(row[j] * r) for row, r in zip(X, d, strict=True)) / problem.n for j in columns]


def true_residual(problem, solution):
    """The largest relative residual for l1, exactly."""
    g, size = exact_gradient(problem, solution.w, solution.low)
    lam, worst = Fraction(problem.penalty.lam), 0
    for j, (slope, natural) in enumerate(zip(g, size, strict=True)):
        if j == problem.n_features:
            worst = max(worst, abs(slope) / natural)
        elif solution.w[j] == 0:
            worst = max(worst, (abs(slope) - lam) / lam)
        else:
            worst = max(worst, abs(slope + lam * (1 if solution.w[j] > 0 else -1)) / lam)
    return float(worst)


@pytest.mark.parametrize("scale", [1e-8, 1e-5, 1.0, 1e5])
def test_claimed_residuals_are_true_whatever_the_scale(scale):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        problem = Problem(
            scale * rng.standard_normal((8, 3)), rng.standard_normal(8), "squared", L1(1.0), intercept=True
        )
        problem = problem.with_lam(0.1 * problem.lambda_max())
        solution = solve(problem)
        assert solution.status == "certified"
        assert true_residual(problem, solution) <= solution.residual.max() <= 1e-12


def test_columns_scaled_over_twelve_decades_are_certified():
    rng = np.random.default_rng(1)
    penalties = [L1(1.0), GroupLasso(1.0, groups=2), ElasticNet(1.0, 0.1)]
    for k, loss in enumerate(["squared", "logistic", "multinomial"] * 3):
        X = rng.standard_normal((50, 8)) * 10.0 ** rng.uniform(-6, 6, 8)
        m = (X / np.abs(X).max(axis=0)) @ rng.standard_normal(8) + 0.5 * rng.standard_normal(50)
        y = {"squared": m, "logistic": m > 0, "multinomial": np.digitize(m, [-0.5, 0.5])}[loss]
        problem = Problem(X, y, loss, penalties[k // 3], intercept=True)
        solution = solve(problem.with_lam(0.1 * problem.lambda_max()))
        assert solution.status == "certified", (loss, penalties[k // 3], solution.reason)


@pytest.mark.parametrize("scale", [1e-8, 1e-5])
def test_tiny_columns_beside_an_intercept_are_solved_from_scaled_ones(scale):
    """Newton's method from zero fails on most of these."""
    rng = np.random.default_rng(1)
    for psi in (L1(1.0), SparseGroupLasso(1.0, groups=4)):
        X = scale * rng.standard_normal((40, 8))
        y = np.digitize(X[:, 0] / scale + 0.3 * rng.standard_normal(40), [-0.5, 0.5])
        problem = Problem(X, y, "multinomial", psi, intercept=True)
        solution = solve(problem.with_lam(0.02 * problem.lambda_max()))
        assert solution.status == "certified", solution.reason


def test_a_year_column_is_certified_with_the_part_below_the_last_digit():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal((200, 4)), np.round(2000 + 5 * rng.standard_normal(200))])
    problem = Problem(X, X @ [1, -2, 0, 0, 0.1] + 0.1 * rng.standard_normal(200), "squared", L1(0.001), intercept=True)
    solution = solve(problem)
    assert solution.status == "certified"
    assert true_residual(problem, solution) <= 1e-12
    assert (np.abs(solution.low) <= 2.0**-52 * np.abs(solution.w)).all()


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_ball_contains_the_solution(loss):
    """From points at many distances: the ball is wide enough, and a proved atom is right."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 6))
    m = X @ [2.0, -1.0, 0, 0, 0, 0.5] + 0.3 * rng.standard_normal(60)
    for penalty in (L1(0.1), GroupLasso(0.1, groups=2)):
        problem = Problem(X, m if loss == "squared" else m > 0, loss, penalty)
        truth = solve(problem)
        smooth, form = Smooth(problem), form_of(problem)
        proofs = 0
        for distance in 10.0 ** np.arange(-12, 1.0):
            w = truth.w + distance * rng.standard_normal(6) * (truth.w != 0)
            proof = prove(smooth, form, judge(smooth, form, evaluate(smooth, form, w)))
            if np.isfinite(proof.radius):
                proofs += 1
                assert np.linalg.norm(w - truth.w) <= proof.radius + truth.radius
                assert proof.radius <= 1e5 * distance
        assert 8 <= proofs < 13  # and far away nothing is proved by the ball


def test_the_error_bound_of_the_gradient_is_a_bound():
    rng = np.random.default_rng(4)
    for _ in range(20):
        X = rng.standard_normal((30, 5)) * 10.0 ** rng.uniform(-6, 6, 5)
        problem = Problem(X, rng.standard_normal(30), "squared", L1(0.1), intercept=True)
        w = np.append(rng.standard_normal(5) / np.abs(X).max(axis=0), 1.0)
        low = 1e-17 * w * rng.standard_normal(6)
        found = accurate_gradient(problem, w, low, np.arange(6))
        exact, size = exact_gradient(problem, w, low)
        for j in range(6):
            assert abs(Fraction(float(found.gradient[j])) - exact[j]) <= Fraction(float(found.error[j]))
            assert found.error[j] <= 4e-16 * abs(float(exact[j])) + 1e-28 * float(size[j])


@pytest.mark.parametrize("loss", ["squared", "logistic", "multinomial"])
@pytest.mark.parametrize("mean", [1e3, 1e6, 1e8])
def test_columns_far_from_zero_are_solved_as_their_centred_twins(loss, mean):
    rng = np.random.default_rng(0)
    Z = np.round(rng.standard_normal((200, 5)) * 2**10) / 2**10  # Z + mean is exact
    m = Z @ [1.0, -2.0, 0.0, 0.0, 0.5] + rng.standard_normal(200)
    y = {"squared": m, "logistic": m > 0, "multinomial": np.digitize(m, [-1.0, 1.0])}[loss]
    near, far = (solve(Problem(X, y, loss, L1(0.05), intercept=True)) for X in (Z, Z + mean))
    assert near.status == far.status == "certified"
    np.testing.assert_array_equal(near.codes, far.codes)
    np.testing.assert_allclose(far.coef, near.coef, rtol=1e-9)
    if loss == "squared":
        assert true_residual(Problem(Z + mean, y, loss, L1(0.05), intercept=True), far) <= 1e-12
    if loss != "multinomial":  # the sum over classes of the intercepts is free
        active = np.append(near.codes[:-1] > 0, True)
        X = np.hstack([Z + mean, np.ones((200, 1))])[:, active]
        h = np.ones(200) if loss == "squared" else near_curvature(Z, near)
        assert far.curvature == pytest.approx(smallest_eigenvalue(X, h), rel=1e-3 if mean == 1e8 else 1e-6)


def near_curvature(Z, solution):
    m = Z @ solution.coef + solution.intercept
    return 1.0 / (2.0 + np.exp(m) + np.exp(-m))


def smallest_eigenvalue(X, h):
    """1 / |inverse| from a QR factorization, which does not square the condition."""
    R = np.linalg.qr(X * np.sqrt(h / len(X))[:, None])[1]
    return np.linalg.svd(R, compute_uv=False)[-1] ** 2


def test_exp_in_double_double_is_as_accurate_as_its_bound():
    compiled = njit(lambda a, b: _exp(a, b, ROOTS))
    rng = np.random.default_rng(5)
    with localcontext() as context:
        context.prec = 60
        for x in np.r_[0.0, -np.log(2) / 128, -(10.0 ** rng.uniform(-20, np.log10(690), 3000))]:
            low = float(x * rng.uniform(-1, 1) * 2.0**-54)
            hi, lo = compiled(float(x), low)
            exact = (Decimal(float(x)) + Decimal(low)).exp()
            assert abs(Decimal(hi) + Decimal(lo) - exact) <= exact * Decimal(EXP)


def test_classes_of_unequal_curvature_are_bounded_from_below():
    """On the plane where a row's sum stays the Hessian is at least the smallest eigenvalue with `_sum_square`."""
    rng = np.random.default_rng(0)
    too_large = 0
    for _ in range(50):
        p = rng.dirichlet([5.0, 0.5, 0.3])
        D = np.sqrt(p * (1 - p))
        B = (np.diag(p) - np.outer(p, p)) / D / D[:, None]
        plane = np.linalg.svd((1.0 / D)[None])[2][1:]  # x = D z with sum z = 0
        true = np.linalg.eigvalsh(plane @ B @ plane.T)[0]
        assert np.linalg.eigvalsh(B + _sum_square(D))[0] <= true * (1 + 1e-12)
        too_large += np.linalg.eigvalsh(B + 1 / 3)[0] > true * (1 + 1e-9)
    assert too_large > 10  # what equal classes would allow


@pytest.mark.parametrize("loss", ["squared", "logistic", "multinomial"])
@pytest.mark.parametrize("scaling", ["plain", "scaled", "far"])
def test_nonnegative_weights_beside_a_free_intercept(loss, scaling):
    rng = np.random.default_rng(5)
    Z = rng.standard_normal((60, 6))
    m = Z @ [1.0, -1.0, 0.5, 0, 0, 2.0] + 0.3 * rng.standard_normal(60) + 1.0
    X = {"plain": Z, "scaled": Z * 10.0 ** np.linspace(-6, 6, 6), "far": Z + 1e4}[scaling]
    y = {"squared": m, "logistic": m > 0, "multinomial": np.digitize(m, [-0.5, 1.5])}[loss]
    problem = Problem(X, y, loss, NonnegativeL1(1.0), intercept=True)
    problem = problem.with_lam(0.1 * problem.lambda_max())
    solution = solve(problem)
    assert solution.status == "certified", solution.reason
    assert (solution.coef >= 0).all() and (solution.coef == 0).any() and np.any(solution.intercept != 0)
    if scaling == "plain":
        witness = solve(problem, solver="cvxpy").witness
        assert solution.value <= witness <= solution.value + 1e-7


def test_nonnegative_least_squares_without_a_penalty():
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((50, 8)), rng.standard_normal(50)
    solution = solve(Problem(X, y, "squared", NonnegativeL1(0.0)))
    assert solution.status == "certified" and solution.gap <= 1e-14
    np.testing.assert_allclose(solution.w, nnls(X, y)[0], atol=1e-12)


def test_a_support_that_is_too_large_for_the_proof_is_named(monkeypatch):
    for module in ("proof", "driver"):
        monkeypatch.setattr(f"convex_bench.ground_truth.{module}.LARGEST", 3)
    X = np.random.default_rng(0).standard_normal((30, 5))
    solution = solve(Problem(X, X @ np.arange(1.0, 6.0), "squared", L1(1e-3)))
    assert solution.status == "degenerate"
    assert "up to 3 coordinates, this one has 5" in solution.reason
