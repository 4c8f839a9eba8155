"""Two independent certificates of the solution's zeros: from strong convexity, and from the duality gap."""

from __future__ import annotations

import numpy as np

from convex_bench.ground_truth import gap_safe_off, solve
from convex_bench.problem import Problem
from convex_bench.problem.planting import planted
from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.rows import Rows
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide, unmet
from manifold_id.theory.combine import all_fail, all_hold

Array = np.ndarray

CERTIFICATES = Theorem(
    name="two-certificates",
    title="Two independent certificates of the solution's zeros never contradict each other",
    statement="f mu-strongly convex and L-smooth, x+ = prox_{psi/L}(x - grad f(x)/L), R = (L/mu) |x - x+|: |x+ - "
    "x*| <= R; group g is zero at x* if |grad_g f(x+)| + L R < lam_g and nonzero if |x+_g| > R. Independently, g "
    "is zero if the gap-safe sphere lies inside the dual ball: |X_g^T theta| + radius |X_g| < lam_g.",
    latex=r"\|\nabla_gf(x^+)\|+LR<\lambda_g\Rightarrow x^*_g=0,\quad\|x^+_g\|>R\Rightarrow "
    r"x^*_g\ne0,\quad\|X_g^\top\theta\|+r\|X_g\|<\lambda_g\Rightarrow x^*_g=0",
    source="The first is derived (I - grad f/L is nonexpansive, strong monotonicity); the second is Ndiaye, "
    "Fercoq, Gramfort and Salmon, JMLR 18 (2017).",
    measured="Both certificates along proximal gradient on random lasso and group lasso problems, against each "
    "other and against the zeros of the solver's solution: no atom may be certified zero by one and nonzero by "
    "the other or by the solution; at the end the first certificate must have decided every atom.",
    control="The solution perturbed by 1e-3 in every coordinate, as an uncertified solver with a loose "
    "tolerance returns it: its nonzeros contradict the certified zeros.",
)


def certificates(
    strong_zero: Array, strong_active: Array, gap_zero: Array, active: Array, *, curvature: float
) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    strong_zero, strong_active, gap_zero
        Boolean (points, atoms): certified zero and nonzero by strong convexity, zero by the gap, at each point of a
        sequence; at the last point every atom must be decided, so that instances come one call each.
    active
        (atoms,) the atoms that the solution at hand has nonzero.
    curvature
        mu; the first certificate assumes that it is positive.
    """
    zero = strong_zero | gap_zero
    contradictions = int((zero & strong_active).sum() + (zero & active).sum() + (strong_active & ~active).sum())
    undecided = int((~strong_zero[-1] & ~strong_active[-1]).sum())
    k = np.arange(len(zero), dtype=float)
    figure = Evidence(
        "Certified atoms",
        "iterate",
        "certified atoms",
        (
            Curve("zero, by strong convexity", k, strong_zero.sum(axis=1).astype(float)),
            Curve("zero, by the gap", k, gap_zero.sum(axis=1).astype(float)),
            Curve("nonzero", k, strong_active.sum(axis=1).astype(float)),
        ),
    )
    return decide(
        contradictions + undecided == 0,
        (Assumption("strong convexity", curvature, curvature > 0),),
        f"{contradictions} contradictions in {zero.size} decisions, {undecided} atoms undecided at the end, "
        f"{int((strong_zero[-1]).sum())} zeros",
        "0 contradictions, 0 undecided",
        float(contradictions),
        seeds=1,
        samples=zero.size,
        evidence=(figure,),
    )


ROUNDING = (
    1e-12  # added to the radius: at the solution itself |grad_i f| = lam_i to rounding, and the step is exactly 0
)


def _points(problem: Problem, hessian: Array, lipschitz: float, count: int = 25) -> list[Array]:
    """Return points of proximal gradient, with more and more steps between them."""
    w, points, linear = np.zeros(problem.shape), [], problem.gradient(np.zeros(problem.shape))
    for k in range(count):
        for _ in range(2 + k * k // 4):
            w = problem.regularizer.prox(w - (hessian @ w + linear) / lipschitz, 1 / lipschitz)
        points.append(w)
    return points


def run(problem: Problem, w: Array) -> Verdict:
    """Compare the certificates along proximal gradient with the nonzero groups of w."""
    hessian = problem.X.T @ problem.X / problem.n
    mu, L = np.linalg.eigvalsh(hessian)[[0, -1]]
    psi, form = problem.regularizer, problem.separable
    assert form is not None
    norms = lambda v: np.sqrt(np.bincount(form.labels, weights=v * v))  # noqa: E731
    rows = []
    for point in _points(problem, hessian, L):
        after = psi.prox(point - problem.gradient(point) / L, 1 / L)
        radius = L / mu * np.linalg.norm(point - after) + ROUNDING
        zero = norms(problem.gradient(after)) + L * radius < form.lam
        rows.append((zero, norms(after) > radius, gap_safe_off(problem, after, slack=1e-15)))
    zero, nonzero, gap = (np.array(a) for a in zip(*rows, strict=True))
    return certificates(zero, nonzero, gap, norms(w) > 0, curvature=float(mu))


def _instances(size: Size, seed: int) -> list[tuple[str, Problem]]:
    count = 3 * size.factor
    return [
        (
            f"groups of {group}, {i}",
            planted(n=120, groups=15, group_size=group, active=3, loss="squared", seed=100 * seed + i).problem,
        )
        for group in (1, 3)
        for i in range(count)
    ]


def check(size: Size, seed: int) -> Verdict:
    """Compare with the certified solution."""
    return all_hold(*((name, run(problem, solve(problem).w)) for name, problem in _instances(size, seed)))


def control(size: Size, seed: int) -> Verdict:
    """Compare with the solution perturbed by 1e-3."""
    rng = np.random.default_rng(seed)
    return all_fail(
        *(
            (name, run(problem, solve(problem).w + 1e-3 * rng.standard_normal(problem.shape)))
            for name, problem in _instances(size, seed)[:2]
        )
    )


def judge(case: Case, perturbation: float = 0.0) -> Verdict:
    """Judge a problem of one's own; no method is run."""
    rows = case.problem
    assert isinstance(rows, Rows)
    mu, L = rows.strong_convexity, rows.problem.lipschitz()
    convex = Assumption("strong convexity of f", mu, mu > 1e-10 * L, "smallest eigenvalue of X^T X / n, squared loss")
    noise = np.random.default_rng(case.seed).standard_normal(rows.w.shape)
    return run(rows.problem, rows.w + perturbation * noise) if convex.met else unmet(convex)


def perturbed(case: Case) -> Verdict:
    """Compare with the solution perturbed by 1e-3."""
    return judge(case, 1e-3)


CHECK = Check(CERTIFICATES, check, control, Own(judge, perturbed, methods=(), separable=True))
