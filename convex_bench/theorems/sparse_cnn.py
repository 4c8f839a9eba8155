"""RDA for training sparse networks: what the update is, what zero starts do, and what a mask does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.shipped import NO_TORCH, torch_or_none
from convex_bench.theorems.synthetic import gaussian, states
from manifold_id.methods import RDA, SDA
from manifold_id.regularizers import L1
from manifold_id.theory.base import Assumption, Power, Theorem, Verdict, decide, no_violations, unmet
from manifold_id.theory.combine import all_fail, all_hold

Array = np.ndarray

SPARSE_CNN = Theorem(
    name="rda-for-networks",
    title="RDA for sparse networks: SDA is perturbed SGD, zero starts are stuck, masks only shrink",
    statement="(Lemma 1) SDA with beta_t = gamma sqrt t satisfies w_{t+1} = sqrt((t-1)/t) w_t - g_t / (gamma "
    "sqrt t) for t >= 2, and w_2 = -g_1 / gamma whatever w_1 is. (17)-(18) RDA's entry is zero iff |gbar_{t,i}| "
    "<= lam: a constant threshold, where proximal SGD's is eta_t lam. (Proposition 1) A ReLU network without "
    "output bias has gradient zero at w = 0, so that RDA from w_1 = 0 stays at 0. Adaptive sparse retraining: "
    "mask <- mask and (w != 0) never grows, a false zero is never undone.",
    latex=r"w_{t+1}=\sqrt{\tfrac{t-1}t}\,w_t-\frac{g_t}{\gamma\sqrt t};\qquad [w_{t+1}]_i=0\iff|[\bar "
    r"g_t]_i|\le\lambda;\qquad\nabla_w\ell(h(x;0))=0",
    source="Jia, Zhao, Zhang, He and Xu, Comput. Optim. Appl. 77 (2020), Lemma 1, (17)-(19), Proposition 1 "
    "and section 4.2; the formulas are reconstructed by algebra from the definition of the methods.",
    measured="The identity's largest relative error; disagreements between zeros and the criterion; the largest "
    "gradient and iterate of a two-layer ReLU network run by RDA from zero, while the same network from a random "
    "start lowers its loss; growth of the mask and revivals of a planted false zero.",
    control="The step t = 1 read as SGD's, which keeps w_1 != 0; an activation with sigma(0) != 0, whose zero "
    "start moves; retraining without the mask, which revives the planted zero.",
)

ROUNDING = 1e-12


def identity(error: Array) -> Verdict:
    """Return the verdict on an identity from its relative errors, one for each step and seed."""
    worst = float(error.max())
    return decide(
        worst <= ROUNDING,
        (Assumption("steps", error.size, error.size > 0),),
        f"largest relative error {worst:.1e}",
        f"<= {ROUNDING:g}",
        worst,
        seeds=error.shape[1],
        samples=error.size,
    )


def criterion(zero: Array, mean: Array, lam: float) -> Verdict:
    """Return the verdict on (18): zeros of w_{t+1} against |gbar_t| <= lam, ties to rounding left out."""
    size = np.abs(mean)
    clear = np.abs(size - lam) > 1e-12 * lam
    nearest = float(size[zero].max(initial=-np.inf)), float(size[~zero].min(initial=np.inf))
    wrong = int(((zero != (size <= lam)) & clear).sum())
    power = (Power("lam of the criterion", lam, *nearest),)
    return no_violations(wrong, int(clear.sum()), "entries", seeds=zero.shape[1], power=power)


def stuck(largest_gradient: float, largest_entry: float, loss_drop: float) -> Verdict:
    """Return the verdict on the zero start: gradient and iterates exactly 0, while a random start lowers the loss."""
    passed = largest_gradient == 0 and largest_entry == 0
    return decide(
        passed,
        (Assumption("loss lowered from a random start", loss_drop, loss_drop > 0.05),),
        f"from zero: largest gradient {largest_gradient:.2g}, largest weight {largest_entry:.2g}; "
        f"a random start lowers the loss by {loss_drop:.2f}",
        "exactly 0",
        largest_gradient,
        seeds=1,
        samples=1,
    )


def one_way(active: Array, planted_zero: Array) -> Verdict:
    """Return the verdict on retraining: active (steps, weights) boolean, and which weights were set to zero falsely."""
    grown = int((active[1:] & ~active[:-1]).sum())
    revived = int(active[:, planted_zero].any(axis=0).sum())
    return decide(
        grown + revived == 0,
        (Assumption("planted zeros", int(planted_zero.sum()), bool(planted_zero.any())),),
        f"{grown} weights came back, {revived} of {int(planted_zero.sum())} planted zeros revived",
        "0",
        float(grown + revived),
        seeds=1,
        samples=active.size,
    )


GAMMA, LAM = 2.0, 1.0


def lemma(size: Size, seed: int, first: int) -> Verdict:
    """Return the verdict on Lemma 1's recursion over the steps t >= first, from a start that is not the centre."""
    problem, errors, slips = l1_quadratic(0.3, seed), [], []
    before, total = np.broadcast_to(problem.w + 1.0, (10, len(problem.w))), 0.0
    for state in states(problem, SDA(GAMMA), gaussian(0.5), problem.w + 1.0, size.steps(1000), seeds=10, seed=seed):
        t, g = state.t, state.total - total
        step = np.sqrt((t - 1) / t) * before - g / (GAMMA * np.sqrt(t)) if t > 1 else before - g / GAMMA
        if t >= first:
            scale = np.abs(state.total).max(axis=1) / (
                GAMMA * np.sqrt(t)
            )  # the cancellation in g is relative to the sum
            errors.append(np.abs(state.w - step).max(axis=1) / scale)
            slips.append(np.abs(before * np.sqrt((t - 1) / t)).max(axis=1) / scale)
        before, total = state.w, state.total
    found = identity(np.array(errors))
    return replace(found, power=(Power("relative error of sqrt((t-1)/t)", 0.0, above=ROUNDING / float(np.max(slips))),))


def thresholds(size: Size, seed: int) -> Verdict:
    """Return the verdict on RDA's zero criterion."""
    problem, zero, mean = l1_quadratic(0.1, seed), [], []
    for state in states(problem, RDA(GAMMA), gaussian(1.0), problem.w + 1.0, size.steps(500), seeds=20, seed=seed):
        zero.append(state.w == 0)
        mean.append(state.total / state.t)
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
    """Plant a false zero among the active weights, and retrain with `optim.RDA`, under `optim.SparseRetraining` or "
    "not."""
    torch = torch_or_none()
    if torch is None:
        return unmet(NO_TORCH)
    from manifold_id.optim import RDA as Optimizer
    from manifold_id.optim import SparseRetraining

    problem, rng = l1_quadratic(0.3, seed), np.random.default_rng(seed)
    w = problem.w + 0.1 * (problem.w == 0)
    w[0] = 0.0
    p = torch.nn.Parameter(torch.tensor(w))
    optimizer, active = Optimizer([p], gamma=GAMMA, regularizer=problem.regularizer), []
    mode = SparseRetraining(optimizer) if masked else None
    for _ in range(500):
        g = problem.gradient(p.detach().numpy()) + 0.3 * rng.standard_normal(len(w))
        p.grad = torch.tensor(g)
        optimizer.step()
        active.append(p.detach().numpy() != 0)
    if mode is not None:
        mode.remove()
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


SPECIAL = "identities of RDA's update, a two-layer ReLU network and retraining with a mask"
CHECK = Check(SPARSE_CNN, check, control, SPECIAL)
