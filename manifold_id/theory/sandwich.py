"""Without nondegeneracy: the structure stays between that of the solution and that of its dual certificate."""

from __future__ import annotations

import numpy as np

from manifold_id.theory.base import Assumption, Theorem, Verdict, decide
from manifold_id.theory.curves import figure_of_runs
from manifold_id.theory.intervals import clopper_pearson

Array = np.ndarray

SANDWICH = Theorem(
    name="mirror-sandwich",
    title="Without nondegeneracy the structure stays between two bounds",
    statement="If x_k -> x* and subgradients u_k in d psi(x_k) converge to u*, then eventually supp(x*) is "
    "contained in supp(x_k), which is contained in {i: |u*_i| = lam} (l1; groups: norms). The bounds agree iff "
    "the solution is nondegenerate.",
    latex=r"\operatorname{supp}(x^*)\subseteq\operatorname{supp}(x_k)\subseteq\{i:|u^*_i|=\lambda\}\quad\text{eventually}",
    source="Fadili, Malick and Peyre (2018), mirror stratifiability (formula from memory); for l1: |u_{k,i}| "
    "< lam once u_k is near u*_i inside the interval, and then x_{k,i} = 0.",
    measured="A quadratic with several margins that are exactly 0 (dyadic numbers): violations of either bound "
    "after a burn-in of a quarter of the run must be zero, while structure within the bounds must still change "
    "in the last quarter (else the bounds were not needed). And forward-backward on the degenerate DCT problem "
    "of Poon and Liang's code from three starts: all supports within the bounds, at least two of them different.",
    control="Proximal SGD with noise beyond the margins: its subgradients do not converge, and the upper bound "
    "is violated.",
)


def sandwich(lower: Array, upper: Array, changes: Array) -> Verdict:
    """Return the verdict of the runs: nothing is concluded if at most half of them still change within the bounds.

    Parameters
    ----------
    lower, upper
        Boolean (steps, seeds): an atom of the lower bound is off; an atom outside the upper bound is active.
    changes
        (seeds,) changes of structure in the last quarter.
    """
    steps, seeds = lower.shape
    burn = steps // 4
    low, high = int(lower[burn:].sum()), int(upper[burn:].sum())
    figure = figure_of_runs("Runs outside the bounds", {"lower bound": lower, "upper bound": upper})
    samples = lower[burn:].size
    return decide(
        False if low + high else True if (changes > 0).mean() > 0.5 else None,
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
