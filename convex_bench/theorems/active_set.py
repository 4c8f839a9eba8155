"""Runs for the active-set complexity of proximal gradient: random ridge lasso problems, solved in batches."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from manifold_id.regularizers import L1
from manifold_id.theory.active_set import ACTIVE_SET, active_set
from manifold_id.theory.base import Verdict
from manifold_id.theory.structure_record import LastErrors

Array = np.ndarray
P, ACTIVE = 12, 4


def _instance(rng: np.random.Generator, margin: float) -> tuple[Array, Array, Array, Array]:
    """Return (H, x*, u, eigenvalues): f(x) = (x - x*)^T H (x - x*) / 2 - <u, x>, psi = |.|_1."""
    A = rng.standard_normal((2 * P, P)) * rng.uniform(0.3, 2, P)
    H = A.T @ A / (2 * P) + 0.05 * np.eye(P)
    sign = rng.choice([-1.0, 1.0], P)
    x = np.where(np.arange(P) < ACTIVE, sign * rng.uniform(0.5, 2, P), 0.0)
    u = np.where(np.arange(P) < ACTIVE, sign, sign * rng.uniform(0, 1 - margin, P))
    u[ACTIVE] = sign[ACTIVE] * (1 - margin)
    return H, x, u, np.linalg.eigvalsh(H)


def last_errors(H: Array, star: Array, u: Array, L: Array, x0: Array, steps: int) -> LastErrors:
    """Return the last steps of proximal gradient with wrong zeros and wrong nonzeros, -1 = none; all are batched."""
    x, psi = x0, L1(1.0)
    last = LastErrors(
        np.where((x0[:, ACTIVE:] != 0).any(axis=1), 0, -1), np.where((x0[:, :ACTIVE] == 0).any(axis=1), 0, -1)
    )
    for k in range(1, steps + 1):
        gradient = np.einsum("bij,bj->bi", H, x - star) - u
        x = psi.prox(x - gradient / L[:, None], 1 / L)
        last.false_positive[(x[:, ACTIVE:] != 0).any(axis=1)] = k
        last.false_negative[(x[:, :ACTIVE] == 0).any(axis=1)] = k
    return last


def run(size: Size, seed: int, overstated: float, fits: int) -> Verdict:
    """Run the instances; `fits` designs also get a sweep of the margin."""
    rng = np.random.default_rng(seed)
    count = 250 * size.factor
    margins = 10 ** rng.uniform(-3, -0.5, count)
    H, star, u, eigen = (np.array(a) for a in zip(*(_instance(rng, m) for m in margins), strict=True))
    L, mu = eigen[:, -1], eigen[:, 0]
    direction = rng.standard_normal((count, P))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    reach = rng.uniform(0, np.where(np.arange(count) % 2, 4.0, 1.2))  # half of the starts near the radius of one step
    radius = 10**reach * margins / (2 * L)
    bound = L / mu * np.log(2 * L * radius / (overstated * margins))
    steps = int(bound.max()) + 10
    observed = last_errors(H, star, u, L, star + radius[:, None] * direction, min(steps, 4000))

    slopes, kappa, quality = [], [], []
    for _ in range(fits):
        h, x, _, e = _instance(rng, 0.5)
        deltas = 0.4 * 0.5 ** np.repeat(np.arange(12), 16)  # 16 starts for each margin
        sign = rng.choice([-1.0, 1.0], P)
        starts = np.tile(x + 3 * rng.standard_normal((16, P)), (12, 1))
        dual = np.where(np.arange(P) < ACTIVE, np.sign(x), sign * (1 - deltas[:, None]))
        many = len(deltas)
        hs, xs = np.broadcast_to(h, (many, P, P)), np.broadcast_to(x, (many, P))
        seen = last_errors(hs, xs, dual, np.full(many, e[-1]), starts, 1500).false_positive
        mean, decades = seen.reshape(12, 16).mean(axis=1), np.log(1 / deltas[::16])
        slopes.append(np.polyfit(decades, mean, 1)[0])
        kappa.append(e[-1] / e[0])
        quality.append(np.corrcoef(decades, mean)[0, 1] ** 2)
    return active_set(observed, bound, np.array(slopes), np.array(kappa), np.array(quality))


def check(size: Size, seed: int) -> Verdict:
    """Test the bound with the true margins."""
    return run(size, seed, 1.0, 5)


def control(size: Size, seed: int) -> Verdict:
    """Test the bound with twenty times the margins."""
    return run(size, seed, 20.0, 0)


CHECK = Check(ACTIVE_SET, check, control)
