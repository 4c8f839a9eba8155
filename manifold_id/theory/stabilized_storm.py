"""S-PStorm: the proximal points identify, the stabilized iterates never do."""

from __future__ import annotations

from manifold_id.theory.base import Theorem

STABILIZED_STORM = Theorem(
    name="stabilized-storm",
    title="S-PStorm identifies in its proximal points, not in its iterates",
    statement="x_{k+1} = x_k + zeta b_k (y_k - x_k), y_k = prox_{a psi}(x_k - a d_k), d_k the recursive momentum "
    "estimate, b_k = min(1/2, c/(k+1)): with probability at least 1 - eta_0 pi^2 / 6 the support of y_k is that "
    "of the solution for all k >= K = O(max(delta^-4, Delta^-4)). x_k is a convex combination of all past points "
    "and keeps their nonzeros.",
    latex=r"\Pr\big(\operatorname{supp}(y_k)=\operatorname{supp}(x^*)\ \forall k\ge K\big)\ge1-\eta_0\pi^2/6",
    source="Dai, Wang, Curtis and Robinson, AISTATS 2023 (poster and slides; the constants C_1, C_2 in K "
    "depend on unknown bounds).",
    measured="Coverage: the share of runs whose y_k has the right support on the whole last half, 95 % lower "
    "limit above 0.9, for l1 and for groups. K itself is not computed: its constants are not known, and half of "
    "the run stands in its place. Noise is additive and the same at x_k and x_{k-1}, as the estimator asks.",
    control="The iterate x_k of the same runs.",
)
