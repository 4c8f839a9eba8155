"""Losses against finite differences, brute force and their limits at huge margins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from convex_bench.problem.losses import LOSSES, Logistic, Multinomial, Squared

K = 4


def _case(name: str, seed: int, n: int = 7, scale: float = 2.0):
    rng = np.random.default_rng(seed)
    loss = LOSSES[name]
    if name == "multinomial":
        return loss, scale * rng.standard_normal((n, K)), np.arange(n) % K
    y = rng.standard_normal(n) if name == "squared" else np.where(np.arange(n) % 2, 1.0, -1.0)
    return loss, scale * rng.standard_normal(n), y


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_derivative_and_curvature_are_those_of_the_value(name, seed):
    loss, m, y = _case(name, seed)
    direction = np.random.default_rng(seed + 10).standard_normal(m.shape)
    step = 1e-5
    slope = (loss.value(m + step * direction, y) - loss.value(m - step * direction, y)) / (2 * step)
    product = loss.derivative(m, y) * direction
    assert slope == pytest.approx(product.sum(axis=-1) if m.ndim == 2 else product, abs=1e-8)
    change = (loss.derivative(m + step * direction, y) - loss.derivative(m - step * direction, y)) / (2 * step)
    curvature = loss.curvature(m, y)
    expected = np.einsum("ikl,il->ik", curvature, direction) if m.ndim == 2 else curvature * direction
    assert change == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_curvature_stays_below_its_bound_and_reaches_it(name):
    loss, m, y = _case(name, 0, n=200, scale=1.0)
    curvature = loss.curvature(m, y)
    top = np.linalg.eigvalsh(curvature)[..., -1] if m.ndim == 2 else curvature
    assert top.max() <= loss.curvature_bound * (1 + 1e-15)
    worst = np.where(np.arange(K) < 2, 0.0, -800.0)[None] if name == "multinomial" else np.zeros(1)
    curvature = loss.curvature(worst, y[:1])
    top = np.linalg.eigvalsh(curvature)[..., -1] if worst.ndim == 2 else curvature
    assert top[0] == pytest.approx(loss.curvature_bound, rel=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_leading_batch_axes(name):
    loss, m, y = _case(name, 1)
    batch = np.stack([m, 3 * m, -m])
    for function in (loss.value, loss.derivative, loss.curvature):
        assert np.array_equal(function(batch, y), np.stack([function(one, y) for one in batch]))


@pytest.mark.parametrize("name", LOSSES)
def test_conjugate_is_the_supremum(name):
    """Brute force: maximize <u, m> - l(m) for u inside the domain of the conjugate."""
    loss, m, y = _case(name, 2, n=4)
    u = 0.7 * loss.derivative(m, y)
    for i in range(4):
        point, label = u[i : i + 1], y[i : i + 1]

        def negative(x, point=point, label=label):
            x = x.reshape(point.shape)
            return float(loss.value(x, label)[0] - np.sum(point * x))

        best = minimize(negative, np.zeros(point.size), method="BFGS", options={"gtol": 1e-9})
        assert loss.conjugate(point, label)[0] == pytest.approx(-best.fun, abs=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_fenchel_young_equality_at_the_derivative(name):
    loss, m, y = _case(name, 3)
    d = loss.derivative(m, y)
    pairing = (d * m).sum(axis=-1) if m.ndim == 2 else d * m
    assert loss.value(m, y) + loss.conjugate(d, y) == pytest.approx(pairing, abs=1e-12)


@pytest.mark.parametrize("name", ["logistic", "multinomial"])
def test_conjugate_is_infinite_outside_its_domain(name):
    loss, m, y = _case(name, 3)
    assert np.all(np.isinf(loss.conjugate(-1.5 * np.sign(loss.derivative(m, y)), y)))
    assert np.all(np.isinf(loss.conjugate(0.5 + 0 * m, np.where(y > 0, y, 0) if name == "multinomial" else abs(y))))


def test_huge_margins_neither_overflow_nor_lose_digits():
    m = np.array([-1e6, -800.0, -40.0, 40.0, 800.0, 1e6])
    y = np.ones(6)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        logistic = Logistic()
        value, slope, bend = logistic.value(m, y), logistic.derivative(m, y), logistic.curvature(m, y)
        assert value[:2] == pytest.approx([1e6, 800.0], rel=1e-15)
        assert value[3] == pytest.approx(np.exp(-40.0), rel=1e-14)  # log(1 + x) would have lost it
        assert slope[3] == pytest.approx(-np.exp(-40.0), rel=1e-14)
        assert bend[[2, 3]] == pytest.approx(np.exp(-40.0), rel=1e-14)
        assert value[-1] == slope[-1] == bend[0] == 0.0
        multinomial = Multinomial()
        M = np.array([[1e6, 0.0, -1e6], [0.0, 40.0, 0.0]])
        assert multinomial.value(M, np.array([2, 1])) == pytest.approx([2e6, 2 * np.exp(-40.0)], rel=1e-14)
        assert np.isfinite(multinomial.derivative(M, np.array([2, 1]))).all()
        assert np.isfinite(Squared().value(1e150 * y, y)).all()


def test_multinomial_with_two_classes_is_logistic():
    loss, m, y = _case("logistic", 5)
    two = np.stack([np.zeros_like(m), m], axis=-1)
    codes = (y > 0).astype(np.int64)
    assert Multinomial().value(two, codes) == pytest.approx(loss.value(m, y), rel=1e-13)
    assert Multinomial().derivative(two, codes)[:, 1] == pytest.approx(loss.derivative(m, y), rel=1e-13, abs=1e-16)


@pytest.mark.parametrize("name", LOSSES)
def test_null_margin_is_stationary(name):
    loss, _, y = _case(name, 4, n=11)
    constant = (
        np.broadcast_to(loss.null_margin(y), (11, K)) if name == "multinomial" else np.full(11, loss.null_margin(y)[0])
    )
    assert loss.derivative(constant, y).mean(axis=0) == pytest.approx(0.0, abs=1e-15)


def test_encoding_of_labels():
    encoded, classes = Logistic().encode(np.array(["sick", "well", "sick"]))
    assert encoded.tolist() == [-1.0, 1.0, -1.0] and list(classes) == ["sick", "well"]
    encoded, classes = Multinomial().encode(np.array([7, 3, 5, 3]))
    assert encoded.tolist() == [2, 0, 1, 0] and encoded.dtype == np.int64 and list(classes) == [3, 5, 7]
    encoded, classes = Squared().encode(np.array([1, 2, 3]))
    assert encoded.dtype == np.float64 and classes is None
    assert Logistic().encode(np.array([True, False]))[0].tolist() == [1.0, -1.0]
