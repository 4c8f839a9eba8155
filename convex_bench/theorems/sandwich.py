"""Without nondegeneracy: the structure stays between that of the solution and that of its dual certificate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.fft import dct

from convex_bench.theorems.case import CERTAIN, Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.rows import Rows
from convex_bench.theorems.synthetic import Quadratic, gaussian
from manifold_id.methods import RDA, RMDA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.regularizers import L1
from manifold_id.theory.base import Assumption, Theorem, Verdict, decide
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.curves import figure_of_runs
from manifold_id.theory.identified import AGAIN, HARMONIC, late_departures
from manifold_id.theory.intervals import clopper_pearson
from manifold_id.theory.power import rejected
from manifold_id.theory.structure_record import StructureRecord

Array = np.ndarray

SANDWICH = Theorem(
    name="mirror-sandwich",
    title="Without nondegeneracy the structure stays between two bounds",
    statement="If x_k -> x* and subgradients u_k in d psi(x_k) converge to u*, then eventually supp(x*) is "
    "contained in supp(x_k), which is contained in {i: |u*_i| = lam} (l1; groups: norms). The bounds agree iff "
    "the solution is nondegenerate.",
    latex=r"\operatorname{supp}(x^*)\subseteq\operatorname{supp}(x_k)\subseteq\{i:|u^*_i|=\lambda\}\quad\text{eventually}",
    source="Fadili, Malick and Peyre, SIAM J. Optim. 28 (2018). For l1 in a line: x_{k,i} != 0 forces |u_{k,i}| = "
    "lam, which u_k -> u* with |u*_i| < lam excludes; and x_{k,i} -> x*_i != 0 is not 0 from some k on.",
    measured="A quadratic with several margins that are exactly 0 (dyadic numbers): violations of either bound "
    "after a burn-in of a quarter of the run must be zero, while structure within the bounds must still change "
    "in the last quarter (else the bounds were not needed). And forward-backward on the degenerate DCT problem "
    "of Poon and Liang's code from three starts: all supports within the bounds, at least two of them different.",
    control="Proximal SGD with noise beyond the margins: its subgradients do not converge, and the upper bound "
    "is violated.",
)


def sandwich(lower: Array, upper: Array, changes: Array, *, long_enough: bool = True) -> Verdict:
    """Return the verdict of the runs: nothing is concluded if at most half of them still change within the bounds.

    Parameters
    ----------
    lower, upper
        Boolean (steps, seeds): an atom of the lower bound is off; an atom outside the upper bound is active.
    changes
        (seeds,) changes of structure in the last quarter.
    long_enough
        Whether the bounds are known to hold from a quarter of this length on; else a violation is a contradiction only
        where violations go on at a rate that does not fall, and "eventually" may still come.
    """
    steps, seeds = lower.shape
    burn = steps // 4
    low, high = int(lower[burn:].sum()), int(upper[burn:].sum())
    figure = figure_of_runs("Runs outside the bounds", {"lower bound": lower, "upper bound": upper})
    samples = lower[burn:].size
    count, late = late_departures(StructureRecord(upper, lower))
    lasting = long_enough or (count >= AGAIN and late.low > HARMONIC and late.high >= 0.5)
    return decide(
        (False if lasting else None) if low + high else True if (changes > 0).mean() > 0.5 else None,
        (Assumption("steps after burn-in", samples, samples > 0),),
        f"{low} violations of the lower and {high} of the upper bound in {samples} steps after burn-in, "
        f"median {np.median(changes):.0f} changes within the bounds in the last quarter",
        "0 violations after a quarter of the run; more than half of the runs still change, else inconclusive",
        float(low + high),
        clopper_pearson(low + high, 2 * samples),
        seeds,
        samples,
        evidence=(figure,),
    )


def settled_supports(supports: Array, lower: Array, upper: Array, residual: float) -> Verdict:
    """Return the verdict of deterministic runs: supports (starts, atoms) must lie within the bounds, not all equal.

    `residual` is the largest error at the end; above 1e-8 the runs have not converged and nothing is concluded.
    """
    outside = int((lower & ~supports).sum() + (supports & ~upper).sum())
    kinds = len(np.unique(supports, axis=0))
    return decide(
        outside == 0 and kinds > 1,
        (Assumption("error at the end", residual, residual < 1e-8),),
        f"{outside} atoms outside the bounds, {kinds} different supports of sizes {supports.sum(axis=1).tolist()}",
        "0 atoms outside; at least two supports",
        float(outside),
        samples=supports.size,
    )


def judge(case: Case, *, long_enough: bool = False) -> Verdict:
    """Judge the proximal points: the lower bound is the solution's support, the upper the atoms without a margin."""
    problem, off = case.problem, case.off
    inner = off & (case.margins > CERTAIN * (problem.form.lam if isinstance(problem, Rows) else 1.0))
    below, above, less = np.zeros((3, case.steps, case.seeds), dtype=bool)
    degenerate = np.flatnonzero(off & ~inner)
    changes, previous = np.zeros(case.seeds, dtype=np.int64), np.zeros((case.seeds, len(off)), dtype=bool)
    for i, state in enumerate(case.states()):
        active = problem.regularizer.structure(state.z) > 0
        below[i], above[i] = (~off & ~active).any(axis=1), (active & inner).any(axis=1)
        less[i] = above[i] | active[:, degenerate[:1]].any(axis=1)
        if i >= case.steps * 3 // 4:
            changes += (active != previous).any(axis=1)
        previous = active
    found = sandwich(below, above, changes, long_enough=long_enough)
    if not len(degenerate):
        return found
    judged = lambda left: sandwich(below, less, changes, long_enough=long_enough)  # noqa: E731
    many = len(degenerate)
    power = rejected("degenerate atoms within the upper bound", many, judged, below=(many - 1,))
    return replace(found, power=(power,))


