"""Newton's method on the manifold of fixed rank that proximal gradient has identified: quadratic convergence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convex_bench.theorems.check import Check, Size
from manifold_id.methods import ProxGradient
from manifold_id.regularizers import NuclearNorm
from manifold_id.theory.base import Assumption, Curve, Evidence, Power, Theorem, Verdict, decide
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.intervals import every

Array = np.ndarray

RIEMANNIAN_NEWTON = Theorem(
    name="riemannian-newton",
    title="Proximal gradient identifies the rank, and Newton's method on that manifold then converges quadratically",
    statement="F = f + |.|_* (nuclear norm), X* of rank r nondegenerate with a positive definite Hessian along the "
    "manifold M_r of rank r. Proximal gradient has rank r from some step on. From there Newton's method for F "
    "restricted to M_r, in any smooth chart, converges to X* quadratically, and its limit is optimal for the whole "
    "problem.",
    latex=r"\operatorname{rank}X_k=r\ \forall k\ge T,\qquad\|X_{k+1}-X^*\|=O(\|X_k-X^*\|^2)\ \text{on }\mathcal M_r",
    source="Bareilles, Iutzeler and Malick, Mathematical Programming 200 (2023): Newton acceleration on identified "
    "manifolds. On M_r the nuclear norm is smooth with gradient U V^T; the chart used is X(K, C, L) = (U + U' K) C (V "
    "+ V' L)^T.",
    measured="Random quadratics of 6 x 5 matrices with a planted solution of rank 2 and margin 0.3; "
    "`manifold_id.methods.ProxGradient` until the rank has been the same for 20 steps, then Newton steps, the Hessian "
    "by central differences of the exact gradient in the chart. The rank at the switch; the order log e_{k+1} / log "
    "e_k of the errors between 1e-1 and 1e-11, median over the instances above 1.6; the error after 8 steps, and the "
    "residual of the whole problem, at most 1e-9.",
    control="On the same instances and switches: the Hessian of f along M_r alone, without the curvature of M_r and "
    "of the norm along it, with which the order is 1; and Newton's method on the manifold of rank r - 1, whose limit "
    "is not optimal for the whole problem.",
)

ROWS, COLUMNS, RANK, MARGIN, STEPS, STAY = 6, 5, 2, 0.3, 8, 20


@dataclass(frozen=True, eq=False)
class Planted:
    """f(X) = <X - X*, H (X - X*)> / 2 - <u, X>, u in the subdifferential of the nuclear norm at X*."""

    H: Array
    star: Array
    dual: Array

    def gradient(self, X: Array) -> Array:
        """Return grad f(X)."""
        return (self.H @ (X - self.star).ravel()).reshape(X.shape) - self.dual

    full = gradient  # the oracle of proximal gradient

    @property
    def lipschitz(self) -> float:
        """The largest eigenvalue of H."""
        return float(np.linalg.eigvalsh(self.H)[-1])


def planted_rank(seed: int) -> Planted:
    """Return a random instance."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.standard_normal((ROWS, ROWS)))[0]
    V = np.linalg.qr(rng.standard_normal((COLUMNS, COLUMNS)))[0]
    star = (U[:, :RANK] * rng.uniform(1, 2, RANK)) @ V[:, :RANK].T
    rest = rng.uniform(0, 1 - MARGIN, COLUMNS - RANK)
    rest[0] = 1 - MARGIN
    dual = U[:, :RANK] @ V[:, :RANK].T + (U[:, RANK:COLUMNS] * rest) @ V[:, RANK:].T
    A = rng.standard_normal((2 * star.size, star.size))
    return Planted(A.T @ A / len(A) + 0.1 * np.eye(star.size), star, dual)


def switch(problem: Planted, psi: NuclearNorm, seed: int, limit: int = 3000) -> tuple[Array, int]:
    """Return the point of proximal gradient, from a random start, at which the rank has been the same for STAY "
    "steps."""
    method = ProxGradient(1 / problem.lipschitz)
    state = method.init(np.random.default_rng([seed, 1]).standard_normal((ROWS, COLUMNS)) * 3)
    rank, stay = -1, 0
    for _ in range(limit):
        state = method.update(problem, state, psi)  # type: ignore[arg-type]
        now = int((psi.structure(state.w) > 0).sum())
        rank, stay = now, stay + 1 if now == rank else 0
        if stay >= STAY:
            break
    return state.w, rank


def _parts(X: Array, r: int) -> tuple[Array, Array, Array]:
    U, s, Vt = np.linalg.svd(X)
    return U, s[:r], Vt.T


