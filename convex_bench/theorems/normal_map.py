"""Normal-map SGD: identification without variance reduction, because its radius does not shrink with the step."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import gaussian, states, watch
from manifold_id.methods import NormalMapSGD
from manifold_id.theory.base import Assumption, Evidence, Theorem, Verdict, no_violations
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.curves import share_by_ratio
from manifold_id.theory.identified import identification

Array = np.ndarray

NORMAL_MAP = Theorem(
    name="normal-map",
    title="Normal-map SGD identifies without variance reduction",
    statement="u_t = u_{t-1} - a_t (g_t + (u_{t-1} - w_{t-1}) / p), w_t = prox_{p psi}(u_t), p fixed. w_t = w* "
    "off the support iff u_t - w* lies in p d psi(w*) there; enough is |u_t - u*|_i <= p delta_i with u* = w* - "
    "p grad f(w*). With sum a = inf, sum a^2 < inf, u_t -> u* and the manifold is identified in finitely many "
    "steps.",
    latex=r"|u_{t,i}-u_i^*|\le p\,\delta_i\ \Rightarrow\ w_{t,i}=0,\qquad u^*=w^*-p\nabla f(w^*)",
    source="Qiu, Jiang and Milzarek, arXiv 2305.05828 (from the abstract); the radius is derived from the "
    "optimality condition of the prox.",
    measured="The radius at every step, seed and off atom: no violation. Identification of all runs for "
    "exponents 0.75 and 1 of the step and two values of p.",
    control="A large constant step: u fluctuates beyond p delta for ever and the manifold is left again and "
    "again. And the radius doubled.",
)


def radius(distance: Array, held: Array, *, reach: Array, seeds: int, factor: float = 1.0) -> Verdict:
    """Return the verdict on the radius: distance |u_t - u*|_i and held (samples, atoms), reach = p delta_i (atoms,)."""
    inside = distance <= factor * reach * (1 - 1e-12)
    figure = Evidence(
        "Steps that hold an atom",
        "|u - u*| / (p delta): within the radius up to 1",
        "share that holds",
        (share_by_ratio(distance / reach, held),),
        yscale="share",
    )
    return no_violations(
        int((inside & ~held).sum()),
        int(inside.sum()),
        "atoms and steps within the radius",
        seeds=seeds,
        assumptions=(Assumption("smallest p delta", float(reach.min()), bool(reach.min() > 0)),),
        evidence=(figure,),
    )


MARGIN, SIGMA = 0.3, 0.5


def identify(method: NormalMapSGD, size: Size, seed: int) -> Verdict:
    """Judge identification, from a start one away from the solution."""
    problem = l1_quadratic(MARGIN, seed)
    noise, steps = gaussian(SIGMA), size.steps(2000)
    record = watch(problem, method, noise, problem.w + 1.0, steps, seeds=size.seeds, seed=seed)
    return identification(record, problem.margin, SIGMA)


def within(method: NormalMapSGD, size: Size, seed: int, factor: float) -> Verdict:
    """Judge the radius at every step of runs whose step is large enough to leave it."""
    problem, p = l1_quadratic(MARGIN, seed), method.prox_step
    off, target = problem.codes <= 0, problem.w + p * problem.dual
    distance, held = [], []
    for state in states(problem, method, gaussian(SIGMA), problem.w, size.steps(300), seeds=size.seeds, seed=seed):
        distance.append(np.abs(state.normal - target)[:, off])
        held.append((state.w == 0)[:, off])
    reach = p * problem.regularizer.margin(problem.w, -problem.dual)[off]
    return radius(np.concatenate(distance), np.concatenate(held), reach=reach, seeds=size.seeds, factor=factor)


def check(size: Size, seed: int) -> Verdict:
    """Test the radius, and identification for two exponents and two prox parameters."""
    return all_hold(
        ("radius", within(NormalMapSGD(0.5, 1.0, 0.0), size, seed, 1.0)),
        ("exponent 3/4", identify(NormalMapSGD(1.0, 1.0, 0.75), size, seed)),
        ("exponent 1", identify(NormalMapSGD(2.0, 1.0, 1.0), size, seed)),
        ("p = 0.5", identify(NormalMapSGD(0.5, 0.5, 0.75), size, seed)),
    )


def control(size: Size, seed: int) -> Verdict:
    """Use a large constant step, and twice the radius."""
    constant = NormalMapSGD(0.5, 1.0, 0.0)
    return all_fail(
        ("constant step", identify(constant, size, seed)), ("radius doubled", within(constant, size, seed, 2.0))
    )


CHECK = Check(NORMAL_MAP, check, control, "its own instances alone, for now")