def additive(method: Method, size: Size, seed: int) -> Case:
    """Return runs on a decoupled problem with two margins of exactly 0 and two of 1/2."""
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], 6)
    problem = Quadratic(L1(1.0), sign * [1, 2, 0, 0, 0, 0], sign * [1, 1, 1, 1, 0.5, 0.5], 1.0)
    return Case(problem, method, problem.w, size.steps(2000), size.seeds, seed, gaussian(0.5))


def cosine(seed: int, step: float = 0.1) -> Verdict:
    """Run forward-backward on min |A x - y|^2 / 2 + |x|_1 / 2 with an orthogonal A, where seven margins are 0.

    As x* = A^T y softened at 1/2, every degenerate coordinate converges geometrically from one side: from above it is
    never exactly zero, from the other side it is. Active means above 1e-13, three orders below its size at the end.
    """
    rng = np.random.default_rng(seed)
    A = dct(np.eye(16), norm="ortho")
    c = rng.uniform(-0.25, 0.25, 16)
    c[[4, 10]] = 3.0, -3.0
    up, down = [0, 3, 8, 13], [6, 11, 15]
    c[up], c[down] = 0.5, -0.5
    y = A @ c
    star = np.sign(c) * np.maximum(np.abs(c) - 0.5, 0)
    upper = np.abs(c) >= 0.5
    boundary = np.zeros(16)
    boundary[up], boundary[down] = 1.0, -1.0
    x = np.stack([star + boundary, star + boundary * (np.arange(16) % 2), star - boundary])
    psi = L1(0.5)
    for _ in range(240):
        x = psi.prox(x - step * (x @ A.T - y) @ A, step)
    return settled_supports(np.abs(x) > 1e-13, star != 0, upper, float(np.abs(x - star).max()))


def check(size: Size, seed: int) -> Verdict:
    """Test two dual averaging methods and the deterministic example."""
    return all_hold(
        ("RMDA", judge(additive(RMDA(lr=0.1), size, seed), long_enough=True)),
        ("RDA", judge(additive(RDA(gamma=1.0), size, seed), long_enough=True)),
        ("forward-backward", cosine(seed)),
    )


def control(size: Size, seed: int) -> Verdict:
    """Run proximal SGD, with a constant and a vanishing step."""
    cases = (additive(method, size, seed) for method in (ProxSGD(0.1), ProxSGD(0.5, decay=0.5)))
    return all_fail(*((str(case.method), judge(case, long_enough=True)) for case in cases))


def single_gradients(case: Case) -> Verdict:
    """Run proximal SGD instead: its subgradients do not converge."""
    return judge(case.with_method(ProxSGD(getattr(case.method, "lr", 0.1))), long_enough=True)


CHECK = Check(
    SANDWICH, check, control, Own(judge, single_gradients, (RMDA, RDA), steps=4000, nondegenerate=False, separable=True)
)
