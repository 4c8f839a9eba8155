"""The regularizers that are not a scalar penalty on groups: total variation, box, simplex, binary, free rows."""

import math

import cvxpy as cp
import numpy as np
import pytest
import torch

from manifold_id.regularizers.binary import Binary
from manifold_id.regularizers.box import Box, LInfBall
from manifold_id.regularizers.lasso import L1, ElasticNet, GroupLasso
from manifold_id.regularizers.simplex import Simplex
from manifold_id.regularizers.sparse_group import SparseGroupLasso
from manifold_id.regularizers.total_variation import TotalVariation
from manifold_id.regularizers.unpenalized import Unpenalized, Zero

N = 6
BOUNDS = (-0.5, -math.inf, 0.2, -1.0, 0.0, -0.1), (0.5, 0.3, 0.2, math.inf, 0.4, 1.0)
CONVEX = [
    TotalVariation(0.4),
    TotalVariation(0.4, l1=0.3),
    TotalVariation(0.0, l1=0.3),
    Box(-0.3, 0.8),
    Box(*BOUNDS),
    LInfBall(0.6),
    Simplex(),
    Simplex(2.5),
    SparseGroupLasso(0.4, [0, 0, 1, 1, 1, 0]),
    SparseGroupLasso(0.6, 3, l1_ratio=0.9, weights=None),
    SparseGroupLasso(0.6, [0, 1, 1, 2, 2, 2], l1_ratio=0.2, weights=[1.0, 0.0, 0.5]),
    SparseGroupLasso(0.5, 2, l1_ratio=1.0),
    Zero(),
    Unpenalized(SparseGroupLasso(0.4, 2)),
    Unpenalized(TotalVariation(0.4, l1=0.3)),
    Unpenalized(Simplex(), rows=2),
]
PROJECTIONS = [r for r in CONVEX if isinstance(r, (Box, Simplex))]
ALL = [*CONVEX, Binary(0.4), Unpenalized(Binary(0.4), rows=3)]
EPS = np.finfo(float).eps


def size(regularizer):
    """Six penalized entries, whatever else there is."""
    return N + (regularizer.rows if isinstance(regularizer, Unpenalized) else 0)


def draw(regularizer, batch=(), seed=0):
    """Return points, steps and a metric; half of the points lie on a grid of 1/4, so that there are ties and zeros."""
    rng = np.random.default_rng(seed)
    shape = (*batch, size(regularizer))
    v = rng.normal(size=shape)
    v[..., ::2] = np.round(4 * v[..., ::2]) / 4
    return v, rng.uniform(0.2, 2.0, batch), rng.uniform(0.3, 3.0, shape)


def model(regularizer, x):
    """Return psi as a cvxpy expression and its constraints."""
    match regularizer:
        case TotalVariation(lam, l1):
            return lam * cp.norm1(cp.diff(x)) + l1 * cp.norm1(x), []
        case Box():
            low, high = (np.broadcast_to(np.asarray(b), N) for b in (regularizer.lower, regularizer.upper))
            return 0, [x[i] >= low[i] for i in np.flatnonzero(low > -np.inf)] + [
                x[i] <= high[i] for i in np.flatnonzero(high < np.inf)
            ]
        case Simplex(radius):
            return 0, [x >= 0, cp.sum(x) == radius]
        case SparseGroupLasso(lam, _, ratio):
            layout = regularizer.separable((N,))
            groups = [layout.labels == g for g in range(len(layout.lam))]
            norms = [weight * cp.norm2(x[mask]) for weight, mask in zip(layout.lam, groups, strict=True)]
            return lam * ratio * cp.norm1(x) + sum(norms), []
        case Zero():
            return 0, []
        case Unpenalized(inner, rows):
            return model(inner, x[:-rows])
    raise AssertionError(regularizer)


@pytest.mark.parametrize("regularizer", ALL, ids=repr)
def test_prox_is_stationary(regularizer):
    v, step, d = draw(regularizer, batch=(200,))
    for x, metric in [(regularizer.prox(v, step), 1.0), (regularizer.prox_metric(v, step, d), d)]:
        g = metric * (x - v) / step[:, None]
        assert np.max(regularizer.residual(x, g)) < 200 * EPS
        assert np.all(np.isfinite(regularizer.value(x)))
        margin, codes = regularizer.margin(x, g), regularizer.structure(x)
        assert codes.dtype == np.int8 and codes.shape == margin.shape == regularizer.residual(x, g).shape
        assert np.min(margin) > -200 * EPS
        assert np.all(margin[codes > 0] == np.inf)


@pytest.mark.parametrize("regularizer", CONVEX, ids=repr)
def test_residual_vanishes_exactly_where_the_prox_stays(regularizer):
    v, _, _ = draw(regularizer, batch=(300,), seed=20)
    x = regularizer.prox(v, 1.0)
    noise = np.random.default_rng(21).normal(scale=0.02, size=x.shape)
    g = x - v + noise * (np.arange(len(x)) % 2)[:, None]
    moved = np.max(abs(regularizer.prox(x - g, 1.0) - x), axis=1) > 1e-12
    assert np.any(~moved) and np.any(moved)
    np.testing.assert_array_equal(np.max(regularizer.residual(x, g), axis=1) > 1e-12, moved)


