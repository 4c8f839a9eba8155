"""Normal-map SGD: identification without variance reduction, because its radius does not shrink with the step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.rows import Rows
from convex_bench.theorems.synthetic import gaussian
from manifold_id.methods import NormalMapSGD
from manifold_id.theory.base import Assumption, Evidence, Power, Theorem, Verdict, claimed, no_violations
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
    source="Qiu, Jiang and Milzarek, arXiv 2305.05828, whose abstract states almost sure identification. The radius "
    "is derived from the optimality condition of the prox: u_t - w* in p d psi(w*) off the support; "
    "identification follows from it once u_t -> u*.",
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
        assumptions=(
            Assumption("smallest p delta", float(reach.min()), bool(reach.min() > 0)),
            claimed(factor, "radius"),
        ),
        evidence=(figure,),
        power=(Power("factor on the radius", factor, above=float((distance / reach)[~held].min(initial=np.inf))),),
    )


MARGIN, SIGMA = 0.3, 0.5
CONSTANT = NormalMapSGD(0.5, 1.0, 0.0)


def identify(case: Case, *, control: bool = False) -> Verdict:
    """Judge identification."""
    noise = case.problem.noise if isinstance(case.problem, Rows) else SIGMA
    return identification(case.record(), case.problem.margin, noise, long_enough=control)


def within(case: Case, factor: float = 1.0) -> Verdict:
    """Judge the radius at every step."""
    problem, off, method = case.problem, case.off, case.method
    assert isinstance(method, NormalMapSGD)
    p, target = method.prox_step, problem.w + method.prox_step * problem.dual
    distance, held = [], []
    for state in case.states():
        distance.append(problem.norms(state.normal - target)[:, off])
        held.append((problem.regularizer.structure(state.w) == problem.codes)[:, off])
    reach = p * case.margins[off]
    return radius(np.concatenate(distance), np.concatenate(held), reach=reach, seeds=case.seeds, factor=factor)


def judge(case: Case) -> Verdict:
    """Judge both, of a method whose steps have sum a = inf and sum a^2 < inf."""
    assert isinstance(case.method, NormalMapSGD)
    summable = Assumption("exponent of the step", case.method.decay, 0.5 < case.method.decay <= 1, "in (1/2, 1]")
    found = all_hold(("radius", within(case)), ("identification", identify(case)))
    status = found.status if summable.met or found.status == "fails" else "inconclusive"
    return replace(found, status=status, assumptions=(summable, *found.assumptions))


def broken(case: Case) -> Verdict:
    """Double the radius, on the same runs."""
    return within(case, 2.0)


def additive(method: NormalMapSGD, size: Size, seed: int, away: float = 1.0, steps: int = 2000) -> Case:
    """Return runs with Gaussian noise, from a start `away` from the solution."""
    problem = l1_quadratic(MARGIN, seed)
    return Case(problem, method, problem.w + away, size.steps(steps), size.seeds, seed, gaussian(SIGMA))


def check(size: Size, seed: int) -> Verdict:
    """Test the radius with a step large enough to leave it, and identification for two exponents and two p."""
    methods = {
        "exponent 3/4": NormalMapSGD(1.0, 1.0, 0.75),
        "exponent 1": NormalMapSGD(2.0, 1.0, 1.0),
        "p = 0.5": NormalMapSGD(0.5, 0.5, 0.75),
    }
    parts = ((name, identify(additive(method, size, seed))) for name, method in methods.items())
    return all_hold(("radius", within(additive(CONSTANT, size, seed, 0.0, 300))), *parts)


def control(size: Size, seed: int) -> Verdict:
    """Use a large constant step, and twice the radius."""
    return all_fail(
        ("constant step", identify(additive(CONSTANT, size, seed), control=True)),
        ("radius doubled", broken(additive(CONSTANT, size, seed, 0.0, 300))),
    )


CHECK = Check(NORMAL_MAP, check, control, Own(judge, broken, (NormalMapSGD,), steps=4000, separable=True))
