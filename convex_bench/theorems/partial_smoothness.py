"""Partial smoothness: vanishing subgradients mean the manifold and back; the solution moves smoothly along it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.rows import Rows
from convex_bench.theorems.synthetic import gaussian
from manifold_id.methods import ProxSGD
from manifold_id.regularizers import L1, GroupLasso
from manifold_id.theory.base import Assumption, Curve, Evidence, Power, Theorem, Verdict, decide
from manifold_id.theory.combine import all_fail, all_hold

Array = np.ndarray

PARTIAL_SMOOTHNESS = Theorem(
    name="partial-smoothness",
    title="On the manifold iff the subgradients vanish; sensitivity is that of the restricted Hessian",
    statement="F partly smooth at x* relative to M with 0 in ri dF(x*), x_k -> x*: x_k in M eventually iff "
    "dist(0, dF(x_k)) -> 0. Quantified for l1 within |x - x*| < min(delta/L, Delta): off M dist(0, dF(x)) >= "
    "delta - L |x - x*|, on M it is at most L |x - x*|. The minimizer x(v) of F - <v, x> stays in M for small v, "
    "with dx/dv = (P H P)^+, H the Hessian of F along M.",
    latex=r"x_k\in\mathcal M\iff\operatorname{dist}(0,\partial "
    r"F(x_k))\to0,\qquad\frac{dx}{dv}=(P_T\nabla^2_{\mathcal M}F\,P_T)^+",
    source="Hare and Lewis (2004), Theorem 5.3; Lewis (2002); Lewis and Zhang (2013); the quantified form is "
    "derived for l1.",
    measured="Both inequalities at every step of proximal SGD and proximal gradient that is near enough; and "
    "central differences of the minimizer in random directions v of norm 1e-4 (l1 with correlated coordinates; "
    "groups, where psi is curved along M).",
    control="A degenerate instance: with a margin of 0 the gradient's rounding-free limit allows points off M "
    "whose subgradient is near 0, and the minimizer has kinks: its one-sided differences disagree.",
)


def equivalence(
    on: Array, residual: Array, distance: Array, margin: float, lipschitz: float, *, true: float | None = None
) -> Verdict:
    """Return the verdict on the inequalities.

    Parameters
    ----------
    on, residual, distance
        Of every step near the solution: x in M, dist(0, dF(x)), |x - x*|; all (samples,).
    margin, lipschitz
        delta as claimed, and L.
    true
        The true delta, None = the claimed one; a control claims more.
    """
    true = margin if true is None else true
    over = Assumption("true margin", true, margin <= true, f"at least {margin:g} as claimed", broken=margin > true)
    below = ~on & (residual < margin - lipschitz * distance - 1e-12)
    above = on & (residual > lipschitz * distance + 1e-12)
    violations = int(below.sum() + above.sum())
    both = min(int(on.sum()), int((~on).sum()))
    keep = np.unique(np.linspace(0, max(len(on) - 1, 0), 500).astype(int))[: len(on)]
    ends = np.array([0.0, min(float(distance[keep].max(initial=0.0)), margin / lipschitz)])
    figure = Evidence(
        "Distance of 0 to the subdifferential",
        "|x - x*|",
        "dist(0, dF(x))",
        (
            *(
                Curve(name, distance[keep][m], residual[keep][m], kind="points")
                for name, m in (("on M", on[keep]), ("off M", ~on[keep]))
            ),
            Curve("at most this on M", ends, lipschitz * ends),
            Curve("at least this off M", ends, margin - lipschitz * ends),
        ),
    )
    return decide(
        violations == 0,
        (Assumption("steps on the rarer side", both, both > 0), over),
        f"{violations} violations in {len(on)} steps ({int(on.sum())} on M); least residual off M "
        f"{residual[~on].min(initial=np.inf):.3g}, margin {margin:g}",
        "0 violations",
        float(violations),
        seeds=1,
        samples=len(on),
        evidence=(figure,),
        power=(
            Power("margin", margin, above=float((residual + lipschitz * distance)[~on].min(initial=np.inf))),
            Power("factor on L", 1.0, below=float((residual / (lipschitz * distance))[on].max(initial=0.0))),
        ),
    )


def sensitivity(forward: Array, backward: Array, predicted: Array) -> Verdict:
    """Return the verdict on one-sided difference quotients against the predicted derivative, all (directions, p)."""
    scale = np.linalg.norm(predicted, axis=1)
    error = float((np.linalg.norm((forward + backward) / 2 - predicted, axis=1) / scale).max())
    kink = float((np.linalg.norm(forward - backward, axis=1) / scale).max())
    return decide(
        error <= 1e-3 and kink <= 1e-2,
        (Assumption("predicted derivative", float(scale.min()), bool(scale.min() > 0)),),
        f"derivative off by {error:.1e}, one-sided differences apart by {kink:.1e}",
        "relative error <= 1e-3, one-sided differences within 1e-2",
        error,
        seeds=len(forward),
        samples=forward.size,
        power=(Power("factor on the derivative", 1.0, 1 - 1e-3 - error, 1 + 1e-3 + error),),
    )


MARGIN = 0.3


def near(cases: Iterable[Case], margin: float, lipschitz: float, smallest: float, true: float) -> Verdict:
    """Judge the steps within min(margin / L, smallest active entry) of the solution, for a claimed margin and the true
    one."""
    rows = []
    for case in cases:
        problem = case.problem
        for state in case.states():
            on = (problem.regularizer.structure(state.w) == problem.codes).all(axis=1)
            residual = np.linalg.norm(problem.regularizer.residual(state.w, problem.gradient(state.w)), axis=1)
            rows.append((on, residual, np.linalg.norm((state.w - problem.w).reshape(case.seeds, -1), axis=1)))
    on, residual, distance = (np.concatenate(a) for a in zip(*rows, strict=True))
    close = distance < min(margin / lipschitz, smallest)
    return equivalence(on[close], residual[close], distance[close], margin, lipschitz, true=true)


def additive(size: Size, seed: int, margin: float) -> Verdict:
    """Judge proximal SGD near the solution against a claimed margin of 0.3."""
    problem = l1_quadratic(margin, seed)
    few = size.steps(300), 20, seed, gaussian(MARGIN)
    cases = (Case(problem, ProxSGD(lr), problem.w, *few) for lr in (0.02, 0.1))
    return near(cases, MARGIN, float(np.max(problem.curvature)), 0.5, margin)


def judge(case: Case, factor: float = 1.0) -> Verdict:
    """Judge a method's steps near the solution, from there, for `factor` times the smallest margin."""
    rows = case.problem
    assert isinstance(rows, Rows)
    smallest = float(np.abs(rows.w[rows.w != 0]).min(initial=np.inf))
    return near([replace(case, start=rows.w)], factor * rows.margin, rows.problem.lipschitz(), smallest, rows.margin)