def newton_step(problem: Planted, X: Array, r: int, *, curved: bool = True) -> Array:
    """Return the point after one Newton step on M_r, in the chart at X; unless `curved`, with the Hessian of f "
    "alone."""
    U, s, V = _parts(X, r)
    shapes = (ROWS - r, r), (r, r), (COLUMNS - r, r)
    sizes = [a * b for a, b in shapes]

    def split(c: Array) -> tuple[Array, Array, Array]:
        K, C, L = (part.reshape(shape) for part, shape in zip(np.split(c, np.cumsum(sizes)[:-1]), shapes, strict=True))
        return U[:, :r] + U[:, r:] @ K, np.diag(s) + C, V[:, :r] + V[:, r:] @ L

    def gradient(c: Array) -> Array:
        left, core, right = split(c)
        point = left @ core @ right.T
        P, _, Q = _parts(point, r)
        G = problem.gradient(point) + P[:, :r] @ Q[:, :r].T
        pieces = (U[:, r:].T @ G @ right @ core.T, left.T @ G @ right, V[:, r:].T @ G.T @ left @ core)
        return np.concatenate([piece.ravel() for piece in pieces])

    zero, h = np.zeros(sum(sizes)), 1e-5
    unit = np.eye(len(zero))
    if curved:
        hessian = np.array([(gradient(h * e) - gradient(-h * e)) / (2 * h) for e in unit])
    else:
        moved = np.array([_move(split, h * e) - _move(split, -h * e) for e in unit]).reshape(len(zero), -1) / (2 * h)
        hessian = moved @ problem.H @ moved.T
    return _move(split, -np.linalg.solve((hessian + hessian.T) / 2, gradient(zero)))


def _move(split: Callable[[Array], tuple[Array, Array, Array]], c: Array) -> Array:
    left, core, right = split(c)
    return left @ core @ right.T


def quadratic(errors: Array, residuals: Array, ranks: Array, *, control: bool = False) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    errors
        |X_k - X*| from the switch on, (instances, steps + 1).
    residuals
        Of the whole problem at the last point, (instances,).
    ranks
        At the switch, (instances,).
    control
        Whether the points are not expected to come near: then no pair of errors is needed.
    """
    inner = (errors[:, :-1] < 0.1) & (errors[:, 1:] > 1e-11)
    orders = np.log(errors[:, 1:][inner]) / np.log(errors[:, :-1][inner])
    order = float(np.median(orders)) if len(orders) else np.nan
    last, residual, right = float(errors[:, -1].max()), float(residuals.max()), float((ranks == RANK).mean())
    k = np.arange(errors.shape[1], dtype=float)
    low, middle, high = np.quantile(np.maximum(errors, 1e-17), [0.05, 0.5, 0.95], axis=0)
    curve = Curve("median, 5-95 % of the instances", k, middle, low, high)
    return decide(
        every(right == 1, residual <= 1e-9, last <= 1e-9, order > 1.6),
        (Assumption("pairs of errors", len(orders), len(orders) > 0, "between 1e-1 and 1e-11", control),),
        f"rank right at the switch in {right:.0%}, order {order:.2f}, error {last:.1e} and residual {residual:.1e} "
        f"after {len(k) - 1} steps",
        "all ranks right; error and residual <= 1e-9; median order > 1.6",
        order,
        seeds=len(errors),
        samples=errors.size,
        evidence=(Evidence("Newton's method on the manifold", "step", "|X - X*|", (curve,), yscale="log"),),
        power=(Power("order that is claimed at least", 1.6, above=order),),
    )


def run(size: Size, seed: int, *, curved: bool = True, lower: int = 0) -> Verdict:
    """Judge all instances; `lower` is taken off the rank of the manifold on which Newton's method runs."""
    psi = NuclearNorm(1.0)
    errors, residuals, ranks = [], [], []
    for s in range(100 * seed, 100 * seed + max(10, size.seeds // 5)):
        problem = planted_rank(s)
        X, rank = switch(problem, psi, s)
        ranks.append(rank)
        r = max(rank - lower, 1)
        if lower:
            U, sigma, V = _parts(X, r)
            X = (U[:, :r] * sigma) @ V[:, :r].T
        points = [X]
        for _ in range(STEPS):
            points.append(newton_step(problem, points[-1], r, curved=curved))
        errors.append([float(np.linalg.norm(P - problem.star)) for P in points])
        step = points[-1] - psi.prox(points[-1] - problem.gradient(points[-1]), 1.0)
        residuals.append(float(np.linalg.norm(step)))
    return quadratic(np.array(errors), np.array(residuals), np.array(ranks), control=lower > 0 or not curved)


def check(size: Size, seed: int) -> Verdict:
    """Run Newton's method on the identified manifold."""
    return all_hold(("rank identified", run(size, seed)))


def control(size: Size, seed: int) -> Verdict:
    """Leave the curvature out; use a manifold of smaller rank."""
    return all_fail(("without curvature", run(size, seed, curved=False)), ("rank r - 1", run(size, seed, lower=1)))


CHECK = Check(RIEMANNIAN_NEWTON, check, control, "quadratics of matrices with a planted rank")
