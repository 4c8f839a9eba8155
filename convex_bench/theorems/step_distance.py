"""Proximal SGD stays off the manifold by an amount of the order of its step: the square of what it moves along it."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import gaussian
from manifold_id.methods import ProxSGD
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.exponent import exponent_near, rms

Array = np.ndarray

STEP_DISTANCE = Theorem(
    name="prox-sgd-distance",
    title="Proximal SGD is off the manifold by the order of its step, along it by the order of the step's root",
    statement="psi = lam |.|_1, nondegenerate solution, lasting noise, constant step a: in stationarity the distance "
    "of w to the manifold M is of the order a, while its distance to w* along M is of the order sqrt(a). With steps "
    "a_k = a k^-b, b < 1, both hold with a_k in place of a.",
    latex=r"\operatorname{dist}(w_k,\mathcal M)\asymp a_k,\qquad\|P_{\mathcal M}(w_k)-w^*\|\asymp\sqrt{a_k}",
    source="Davis, Drusvyatskiy and Jiang, arXiv 2301.06632: the projections of the iterates onto M follow smooth "
    "stochastic approximation up to errors of the order of the step. Derived for l1: w_i / a obeys w <- soft(w - "
    "(+-delta + noise + a h w), 1), a walk with drift towards 0 whose stationary law does not depend on a as a -> 0; "
    "along M the variance is a sigma^2 / (h (2 - a h)).",
    measured="Root mean squares over the second half of the runs for five constant steps, and at the steps k of a = "
    "k^-0.6 over the last 1.5 decades. Exponents: off M in a, 99 % interval within 0.15 of 1; along M within 0.15 of "
    "1/2; in k within 0.15 of -0.6 and of -0.3.",
    control="Margin 0, recorded as not met, on the same steps, seeds and starts: the walk off M has no drift, and its "
    "size is of the order sqrt(a), k^-0.3.",
)

WIDTH = 0.15
STEPS = 0.02 * 2.0 ** np.arange(5)
MARGIN, SIGMA, DECAY, SEEDS = 0.5, 0.5, 0.6, 60


def exponent(x: Array, size: Array, stated: float, what: str, margin: float, *, control: bool = False) -> Verdict:
    """Return the verdict on the exponent of root mean squares `size`, (k, seeds), in x, (k,)."""
    curve = Curve("root mean square of the seeds", x.astype(float), rms(size), kind="points")
    figure = Evidence(what, "step size" if stated > 0 else "step", "distance", (curve,), "log", "log")
    assumed = Assumption("margin", margin, margin > 0, "nondegenerate", broken=control)
    return exponent_near(x, size, stated, WIDTH, assumed, evidence=(figure,))


def _case(method: ProxSGD, size: Size, seed: int, margin: float, steps: int) -> Case:
    problem = l1_quadratic(margin, seed, off=1)
    return Case(problem, method, problem.w, size.steps(steps), SEEDS * size.factor, seed, gaussian(SIGMA))


def constant(size: Size, seed: int, margin: float) -> tuple[Array, Array]:
    """Return the root mean squares off M and along it for every step size, (steps, seeds) each."""
    sizes = []
    for lr in STEPS:
        case, squares, kept = _case(ProxSGD(float(lr)), size, seed, margin, 1500), [], 0
        for state in case.states():
            if state.t > case.steps // 2 and state.t % 5 == 0:
                e = state.w - case.problem.w
                squares.append(((e[:, case.off] ** 2).sum(axis=1), (e[:, ~case.off] ** 2).sum(axis=1)))
                kept += 1
        sizes.append(np.sqrt(np.mean(squares, axis=0)))
    off, along = np.array(sizes).transpose(1, 0, 2)
    return off, along


def falling(size: Size, seed: int, margin: float) -> tuple[Array, Array, Array]:
    """Return 12 steps k and the root mean squares off M and along it over the steps around each, (12, seeds)."""
    case = _case(ProxSGD(1.0, decay=DECAY), size, seed, margin, 4000)
    edges = np.geomspace(case.steps / 10**1.5, case.steps, 13)
    sums, counts = np.zeros((2, 12, case.seeds)), np.zeros(12)
    for state in case.states():
        k = int(np.searchsorted(edges, state.t, side="left")) - 1
        if k >= 0:
            e = state.w - case.problem.w
            sums[:, min(k, 11)] += (e[:, case.off] ** 2).sum(axis=1), (e[:, ~case.off] ** 2).sum(axis=1)
            counts[min(k, 11)] += 1
    off, along = np.sqrt(sums / counts[:, None])
    return np.sqrt(edges[1:] * edges[:-1]), off, along


def _parts(size: Size, seed: int, margin: float, control: bool) -> list[tuple[str, Verdict]]:
    off, along = constant(size, seed, margin)
    k, late_off, late_along = falling(size, seed, margin)
    judged = (
        ("off M, in a", STEPS, off, 1.0),
        ("along M, in a", STEPS, along, 0.5),
        ("off M, in k", k, late_off, -DECAY),
        ("along M, in k", k, late_along, -DECAY / 2),
    )
    return [
        (name, exponent(x, values, stated, name, margin, control=control))
        for name, x, values, stated in judged
        if not control or name.startswith("off")
    ]


def check(size: Size, seed: int) -> Verdict:
    """Fit the exponents with a margin."""
    return all_hold(*_parts(size, seed, MARGIN, False))


def control(size: Size, seed: int) -> Verdict:
    """Fit those off M without one."""
    return all_fail(*_parts(size, seed, 0.0, True))


CHECK = Check(STEP_DISTANCE, check, control, "a quadratic with Gaussian noise and a family of steps")
