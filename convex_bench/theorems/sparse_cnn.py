"""Runs for RDA on networks: quadratics for the identities, a two-layer network for the zero start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import gaussian, states
from manifold_id.methods import RDA, SDA
from manifold_id.regularizers import L1
from manifold_id.theory.base import Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.sparse_cnn import SPARSE_CNN, criterion, identity, one_way, stuck

Array = np.ndarray
GAMMA, LAM = 2.0, 1.0


def lemma(size: Size, seed: int, first: int) -> Verdict:
    """Return the verdict on Lemma 1's recursion over the steps t >= first, from a start that is not the centre."""
    problem, errors = l1_quadratic(0.3, seed), []
    before, total = np.broadcast_to(problem.w + 1.0, (10, len(problem.w))), 0.0
    for state in states(problem, SDA(GAMMA), gaussian(0.5), problem.w + 1.0, size.steps(1000), seeds=10, seed=seed):
        t, g = state.t, state.total - total
        step = np.sqrt((t - 1) / t) * before - g / (GAMMA * np.sqrt(t)) if t > 1 else before - g / GAMMA
        if t >= first:
            scale = np.abs(state.total).max(axis=1) / (
                GAMMA * np.sqrt(t)
            )  # the cancellation in g is relative to the sum
            errors.append(np.abs(state.w - step).max(axis=1) / scale)
        before, total = state.w, state.total
    return identity(np.array(errors))


def thresholds(size: Size, seed: int) -> Verdict:
    """Return the verdict on RDA's zero criterion."""
    problem, zero, mean = l1_quadratic(0.1, seed), [], []
    for state in states(problem, RDA(GAMMA), gaussian(1.0), problem.w + 1.0, size.steps(500), seeds=20, seed=seed):
        zero.append(state.w == 0)
        mean.append(state.d)
    return criterion(np.array(zero), np.array(mean), LAM)


class _Network:
    """Two layers without biases on ten inputs: p = softmax(W2 sigma(W1 x)), cross-entropy of two classes."""

    def __init__(self, seed: int, sigma: Callable[[Array], Array], slope: Callable[[Array], Array]) -> None:
        rng = np.random.default_rng(seed)
        self.x = rng.standard_normal((64, 10))
        score = self.x[:, 0] + self.x[:, 1]
        self.y = (score > np.quantile(score, 0.7)).astype(int)  # unbalanced: the mean residual at w = 0 is not 0
        self.sigma, self.slope, self.random = sigma, slope, rng.uniform(-1, 1, 10 * 16 + 32)

    def __call__(self, w: Array) -> Array:
        return self.loss_and_gradient(w)[1]

    def loss_and_gradient(self, w: Array) -> tuple[float, Array]:
        first, second = w[:160].reshape(10, 16), w[160:].reshape(16, 2)
        before = self.x @ first
        hidden = self.sigma(before)
        logits = hidden @ second
        logits = logits - logits.max(axis=1, keepdims=True)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(64), self.y]).mean()
        p[np.arange(64), self.y] -= 1
        back = (p @ second.T) * self.slope(before)
        return float(loss), np.concatenate([(self.x.T @ back / 64).ravel(), (hidden.T @ p / 64).ravel()])


def zero_start(seed: int, sigma: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Verdict:
    """Run RDA from zero and from a random start."""
    net: Any = _Network(seed, sigma, slope)
    method, psi = RDA(gamma=0.5), L1(1e-3)
    ends, largest = [], 0.0
    for start in (np.zeros(192), net.random):
        state = method.init(start)
        for _ in range(300):
            if not start.any():
                largest = max(largest, float(np.abs(net(state.w)).max()))
            state = method.update(net, state, psi)
        ends.append(state.w)
    drop = float(np.log(2) - net.loss_and_gradient(ends[1])[0])
    return stuck(largest, float(np.abs(ends[0]).max()), drop)


def retraining(seed: int, masked: bool) -> Verdict:
    """Run RDA, plant a false zero among the active weights, and retrain with or without the mask."""
    problem = l1_quadratic(0.3, seed)
    w = problem.w + 0.1 * (problem.w == 0)
    w[0] = 0.0
    mask, active = w != 0, []
    state, method = RDA(GAMMA).init(w), RDA(GAMMA)
    rng = np.random.default_rng(seed)
    for _ in range(500):
        xi = 0.3 * rng.standard_normal(len(w))
        oracle: Any = lambda v, xi=xi: problem.gradient(v) + xi  # noqa: E731
        state = method.update(oracle, state, problem.regularizer)
        if masked:
            point = np.where(mask, state.w, 0.0)
            state, mask = type(state)(state.t, point, point, state.d, state.total), mask & (point != 0)
        active.append(state.w != 0)
    return one_way(np.array(active), np.arange(len(w)) == 0)


def _relu(v: Array) -> Array:
    return np.maximum(v, 0.0)


def _step(v: Array) -> Array:
    return (v > 0).astype(float)


def check(size: Size, seed: int) -> Verdict:
    """Test the four statements."""
    return all_hold(
        ("Lemma 1", lemma(size, seed, 2)),
        ("criterion (18)", thresholds(size, seed)),
        ("zero start", zero_start(seed, _relu, _step)),
        ("retraining", retraining(seed, masked=True)),
    )


def control(size: Size, seed: int) -> Verdict:
    """Break each statement that has an assumption to break."""
    return all_fail(
        ("Lemma 1 from t = 1", lemma(size, seed, 1)),
        ("sigma(0) != 0", zero_start(seed, lambda v: _relu(v + 0.5), lambda v: _step(v + 0.5))),
        ("no mask", retraining(seed, masked=False)),
    )


CHECK = Check(SPARSE_CNN, check, control)