@pytest.mark.parametrize("regularizer", CONVEX, ids=repr)
def test_prox_agrees_with_cvxpy(regularizer):
    v, step, d = draw(regularizer, batch=(4,), seed=1)
    for metric, result in [(np.ones_like(d), regularizer.prox(v, step)), (d, regularizer.prox_metric(v, step, d))]:
        for i in range(len(v)):
            x = cp.Variable(v.shape[-1])
            psi, constraints = model(regularizer, x)
            distance = cp.sum(cp.multiply(metric[i], cp.square(x - v[i]))) / (2 * step[i])
            best = cp.Problem(cp.Minimize(psi + distance), constraints).solve(
                cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10
            )
            mine = regularizer.value(result[i]) + np.sum(metric[i] * (result[i] - v[i]) ** 2) / (2 * step[i])
            assert mine <= best + 1e-9
            np.testing.assert_allclose(result[i], x.value, atol=1e-5)  # the gap lets the solver be 1e-4 away


def test_binary_prox_against_brute_force():
    regularizer, grid = Binary(0.4), np.linspace(-4, 4, 80_001)
    v, step, d = draw(regularizer, batch=(20,), seed=2)
    x = regularizer.prox_metric(v, step, d)
    psi = regularizer.value(grid[:, None])
    for i, j in np.ndindex(v.shape):
        cost = psi + d[i, j] * (grid - v[i, j]) ** 2 / (2 * step[i])
        mine = regularizer.value(x[i, j : j + 1]) + d[i, j] * (x[i, j] - v[i, j]) ** 2 / (2 * step[i])
        assert cost.min() - 1e-7 < mine <= cost.min() + 1e-14
        near = abs(abs(grid) - abs(grid[np.argmin(cost)])) if abs(v[i, j]) < 1e-3 else abs(grid - grid[np.argmin(cost)])
        assert abs(x[i, j] - grid[np.argmin(near)]) < 1e-3 or abs(v[i, j]) < 1e-3


@pytest.mark.parametrize("regularizer", CONVEX, ids=repr)
def test_firm_nonexpansiveness(regularizer):
    (v, _, _), (u, _, _) = draw(regularizer, (100,), 3), draw(regularizer, (100,), 4)
    gap = regularizer.prox(v, 0.7) - regularizer.prox(u, 0.7)
    assert np.all(np.sum(gap * gap, -1) <= np.sum(gap * (v - u), -1) + 1e-14)


@pytest.mark.parametrize("regularizer", PROJECTIONS, ids=repr)
def test_projections_are_idempotent(regularizer):
    v, step, d = draw(regularizer, (100,), 5)
    x = regularizer.prox_metric(v, step, d)
    np.testing.assert_allclose(regularizer.prox(x, step), x, rtol=0, atol=4 * EPS)
    assert np.all(regularizer.value(x) == 0) and np.all(regularizer.value(x + 10) == np.inf)
    assert np.all(np.max(regularizer.residual(x + 10, v), axis=-1) == np.inf)


def test_moreau_identity_of_total_variation():
    # prox(v) + D^T y = v with y the projection of the dual problem: |y| <= lam, and y = lam sign at the jumps.
    rng = np.random.default_rng(6)
    v, lam = rng.normal(size=(50, 9)), 0.5
    x = TotalVariation(lam).prox(v, 1.0)
    y = np.cumsum(x - v, axis=1)
    assert np.all(abs(y) < lam + 1e-14) and np.all(abs(y[:, -1]) < 1e-14)
    np.testing.assert_allclose(np.sum(y[:, :-1] * np.diff(x)), lam * np.sum(abs(np.diff(x))), rtol=1e-13)


# --- margins: an atom is off exactly as long as -g stays inside the relative interior


def step_from(regularizer, x, g):
    """Return the codes of prox(x - g): those of x as long as -g lies inside."""
    return regularizer.structure(regularizer.prox(x - g, 1.0))


@pytest.mark.parametrize("regularizer", [Binary(0.4), Box(-0.3, 0.8), LInfBall(0.6), Simplex(2.0)], ids=repr)
def test_margin_of_an_entry(regularizer):
    v, _, _ = draw(regularizer, (40,), 7)
    x = regularizer.prox(v, 1.0)
    g = x - v
    codes, margin = regularizer.structure(x), regularizer.margin(x, g)
    off = np.argwhere((codes <= 0) & (margin > 1e-6))
    assert len(off) > 20
    for i, j in off:
        outward = -1.0 if codes[i, j] == 0 else 1.0
        if isinstance(regularizer, Binary):
            outward = np.copysign(1.0, g[i, j])
        for factor, stays in [(0.999, True), (1.001, False)]:
            moved = g[i].copy()
            moved[j] += outward * factor * margin[i, j]
            assert (step_from(regularizer, x[i], moved)[j] == codes[i, j]) == stays
            assert (regularizer.margin(x[i], moved)[j] > 0) == stays
            assert (regularizer.residual(x[i], moved)[j] == 0) == stays


