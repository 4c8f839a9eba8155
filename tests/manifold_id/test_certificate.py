import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from manifold_id.certificate import certified_codes, certify, error_bound, identification_radius
from manifold_id.regularizers import L1, Box, GroupLasso, NuclearNorm, TotalVariation, Unpenalized
from manifold_id.regularizers.sparse_group import SparseGroupLasso


def quadratic(regularizer, v):
    """min |w - v|^2 / 2 + psi(w): the solution is the prox, the gradient w - v."""
    w = regularizer.prox(v, 1.0)
    return w, w - v


@pytest.mark.parametrize(
    "regularizer",
    [L1(0.5), GroupLasso(0.3, groups=3), SparseGroupLasso(0.5, groups=3), TotalVariation(0.4, l1=0.1), Box(-0.5, 0.5)],
    ids=lambda r: type(r).__name__,
)
def test_a_prox_is_certified_and_a_perturbation_is_not(regularizer):
    v = np.random.default_rng(0).standard_normal(12)
    w, g = quadratic(regularizer, v)
    good = certify(w, g, regularizer)
    assert good.status == "certified"
    assert good.residual.max() <= 1e-14
    np.testing.assert_array_equal(good.codes, regularizer.structure(w))
    assert good.min_margin > 0
    moved = w + 1e-6 * np.sign(np.where(w == 0, 1.0, -w)) * (np.arange(12) == 4)
    assert certify(moved, moved - v, regularizer).status == "failed"


def test_nuclear_norm_reports_its_smallest_singular_value():
    regularizer = NuclearNorm(1.0)
    v = np.random.default_rng(1).standard_normal((6, 5))
    w, g = quadratic(regularizer, v)
    certificate = certify(w, g, regularizer)
    singular = np.linalg.svd(w, compute_uv=False)
    assert certificate.status == "certified"
    assert certificate.smallest_active == pytest.approx(singular[singular > 1e-10].min(), rel=1e-10)


def test_degenerate_and_scale():
    # |g_1| = lam exactly while w_1 = 0: stationary without a margin
    certificate = certify(np.array([1.0, 0.0]), np.array([-0.5, 0.5]), L1(0.5))
    assert certificate.status == "degenerate"
    assert certificate.min_margin == 0.0
    # an intercept has no lam of its own: its gradient is measured by the largest lam
    free = certify(np.array([1.0, 0.0, 2.0]), np.array([-0.5, 0.1, 0.05]), Unpenalized(L1(0.5)))
    np.testing.assert_allclose(free.scale, 0.5)
    np.testing.assert_allclose(free.residual, [0.0, 0.0, 0.1])
    assert free.status == "failed"


def test_one_step_identifies_within_the_radius_and_not_far_beyond():
    rng = np.random.default_rng(2)
    A = rng.standard_normal((30, 8))
    H = A.T @ A / 30
    L = np.linalg.eigvalsh(H)[-1]
    regularizer = L1(0.2)
    w = np.array([1.0, -0.5, 0, 0, 0, 0, 0, 0])
    u = 0.2 * np.array([1, -1, 0.7, -0.3, 0.1, 0.5, -0.2, 0.6])
    b = H @ w + u  # gradient H w - b = -u
    certificate = certify(w, H @ w - b, regularizer)
    radius = identification_radius(certificate, L)
    assert radius == pytest.approx(0.06 / (2 * L))

    def step(x):
        return regularizer.structure(regularizer.prox(x - (H @ x - b) / L, 1 / L))

    directions = rng.standard_normal((500, 8))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert all((step(w + 0.999 * radius * d) == certificate.codes).all() for d in directions)
    assert any((step(w + 20 * radius * d) != certificate.codes).any() for d in directions)


@pytest.mark.parametrize("regularizer", [L1(0.2), GroupLasso(0.2, groups=2), SparseGroupLasso(0.3, groups=2)], ids=str)
def test_a_posteriori_bounds_hold_along_prox_gradient(regularizer):
    rng = np.random.default_rng(3)
    A = rng.standard_normal((40, 10))
    H = A.T @ A / 40
    mu, L = np.linalg.eigvalsh(H)[[0, -1]]
    b = H @ np.r_[2.0, -1.0, np.zeros(8)] + 0.1 * rng.standard_normal(10)

    def F(x):
        return 0.5 * x @ H @ x - b @ x + regularizer.value(x)

    points = [np.zeros(10)]
    for _ in range(3000):
        points.append(regularizer.prox(points[-1] - (H @ points[-1] - b) / L, 1 / L))
    w, decided = points[-1], 0
    for old, new in pairwise(points[:201]):
        R, G = error_bound(np.linalg.norm(new - old), L, mu)
        assert np.linalg.norm(new - w) <= R + 1e-14
        assert F(new) - F(w) <= G + 1e-14
        codes = certified_codes(new, H @ new - b, regularizer, R, L)
        known = codes >= 0
        np.testing.assert_array_equal(codes[known], regularizer.structure(w)[known])
        decided = max(decided, known.mean())
    assert decided == 1.0  # in the end the certificate decides every atom


def test_bad_input():
    w, g = np.zeros(3), np.zeros(3)
    with pytest.raises(ValueError, match=r"gradient has shape \(2,\)"):
        certify(w, np.zeros(2), L1(0.1))
    with pytest.raises(ValueError, match="finite"):
        certify(w, np.full(3, np.nan), L1(0.1))
    with pytest.raises(ValueError, match=r"tol=1e-06 must be"):
        certify(w, g, L1(0.1), tol=1e-6)
    with pytest.raises(ValueError, match="batch"):
        certify(np.zeros((2, 3)), np.zeros((2, 3)), L1(0.1))
    with pytest.raises(ValueError, match="strong_convexity=0"):
        error_bound(1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="sum of norms"):
        certified_codes(w, g, Box(-1.0, 1.0), 0.1, 1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        certify(w, g, L1(0.1)).status = "certified"
