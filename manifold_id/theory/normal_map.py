"""Normal-map SGD: identification without variance reduction, because its radius does not shrink with the step."""

from __future__ import annotations

import numpy as np

from manifold_id.theory.base import Assumption, Evidence, Theorem, Verdict, no_violations
from manifold_id.theory.curves import share_by_ratio

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