def test_margin_of_a_gap():
    regularizer = TotalVariation(0.4)
    v, _, _ = draw(regularizer, (40,), 8)
    x = regularizer.prox(v, 1.0)
    g = x - v
    codes, margin = regularizer.structure(x), regularizer.margin(x, g)
    off = np.argwhere((codes == 0) & (margin > 1e-6))
    assert len(off) > 20
    for i, j in off:
        y = np.cumsum(g[i])
        for factor, stays in [(0.999, True), (1.001, False)]:
            moved = y.copy()
            moved[j] += np.copysign(factor * margin[i, j], y[j])
            moved = np.diff(moved, prepend=0.0)
            assert (step_from(regularizer, x[i], moved)[j] == 0) == stays
            assert (regularizer.residual(x[i], moved)[j] < 1e-14) == stays


def test_margin_of_a_zero_piece_is_the_common_slack_of_lam_and_l1():
    rng = np.random.default_rng(9)
    lam, l1, zero = 0.5, 0.3, np.zeros(N)
    for g in rng.normal(scale=0.4, size=(50, N)):
        regularizer = TotalVariation(lam, l1)
        margin = regularizer.margin(zero, g)
        assert margin.shape == (2 * N - 1,) and np.all(margin == margin[0])
        np.testing.assert_array_equal(regularizer.residual(zero, g), np.maximum(-margin, 0))
        for change, stays in [(-1e-9, True), (1e-9, False)]:
            theta = margin[0] + change
            if min(lam, l1) > theta:
                less = TotalVariation(lam - theta, l1 - theta)
                assert np.all(step_from(less, zero, g) == 0) == stays


def test_fused_margins_inside_a_nonzero_piece():
    # One piece of value 1: y = cumsum(g + l1), so that the margins can be read off.
    regularizer, w = TotalVariation(0.5, l1=0.25), np.ones(4)
    g = np.array([0.0, -0.25, -0.75, 0.0])
    np.testing.assert_array_equal(regularizer.margin(w, g), [0.25, 0.25, 0.75 - 0.5, *[np.inf] * 4])
    np.testing.assert_array_equal(regularizer.residual(w, g), np.zeros(7))
    np.testing.assert_array_equal(regularizer.residual(w, g + 0.125 * (np.arange(4) == 3))[3:], np.full(4, 0.125))


@pytest.mark.parametrize("seed", range(5))
def test_fused_lambda_max(seed):
    g = np.random.default_rng(seed).normal(size=8)
    regularizer = TotalVariation(1.0, l1=0.5)
    top = regularizer.lambda_max(g)
    for factor, zero in [(1 + 1e-12, True), (1 - 1e-12, False)]:
        at = regularizer.with_lam(top * factor)
        assert at.l1 / at.lam == pytest.approx(0.5)
        assert np.all(at.prox(-g, 1.0) == 0) == zero
    assert np.max(regularizer.with_lam(top).residual(np.zeros(8), g)) < 10 * EPS
    with pytest.raises(NotImplementedError):
        TotalVariation(1.0).lambda_max(g)


# --- the sparse group lasso


