"""Normal-map SGD identifies under a weakly convex penalty, MCP, as long as its fixed prox parameter keeps the prox
single-valued."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.case import Case, last_decades
from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import nonconvex_quadratic
from convex_bench.theorems.normal_map import radius
from convex_bench.theorems.synthetic import gaussian
from manifold_id.methods import RMDA, NormalMapSGD
from manifold_id.methods.base import Method
from manifold_id.regularizers import MCP
from manifold_id.theory.base import Assumption, Theorem, Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.exponent import exponent_near
from manifold_id.theory.identified import identification

Array = np.ndarray

WEAKLY_CONVEX = Theorem(
    name="normal-map-mcp",
    title="Normal-map SGD identifies under MCP, where dual averaging fails",
    statement="psi rho-weakly convex (MCP with lam, gamma: rho = 1/gamma), prox parameter p < 1/rho fixed, steps a_t "
    "= a t^-b, 1/2 < b <= 1. u_t -> u* = w* - p grad f(w*), at the rate t^(-b/2), w_t = prox_{p psi}(u_t) lies on the "
    "manifold of a nondegenerate w* from some step on, and |u_t - u*|_i <= p delta_i suffices for it on an off "
    "coordinate.",
    latex=r"p<1/\rho,\ |u_{t,i}-u^*_i|\le p\,\delta_i\ \Rightarrow\ w_{t,i}=0,\qquad\|u_t-u^*\|\sim t^{-b/2}",
    source="Qiu, Jiang and Milzarek, arXiv 2305.05828, whose abstract states identification in the nonconvex setting. "
    "The radius is derived from the prox of MCP, 0 iff |u_i| <= p lam for p < gamma; the rate is that of stochastic "
    "approximation with these steps along the manifold, on which u - w is constant where MCP is flat.",
    measured="A quadratic with MCP, gamma = 3, whose active entries lie where MCP is flat; Gaussian noise; starts one "
    "away in every coordinate. Identification with p = 1 and p = 2.5; the radius at every step; the exponent of |u_t "
    "- u*| over the last 1.5 decades, 99 % interval within 0.15 of -b/2.",
    control="RMDA on the same problem, steps, seeds and start: its prox parameter alpha / beta grows past 1/rho. And "
    "the radius doubled, under a constant step.",
)

MARGIN, SIGMA, GAMMA, WIDTH = 0.3, 0.5, 3.0, 0.15
METHODS = {"p = 1": NormalMapSGD(1.0, 1.0, 0.75), "p = 2.5": NormalMapSGD(1.0, 2.5, 0.75)}
CONSTANT = NormalMapSGD(0.5, 1.0, 0.0)


def case_of(method: Method, size: Size, seed: int, steps: int = 2000, away: float = 1.0) -> Case:
    """Return runs from `away` in every coordinate."""
    problem = nonconvex_quadratic(MARGIN, seed, MCP(1.0, gamma=GAMMA))
    return Case(problem, method, problem.w + away, size.steps(steps), size.seeds, seed, gaussian(SIGMA))


def parameter(p: float) -> Assumption:
    """Return the assumption on the prox parameter."""
    return Assumption("p rho", p / GAMMA, p < GAMMA, "below 1: the prox is single-valued")


def identify(case: Case, *, control: bool = False) -> Verdict:
    """Judge identification and, of the normal map, the radius and the rate too."""
    record, distance = case.followed()
    found = identification(record, case.problem.margin, SIGMA, long_enough=control, distance=distance)
    if not isinstance(case.method, NormalMapSGD):
        return found
    return all_hold(("identified", found), ("rate", rate(case)), ("radius", within(case)))


def rate(case: Case) -> Verdict:
    """Judge the exponent of |u_t - u*|."""
    problem, method = case.problem, case.method
    target = problem.w + method.prox_step * problem.dual
    t = last_decades(case.steps, 20)
    far = np.array([np.linalg.norm(s.normal - target, axis=1) for s in case.states() if s.t in t])
    return exponent_near(t, far, -method.decay / 2, WIDTH, parameter(method.prox_step), what="exponent of |u - u*|")


def within(case: Case, factor: float = 1.0) -> Verdict:
    """Judge the radius, times `factor`, at every step."""
    problem, off, p = case.problem, case.off, case.method.prox_step
    distance, held = [], []
    for state in case.states():
        distance.append(np.abs(state.normal - problem.w - p * problem.dual)[:, off])
        held.append(state.w[:, off] == 0)
    reach = p * case.margins[off]
    return radius(np.concatenate(distance), np.concatenate(held), reach=reach, seeds=case.seeds, factor=factor)


def check(size: Size, seed: int) -> Verdict:
    """Judge two prox parameters, and the radius where a constant step leaves it."""
    parts = ((name, identify(case_of(method, size, seed))) for name, method in METHODS.items())
    return all_hold(*parts, ("radius, constant step", within(case_of(CONSTANT, size, seed, 300, 0.0))))


def control(size: Size, seed: int) -> Verdict:
    """Use dual averaging; double the radius."""
    return all_fail(
        ("RMDA", identify(case_of(RMDA(lr=2.0, decay=0.7), size, seed), control=True)),
        ("radius doubled", within(case_of(CONSTANT, size, seed, 300, 0.0), 2.0)),
    )


CHECK = Check(WEAKLY_CONVEX, check, control, "a quadratic with MCP whose active entries lie where it is flat")