def overstated(case: Case) -> Verdict:
    """Claim eight times the margin."""
    return judge(case, 8.0)


def _minimize(H: Array, linear: Array, psi: Any, w: Array) -> Array:
    """Return argmin w^T H w / 2 + <linear, w> + psi(w) for a batch of `linear`, to rounding."""
    L = float(np.linalg.eigvalsh(H)[-1])
    for _ in range(3000):
        w = psi.prox(w - (w @ H + linear) / L, 1 / L)
    return w


def differences(seed: int, psi: Any, size: int, margin: float, h: float = 1e-4) -> Verdict:
    """Compare one-sided differences with (P H P)^+; atoms of `size` coordinates, two of four active."""
    rng = np.random.default_rng(seed)
    p = 4 * size
    A = rng.standard_normal((3 * p, p))
    H = A.T @ A / (3 * p) + 0.3 * np.eye(p)
    unit = rng.standard_normal((4, size))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    star = (unit * np.array([1.0, 1.5, 0, 0])[:, None]).ravel()
    dual = (unit * np.array([1.0, 1.0, 1 - margin, 0.2])[:, None]).ravel()
    linear = -dual - H @ star
    v = rng.standard_normal((6, p))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    forward, backward = (
        (_minimize(H, linear - s * h * v, psi, np.tile(star, (6, 1))) - star) / (s * h) for s in (1.0, -1.0)
    )
    along = H.copy()
    for g, length in ((0, 1.0), (1, 1.5)):
        block = slice(g * size, (g + 1) * size)
        along[block, block] += (np.eye(size) - np.outer(unit[g], unit[g])) / length
    active = np.arange(p) < 2 * size
    P = np.diag(active.astype(float))
    return sensitivity(forward, backward, v @ np.linalg.pinv(P @ along @ P))


def check(size: Size, seed: int) -> Verdict:
    """Test the inequalities and the derivative."""
    return all_hold(
        ("equivalence", additive(size, seed, MARGIN)),
        ("sensitivity, l1", differences(seed, L1(1.0), 1, MARGIN)),
        ("sensitivity, groups", differences(seed, GroupLasso(1.0, groups=3, weights=None), 3, MARGIN)),
    )


def control(size: Size, seed: int) -> Verdict:
    """Judge degenerate instances as if they had the margin."""
    return all_fail(
        ("equivalence", additive(size, seed, 0.0)),
        ("sensitivity, l1", differences(seed, L1(1.0), 1, 0.0)),
        ("sensitivity, groups", differences(seed, GroupLasso(1.0, groups=3, weights=None), 3, 0.0)),
    )


CHECK = Check(PARTIAL_SMOOTHNESS, check, control, Own(judge, overstated, methods=None, steps=1000, entries=True))