def test_sparse_group_limits():
    v, step, d = draw(Zero(), (30,), 22)
    for mine, theirs in [(SparseGroupLasso(0.5, 2, 0.0), GroupLasso(0.5, 2)), (SparseGroupLasso(0.5, 2, 1.0), L1(0.5))]:
        np.testing.assert_allclose(mine.prox(v, step), theirs.prox(v, step), rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(mine.prox_metric(v, step, d), theirs.prox_metric(v, step, d), rtol=1e-13)
        np.testing.assert_allclose(mine.value(v), theirs.value(v), rtol=1e-14)
        assert mine.lambda_max(v[0]) == pytest.approx(theirs.lambda_max(v[0]), rel=1e-14)
    x = theirs.prox(v, 1.0)
    np.testing.assert_allclose(mine.margin(x, x - v), theirs.margin(x, x - v), rtol=1e-15)
    # Without the entrywise part zeros of a nonzero group are on no kink; without any part codes are 1 as in GroupLasso.
    w = np.array([0.0, 1.0, 0.0, 0.0])
    np.testing.assert_array_equal(np.isinf(SparseGroupLasso(0.5, 2, 0.0).margin(w, 0 * w)), [1, 1, 0, 0])
    np.testing.assert_array_equal(SparseGroupLasso(0.5, 2, 0.0, weights=[1.0, 0.0]).structure(w), [0, 1, 1, 1])
    np.testing.assert_array_equal(SparseGroupLasso(0.0, 2).structure(w), np.ones(4))


@pytest.mark.parametrize("scale", [0.05, 0.4, 3.0])
def test_margin_of_a_zero_group_is_the_distance_to_the_boundary(scale):
    regularizer, zero = SparseGroupLasso(1.0, 3, l1_ratio=0.4), np.zeros(3)
    rng = np.random.default_rng(23)
    for g in rng.normal(scale=scale, size=(30, 3)):
        margin = regularizer.margin(zero, g)
        assert np.all(margin == margin[0])
        soft = np.sign(g) * np.maximum(abs(g) - 0.4, 0)
        outward = soft / np.linalg.norm(soft) if np.any(soft) else np.sign(g) * (abs(g) == max(abs(g)))
        for factor, inside in [(1 - 1e-9, True), (1 + 1e-9, False)]:
            moved = g + outward * margin[0] * factor if margin[0] > 0 else g + outward * margin[0] * (2 - factor)
            assert np.all(step_from(regularizer, zero, moved) == 0) == inside
        for direction in rng.normal(size=(50, 3)):  # no direction leaves (or enters) sooner
            moved = g + direction / np.linalg.norm(direction) * abs(margin[0]) * (1 - 1e-9)
            assert np.all(step_from(regularizer, zero, moved) == 0) == (margin[0] > 0)
        excess = regularizer.residual(zero, g)
        assert np.linalg.norm(excess) == pytest.approx(max(-margin[0], 0), abs=1e-15)


def test_margin_of_a_zero_in_a_nonzero_group():
    regularizer = SparseGroupLasso(1.0, 3, l1_ratio=0.5, weights=None)
    w, g = np.array([3.0, 4.0, 0.0]), np.array([-0.5 - 0.3, -0.5 - 0.4, 0.2])
    np.testing.assert_allclose(regularizer.residual(w, g), np.zeros(3), atol=1e-16)
    np.testing.assert_allclose(regularizer.margin(w, g), [math.inf, math.inf, 0.3])
    for change, stays in [(0.299, True), (0.301, False)]:
        assert (step_from(regularizer, w, g + change * (np.arange(3) == 2))[2] == 0) == stays


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("groups", [1, 4, [0, 1, 1, 2, 2, 2, 2, 0, 3, 3, 3, 3]], ids=str)
def test_sparse_group_lambda_max_is_exact(groups, ratio):
    regularizer = SparseGroupLasso(1.0, groups, l1_ratio=ratio)
    for seed in range(10):
        g = np.random.default_rng(seed).normal(size=12)
        g[seed:] = np.round(g[seed:], 1)  # ties
        g *= 10.0 ** (seed - 5)
        top = regularizer.lambda_max(g)
        for factor, zero in [(1 + 4 * EPS, True), (1 - 4 * EPS, False)]:
            at = regularizer.with_lam(top * factor)
            assert at.l1_ratio == ratio
            assert (np.max(at.residual(np.zeros(12), g)) == 0) == zero
    assert regularizer.lambda_max(torch.tensor(g)) == top and regularizer.lambda_max(0 * g) == 0


def test_sparse_group_metric_of_wide_range():
    regularizer = SparseGroupLasso(0.3, 3, l1_ratio=0.3)
    rng = np.random.default_rng(24)
    v, d = rng.normal(size=(200, 6)), 10 ** rng.uniform(-4, 4, (200, 6))
    x = regularizer.prox_metric(v, 0.7, d)
    g = d * (x - v) / 0.7
    assert np.max(regularizer.residual(x, g) / np.maximum(abs(d * v), 1)) < 100 * EPS
    shares = np.mean(x != 0)
    assert 0.2 < shares < 0.8
    np.testing.assert_allclose(
        regularizer.prox_metric(v, 0.7, np.full_like(v, 2.0)), regularizer.prox(v, 0.35), rtol=1e-13
    )


def test_sparse_group_on_tensors_and_matrices():
    rng = np.random.default_rng(25)
    w = rng.normal(size=(4, 3, 2))
    slices, blocks = SparseGroupLasso(1.0, axis=1), SparseGroupLasso(1.0, [0, 0, 1], event_ndim=2)
    x = slices.prox(w, 0.2)
    for j in range(3):
        alone = SparseGroupLasso(1.0, 8).prox(w[:, j].reshape(-1), 0.2)
        np.testing.assert_allclose(x[:, j].reshape(-1), alone, rtol=1e-15)
    assert slices.structure(x).shape == (24,) and slices.dimension(slices.structure(x)) == np.count_nonzero(x)
    g = x - w
    assert np.max(slices.residual(x, g / 0.2)) < 20 * EPS and slices.margin(x, g).shape == (24,)
    np.testing.assert_array_equal(slices.tangent(slices.structure(x), x), x)
    y = blocks.prox(w, 0.2)
    flat = SparseGroupLasso(1.0, [0, 0, 0, 0, 1, 1]).prox(w.reshape(4, 6), 0.2)
    np.testing.assert_allclose(y.reshape(4, 6), flat, rtol=1e-15)
    assert blocks.structure(y).shape == blocks.margin(y, y - w).shape == (4, 6)
    assert np.max(blocks.residual(y, (y - w) / 0.2)) < 20 * EPS


def test_sparse_group_separable():
    layout = SparseGroupLasso(0.5, [1, 0, 1], l1_ratio=0.2, weights=[3.0, 1.0]).separable((3,))
    assert (layout.penalty, layout.atoms, layout.l1) == ("abs", "entries", 0.1)
    assert layout.labels.tolist() == [1, 0, 1]
    np.testing.assert_allclose(layout.lam, [1.2, 0.4])


# --- total variation at the edges


def test_total_variation_of_one_and_two_entries():
    regularizer = TotalVariation(0.5)
    assert regularizer.prox(np.array([0.3]), 1.0) == 0.3
    assert regularizer.structure(np.array([0.3])).shape == (0,)
    assert regularizer.dimension(np.zeros(0, np.int8)) == 1
    with pytest.raises(ValueError, match="one entry"):
        regularizer.residual(np.array([0.3]), np.array([0.3]))
    assert TotalVariation(0.5, l1=0.25).prox(np.array([0.75]), 1.0) == 0.5
    np.testing.assert_array_equal(regularizer.prox(np.array([0.0, 3.0]), 1.0), [0.5, 2.5])
    np.testing.assert_array_equal(regularizer.prox(np.array([0.0, 1.0]), 1.0), [0.5, 0.5])
    np.testing.assert_array_equal(regularizer.prox(np.array([0.0, 0.5]), 1.0), [0.25, 0.25])


@pytest.mark.parametrize("l1", [0.0, 0.25])
def test_total_variation_limits(l1):
    rng = np.random.default_rng(10)
    v, d = rng.normal(size=50), rng.uniform(0.5, 2, 50)
    soft = np.sign(v) * np.maximum(abs(v) - l1, 0)
    np.testing.assert_array_equal(TotalVariation(0.0, l1).prox(v, 1.0), soft)
    np.testing.assert_array_equal(TotalVariation(0.5, l1).prox(v, 0.0), v)
    for lam in (1e4, 1e12, 1e300):
        x = TotalVariation(lam, l1).prox_metric(v + 1, 1.0, d)
        mean = np.sum(d * (v + 1)) / np.sum(d)
        assert np.all(x == x[0])
        assert x[0] == pytest.approx(mean - l1 * 50 / np.sum(d), rel=1e-14)
    for constant in (0.0, 3.0, -1e-310):
        x = TotalVariation(0.5, l1).prox(np.full(7, constant), 1.0)
        assert np.all(x == np.sign(constant) * max(abs(constant) - l1, 0))


def test_pieces_are_exactly_constant_and_jumps_are_real():
    rng = np.random.default_rng(11)
    v = np.repeat(rng.integers(-3, 4, 200), rng.integers(1, 9, 200)) + 0.1 * rng.normal(size=1).item()
    for l1 in (0.0, 0.2):
        regularizer = TotalVariation(0.7, l1)
        x = regularizer.prox(v, 1.0)
        jumps = np.diff(x)
        assert 10 < np.count_nonzero(jumps) < len(v) // 2
        assert np.min(abs(jumps[jumps != 0])) > 1e-3
        assert np.max(regularizer.residual(x, x - v)) < 1e-12
        codes = regularizer.structure(x)
        values = np.concatenate([x[:1], x[1:][jumps != 0]])
        assert regularizer.dimension(codes) == (np.count_nonzero(values) if l1 else len(values))


def test_total_variation_is_accurate_on_long_signals():
    rng = np.random.default_rng(12)
    v, d = 100 + np.cumsum(rng.normal(size=100_000)), rng.uniform(0.1, 10, 100_000)
    regularizer = TotalVariation(30.0)
    x = regularizer.prox_metric(v, 1.0, d)
    g = d * (x - v)
    assert np.max(regularizer.residual(x, g)) < 2e-15 * np.sum(abs(g))  # ten times that without the refinement


# --- the same on all arrays


@pytest.mark.parametrize("regularizer", ALL, ids=repr)
def test_batch_equals_single_points(regularizer):
    v, step, d = draw(regularizer, (3, 4), 13)
    x, g = regularizer.prox_metric(v, step, d), v
    codes = regularizer.structure(x)
    parts = [x, regularizer.prox(v, step), codes, regularizer.residual(x, g), regularizer.margin(x, g)]
    parts += [regularizer.value(x), regularizer.tangent(codes, v, x)]
    for i in np.ndindex(3, 4):
        y = regularizer.prox_metric(v[i], step[i], d[i])
        single = [y, regularizer.prox(v[i], step[i]), regularizer.structure(y), regularizer.residual(y, g[i])]
        single += [regularizer.margin(y, g[i]), regularizer.value(y), regularizer.tangent(codes[i], v[i], y)]
        for whole, part in zip(parts, single, strict=True):
            np.testing.assert_allclose(whole[i], part, rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(regularizer.prox(v, 0.5), regularizer.prox(v, np.full((3, 4), 0.5)))


@pytest.mark.parametrize("regularizer", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_torch_equals_numpy(regularizer, dtype):
    v, step, d = (torch.tensor(a).to(dtype) for a in draw(regularizer, (5,), 14))
    arrays = [a.double().numpy() for a in (v, step, d)]
    x = regularizer.prox_metric(v, step, d)
    tolerance = 8 * torch.finfo(dtype).eps
    np.testing.assert_allclose(x.double().numpy(), regularizer.prox_metric(*arrays), rtol=tolerance, atol=4 * tolerance)
    near = regularizer.prox(v, step)
    np.testing.assert_allclose(near.double(), regularizer.prox(*arrays[:2]), rtol=tolerance, atol=4 * tolerance)
    codes, exact = regularizer.structure(x), x.double().numpy()
    assert codes.dtype == torch.int8
    if dtype == torch.float64:
        np.testing.assert_array_equal(codes, regularizer.structure(exact))
    tangent = regularizer.tangent(codes, v, x)
    pairs = [(tangent, regularizer.tangent(codes.numpy(), arrays[0], exact))]
    for method in (regularizer.residual, regularizer.margin):
        pairs.append((method(x, v), method(exact, arrays[0])))
    for mine, reference in pairs:
        assert mine.dtype == dtype
        if dtype == torch.float64:
            np.testing.assert_allclose(mine, reference, rtol=1e-14, atol=1e-14)
    assert regularizer.value(x).dtype == dtype


@pytest.mark.parametrize("regularizer", ALL, ids=repr)
def test_float32_stays_float32(regularizer):
    v, step, d = (np.asarray(a, dtype=np.float32) for a in draw(regularizer, (50,), 15))
    x = regularizer.prox(v, 0.5)
    results = [x, regularizer.prox_metric(v, step, d), regularizer.value(x), regularizer.residual(x, v)]
    results += [regularizer.margin(x, v), regularizer.tangent(regularizer.structure(x), v, x)]
    assert {r.dtype for r in results} == {np.dtype(np.float32)}
    assert np.max(regularizer.residual(x, (x - v) / np.float32(0.5))) < 1e-5


@pytest.mark.parametrize("regularizer", ALL, ids=repr)
@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_integers_are_the_same_numbers_in_floating_point(regularizer, library):
    w, g = (library(np.round(2 * draw(regularizer, (), seed)[0]).astype(int)) for seed in (16, 17))
    x, h = (a.to(torch.get_default_dtype()) if torch.is_tensor(a) else a.astype(float) for a in (w, g))
    pairs = [(getattr(regularizer, name)(w), getattr(regularizer, name)(x)) for name in ("value", "structure")]
    pairs += [(getattr(regularizer, name)(w, g), getattr(regularizer, name)(x, h)) for name in ("residual", "margin")]
    pairs += [(regularizer.prox(w, 0.3), regularizer.prox(x, 0.3))]
    pairs += [(regularizer.prox_metric(w, 0.3, g * g + 1), regularizer.prox_metric(x, 0.3, h * h + 1))]
    codes = regularizer.structure(w)
    pairs += [(regularizer.tangent(codes, g, w), regularizer.tangent(codes, h, x))]
    for mine, expected in pairs:
        assert mine.dtype == expected.dtype
        np.testing.assert_array_equal(mine, expected)


def test_integers_against_numbers_by_hand():
    v = np.array([3, 2, 0, 1])
    shrunk = np.concatenate([v[:2] * (1 - 0.5 * math.sqrt(2 / 13)), [0.0, 1 - 0.5 * math.sqrt(2)]])
    np.testing.assert_allclose(GroupLasso(0.5, groups=2).prox(v, 1.0), shrunk, rtol=1e-15)
    assert TotalVariation(0.5).prox(v, 1.0).tolist() == [2.5, 2.0, 0.75, 0.75]
    assert Box(-0.5, 1.5).prox(v, 1.0).tolist() == LInfBall(1.5).prox(torch.tensor(v), 1.0).tolist() == [1.5, 1.5, 0, 1]


@pytest.mark.parametrize("regularizer", ALL, ids=repr)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # inf / inf
def test_what_is_not_finite_never_becomes_finite(regularizer, bad, library):
    clean, _, d = draw(regularizer, (), 18)
    w, inner = library(regularizer.prox(clean, 0.5)), getattr(regularizer, "regularizer", regularizer)
    for j in range(N):
        v = clean.copy()
        v[j] = bad
        for x in (regularizer.prox(library(v), 0.5), regularizer.prox_metric(library(v), 0.5, library(d))):
            if isinstance(inner, Box) and math.isinf(bad):  # projections have a limit there
                bound = np.clip(bad, *(np.broadcast_to(b, N)[j] for b in (inner.lower, inner.upper)))
                assert float(x[j]) == bound
            elif isinstance(inner, Simplex) and bad == -math.inf:
                assert float(x[j]) == 0.0
            else:
                assert not math.isfinite(float(x[j]))
                if isinstance(inner, (TotalVariation, Simplex)):  # all entries depend on each other
                    assert np.all(np.isnan(np.asarray(x[:N])))
        if math.isnan(bad) and not isinstance(regularizer, Zero):
            assert not np.isfinite(float(regularizer.value(library(v))))
            assert not np.all(np.isfinite(np.asarray(regularizer.residual(library(v), w))))
        if math.isnan(bad):
            assert not np.all(np.isfinite(np.asarray(regularizer.residual(w, library(v)))))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # inf / inf
def test_no_lambda_max_of_what_is_not_finite(bad):
    g = np.array([0.5, bad, -2.0, 0.1, 0.0, 1.0])
    for regularizer in (TotalVariation(0.4, l1=0.3), SparseGroupLasso(0.4, 3), GroupLasso(0.4, 3), L1(0.4)):
        assert not math.isfinite(regularizer.lambda_max(g))


@pytest.mark.parametrize("regularizer", ALL, ids=repr)
def test_inputs_are_left_alone_and_zero_step_moves_nothing(regularizer):
    v, _, d = draw(regularizer, (5,), 16)
    for start in (v, np.zeros_like(v), np.full_like(v, 5e-324)):
        before, feasible = start.copy(), regularizer.prox(start, 1.0)
        regularizer.prox_metric(start, 1.0, d)
        np.testing.assert_array_equal(start, before)
        assert np.all(np.isfinite(feasible))
        if regularizer in PROJECTIONS or isinstance(regularizer, Unpenalized):
            np.testing.assert_allclose(regularizer.prox(feasible, 0.0), feasible, rtol=1e-15, atol=2 * EPS)
        else:
            np.testing.assert_array_equal(regularizer.prox(start, 0.0), start)


def test_subnormal_numbers_are_not_zero():
    w = np.array([5e-324, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(TotalVariation(1.0, l1=1.0).structure(w), [1, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(Simplex().structure(w), [1, 0, 0, 0])
    np.testing.assert_array_equal(Box(0.0, 1.0).structure(w), [1, 0, 0, 0])
    np.testing.assert_array_equal(Binary(1.0).structure(np.array([1.0, np.nextafter(1, 0), -1.0, 0.0])), [-1, 1, 0, 1])


# --- manifolds


@pytest.mark.parametrize("regularizer", [r for r in ALL if not isinstance(r, Zero)], ids=repr)
def test_tangent_is_a_projection_of_the_stated_rank_onto_the_manifold(regularizer):
    v, step, _ = draw(regularizer, (20,), 17)
    x = regularizer.prox(v, step)
    codes = regularizer.structure(x)
    for point, code in zip(x, codes, strict=True):
        P = regularizer.tangent(code, np.eye(len(point)), point)
        np.testing.assert_allclose(P, P.T, atol=1e-15)
        np.testing.assert_allclose(P @ P, P, atol=1e-15)
        assert np.trace(P) == pytest.approx(regularizer.dimension(code))
        direction = P @ np.random.default_rng(18).normal(size=len(point))
        np.testing.assert_array_equal(regularizer.structure(point + 2.0**-30 * direction), code)
    np.testing.assert_array_equal(regularizer.dimension(codes), [regularizer.dimension(c) for c in codes])


def test_zero_and_free_rows():
    rng = np.random.default_rng(19)
    g = rng.normal(size=(3, 4))
    np.testing.assert_allclose(Zero().residual(g, g), np.linalg.norm(g, axis=1)[:, None])
    np.testing.assert_allclose(Zero(event_ndim=None).residual(g, g), [np.linalg.norm(g)])
    assert Zero(event_ndim=2).structure(g).tolist() == [1] and Zero().value(g).shape == (3,)
    assert Zero(event_ndim=2).dimension(np.ones(1, np.int8), shape=(3, 4)) == 12
    np.testing.assert_array_equal(Zero().tangent(Zero().structure(g), g), g)
    layout = Zero(event_ndim=2).separable((3, 4))
    assert layout.labels.tolist() == [0] * 12 and layout.lam.tolist() == [0.0]

    free = Unpenalized(Box(-1.0, 1.0), rows=2)
    w = np.array([-1.0, 0.5, 7.0, -7.0])
    np.testing.assert_array_equal(free.structure(w), [0, 1, 1, 1])
    np.testing.assert_array_equal(free.residual(w, np.array([1.0, 2.0, 3.0, -4.0])), [0, 2, 3, 4])
    np.testing.assert_array_equal(free.margin(w, np.array([1.0, 2.0, 3.0, -4.0])), [1, *[np.inf] * 3])
    np.testing.assert_array_equal(free.prox(w, 0.3), w)
    assert free.value(w) == 0 and free.separable((4,)) is None and free.convex


def test_free_rows_of_a_matrix():
    inner = GroupLasso(0.5, [0, 0, 1], event_ndim=2)
    free = Unpenalized(inner, rows=2)
    w, g = np.random.default_rng(26).normal(size=(2, 4, 5, 3))
    x = free.prox(w, 0.3)
    np.testing.assert_array_equal(x[:, :3], inner.prox(w[:, :3], 0.3))
    np.testing.assert_array_equal(x[:, 3:], w[:, 3:])
    assert free.structure(x).shape == free.margin(x, g).shape == (4, 4)
    np.testing.assert_array_equal(free.structure(x)[:, 2:], 1)
    np.testing.assert_allclose(free.residual(x, g)[:, 2:], np.linalg.norm(g[:, 3:], axis=-1))
    np.testing.assert_array_equal(free.tangent(free.structure(x), g)[:, 3:], g[:, 3:])
    with pytest.raises(ValueError, match="free row"):
        free.dimension(free.structure(x))
    np.testing.assert_array_equal(
        free.dimension(free.structure(x), shape=(5, 3)), 6 + inner.dimension(inner.structure(x[:, :3]), (3, 3))
    )
    layout = free.separable((5, 3))
    assert layout.labels.tolist() == [0] * 6 + [1] * 3 + [2] * 3 + [3] * 3
    np.testing.assert_allclose(layout.lam, [0.5 * math.sqrt(6), 0.5 * math.sqrt(3), 0, 0])
    assert free.lambda_max(g[0]) == inner.lambda_max(g[0, :3]) and free.with_lam(0.1).regularizer.lam == 0.1


def test_free_rows_have_no_compiled_form_where_it_would_penalize_them():
    assert Unpenalized(L1(0.1)).separable((3,)).lam.tolist() == [0.1, 0.1, 0.0]
    assert Unpenalized(ElasticNet(0.1, 0.2)).separable((3,)) is None
    assert Unpenalized(SparseGroupLasso(0.1, 2)).separable((3,)) is None
    assert Unpenalized(SparseGroupLasso(0.1, 2, l1_ratio=0.0)).separable((3,)).lam[-1] == 0


# --- construction


@pytest.mark.parametrize("regularizer", ALL, ids=repr)
def test_repr_reconstructs(regularizer):
    twin = eval(repr(regularizer).replace("inf", "inf"))
    assert twin == regularizer and hash(twin) == hash(regularizer) and repr(twin) == repr(regularizer)


def test_bounds_of_any_sequence():
    assert Box(np.zeros(2), [1, 2]) == Box((0.0, 0.0), (1.0, 2.0)) and LInfBall(2).upper == 2.0
    assert Binary(1).with_lam(0.5) == Binary(0.5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TotalVariation(-0.1), ValueError, "lam=-0.1"),
        (lambda: TotalVariation(0.1, l1=math.nan), ValueError, "l1=nan"),
        (lambda: TotalVariation("0.1"), TypeError, "lam='0.1'"),
        (lambda: Box(1.0, 0.0), ValueError, "lower <= upper"),
        (lambda: Box(math.inf, math.inf), ValueError, "lower <= upper"),
        (lambda: Box([0.0, 2.0], [1.0, 1.0]), ValueError, "lower <= upper"),
        (lambda: Box([0.0, 0.0], [1.0, 1.0, 1.0]), ValueError, "lower has 2 entries and upper 3"),
        (lambda: Box(math.nan, 1.0), ValueError, "NaN"),
        (lambda: Box([], 1.0), ValueError, "lower has shape"),
        (lambda: Box("0", 1.0), TypeError, "lower='0'"),
        (lambda: Box(0.0, [1.0, 1.0]).prox(np.zeros(3), 1.0), ValueError, "upper has 2 entries"),
        (lambda: SparseGroupLasso(-1.0, 2), ValueError, "lam=-1.0"),
        (lambda: SparseGroupLasso(1.0), ValueError, "needs groups"),
        (lambda: SparseGroupLasso(1.0, 2, l1_ratio=1.5), ValueError, "l1_ratio=1.5"),
        (lambda: SparseGroupLasso(1.0, [[0, 1], [1]]), ValueError, "overlap"),
        (lambda: SparseGroupLasso(1.0, [0, 0, 1]).prox(np.zeros(4), 1.0), ValueError, "3 labels"),
        (lambda: LInfBall(-1.0), ValueError, "radius=-1.0"),
        (lambda: Simplex(0.0), ValueError, "radius=0.0"),
        (lambda: Simplex(math.inf), ValueError, "radius=inf"),
        (lambda: Binary(-1.0), ValueError, "lam=-1.0"),
        (lambda: Zero(event_ndim=0), ValueError, "event_ndim=0"),
        (lambda: Unpenalized(0.1), TypeError, "must be a Regularizer"),
        (lambda: Unpenalized(Simplex(), rows=0), ValueError, "rows=0"),
        (lambda: Unpenalized(Simplex(), rows=2).prox(np.zeros(2), 1.0), ValueError, "nothing is left"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_box_below_zero_holds_its_points_at_both_bounds():
    w = np.array([-5.0, -2.0, 4.0])
    assert Box(-3.0, -1.0).prox(w, 1.0).tolist() == [-3, -2, -1]
    assert Box(-3.0, -1.0).structure(np.array([-3.0, -2.0, -1.0])).tolist() == [0, 1, -1]
