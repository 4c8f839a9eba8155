"""One proximal step whose input is near the solution lands on the manifold: the certificate, step by step."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.synthetic import gaussian
from manifold_id.methods import ProxGradient, ProxSAGA, ProxSGD, ProxSVRG
from manifold_id.theory.base import Assumption, Evidence, Power, Theorem, Verdict, claimed, no_violations
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.curves import share_by_ratio

Array = np.ndarray

ONE_STEP = Theorem(
    name="one-step-certificate",
    title="One proximal step identifies where its certificate holds",
    statement="psi separable convex, w+ = prox_{a psi}(w - a v), a > 0, v any vector. An atom i that is held at "
    "the solution with margin delta_i is held at the same value in w+ if |w_i - w*_i| / a + |v_i - grad_i f(w*)| "
    "<= delta_i.",
    latex=r"\|w_i-w_i^*\|/a+\|v_i-\nabla_i f(w^*)\|\le\delta_i\ \Rightarrow\ "
    r"\mathrm{prox}_{a\psi}(w-av)_i=w_i^*",
    source="Derived from the optimality condition of the prox: w+_i = w*_i iff (w_i - w*_i)/a - v_i lies in d "
    "psi_i(w*_i), and the left side bounds its distance to -grad_i f(w*), which has depth delta_i.",
    measured="At every step, seed and held atom of noisy proximal SGD with several regularizers: where the left "
    "side is at most delta_i, the atom must have the solution's code. Entries: absolute values; groups: norms.",
    control="The margin doubled: steps whose gradient noise exceeds the true margin towards the boundary "
    "satisfy the false condition and leave the manifold.",
)


def one_step(left: Array, margin: Array, held: Array, *, seeds: int, margin_factor: float = 1.0) -> Verdict:
    """Return the verdict from single steps: it fails at the first step that has the certificate but not the structure.

    Parameters
    ----------
    left
        |w_i - w*_i| / a + |v_i - grad_i f(w*)| of every sample, (samples, atoms), over the atoms held at the solution.
    margin
        delta_i > 0, (atoms,).
    held
        Boolean, of the shape of `left`: the atom has the solution's code after the step.
    seeds
        The number of independent runs.
    margin_factor
        Multiplies the margins; 1 is the theorem.
    """
    ratio = left / margin
    certified = ratio <= margin_factor * (1 - 1e-12)  # rounding of the left side
    violations = int((certified & ~held).sum())
    figure = Evidence(
        "Steps that identify an atom",
        "(distance / a + gradient error) / margin: the certificate holds up to 1",
        "share that identifies",
        (share_by_ratio(ratio, held),),
        yscale="share",
    )
    return no_violations(
        violations,
        int(certified.sum()),
        "certified atoms and steps",
        seeds=seeds,
        assumptions=(
            Assumption("smallest margin", float(margin.min()), bool(margin.min() > 0)),
            claimed(margin_factor),
        ),
        evidence=(figure,),
        power=(Power("factor on the margin", margin_factor, above=float(ratio[~held].min(initial=np.inf))),),
        figures={"certified share": float(certified.mean()), "held share": float(held.mean())},
    )


KINDS = ("l1", "nonnegative", "groups", "box")
MARGIN = 0.3
STEPPERS = (ProxSGD, ProxGradient, ProxSAGA, ProxSVRG)  # w+ = prox_{a psi}(w - a d)


def judge(case: Case, factor: float = 1.0) -> Verdict:
    """Judge every step of the runs against `factor` times the margins."""
    problem, off, method = case.problem, case.off, case.method
    left, held = [], []
    before = np.broadcast_to(case.start, (case.seeds, *problem.w.shape))
    for state in case.states():
        step = method.lr * state.t ** -getattr(method, "decay", 0.0)
        distance = problem.norms(before - problem.w) / step + problem.norms(state.d + problem.dual)
        left.append(distance[:, off])
        held.append((problem.regularizer.structure(state.w) == problem.codes)[:, off])
        before = state.w
    return one_step(
        np.concatenate(left), case.margins[off], np.concatenate(held), seeds=case.seeds, margin_factor=factor
    )


def additive(kind: str, size: Size, seed: int, factor: float) -> Verdict:
    """Judge noise about the margin, from the solution; the step sizes cover three orders of magnitude."""
    problem = INSTANCES[kind](MARGIN, seed)
    cases = (
        Case(problem, ProxSGD(lr), problem.w, size.steps(150), size.seeds, seed, gaussian(MARGIN / 2))
        for lr in (1.0, 0.1, 0.01)
    )
    combine = all_hold if factor == 1 else all_fail
    return combine(*((f"{kind}, step {case.method.lr:g}", judge(case, factor)) for case in cases))


def check(size: Size, seed: int) -> Verdict:
    """Test the certificate at every step for four regularizers."""
    return all_hold(*((kind, additive(kind, size, seed, 1.0)) for kind in KINDS))


def control(size: Size, seed: int) -> Verdict:
    """Test the same steps against twice the margin."""
    return all_fail(*((kind, additive(kind, size, seed, 2.0)) for kind in KINDS))


CHECK = Check(ONE_STEP, check, control, Own(judge, lambda case: judge(case, 2.0), STEPPERS, steps=1000, separable=True))
