"""Two independent certificates of the solution's zeros: from strong convexity, and from the duality gap."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from convex_bench.ground_truth import gap_safe_off, solve
from convex_bench.ground_truth.form import form_of
from convex_bench.ground_truth.gap_safe import dual_point
from convex_bench.problem import Problem
from convex_bench.problem.planting import planted
from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.rows import Rows
from manifold_id.certificate import certified_codes, error_bound
from manifold_id.regularizers import L1
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide, unmet
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.power import rejected

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
    "the other or by the solution; at the end the first certificate must have decided every atom. Both are the "
    "functions that users import. On random problems the sphere has room to spare; on a problem with two orthogonal "
    "columns, where a scaled residual misses the dual solution by all of its radius, the sphere of radius sqrt(gap) in "
    "place of sqrt(2 gap) contradicts the solution.",
    control="The solution perturbed by 1e-3 in every coordinate, as an uncertified solver with a loose "
    "tolerance returns it: its nonzeros contradict the certified zeros.",
)


def certificates(
    strong_zero: Array, strong_active: Array, gap_zero: Array, active: Array, *, curvature: float, decided: bool = True
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
    decided
        Whether the sequence ends at the solution, where the first certificate must have decided every atom.
    """
    zero = strong_zero | gap_zero
    contradictions = int((zero & strong_active).sum() + (zero & active).sum() + (strong_active & ~active).sum())
    undecided = int((~strong_zero[-1] & ~strong_active[-1]).sum()) if decided else 0
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


def _points(problem: Problem, lipschitz: float, count: int = 25) -> list[Array]:
    """Return points of proximal gradient, with more and more steps between them."""
    w, points = np.zeros(problem.shape), []
    for k in range(count):
        for _ in range(2 + k * k // 4):
            w = problem.regularizer.prox(w - problem.gradient(w) / lipschitz, 1 / lipschitz)
        points.append(w)
    return points


def _constants(problem: Problem) -> tuple[float, float]:
    """Return mu and L of f under the squared loss, whose Hessian is constant."""
    if problem.loss.name != "squared":
        raise ValueError(f"loss={problem.loss.name!r}: strong convexity is known for the squared loss alone")
    hessian = problem.X.T @ problem.X / problem.n
    mu, L = np.linalg.eigvalsh(hessian)[[0, -1]]
    return float(mu), float(L)


@dataclass(frozen=True, eq=False)
class Decisions:
    """Both certificates at the points of a sequence, and what the power is measured with: gradients and radii."""

    mu: float
    codes: Array  # (points, atoms): certified_codes
    gap_zero: Array  # (points, atoms)
    inner: Array  # (points, atoms): |X_g^T theta|, in the scale of lam
    radius: Array  # (points, atoms): of the gap-safe sphere in that scale
    lam: Array  # (atoms,)

    def judge(self, active: Array, factor: float | None = None, *, decided: bool = True) -> Verdict:
        """Judge against the atoms that a solution has nonzero; `factor` multiplies the gap-safe sphere's radius."""
        gap = self.gap_zero if factor is None else self.inner + factor * self.radius < self.lam
        return certificates(self.codes == 0, self.codes == 1, gap, active, curvature=self.mu, decided=decided)


def _sphere(problem: Problem, point: Array) -> tuple[Array, Array, Array]:
    """Return what the gap proves to be zero at a point, |X_g^T theta| and the radius of the sphere, (atoms,) each."""
    form = form_of(problem)
    assert form is not None
    dual = dual_point(problem, form, point.reshape(-1))
    squares = problem.loss.curvature_bound * form.sums(problem.column_squares()[form.members]) / problem.n
    return (
        gap_safe_off(problem, point, slack=SLACK),
        form.norms(dual.gradient),
        np.sqrt(2 * (dual.gap + SLACK) * squares),
    )


def decisions(problem: Problem, points: list[Array]) -> Decisions:
    """Return what `certificate.certified_codes`, from `error_bound`, and `gap_safe_off` prove at the points."""
    mu, L = _constants(problem)
    psi, form = problem.regularizer, form_of(problem)
    assert form is not None
    rows = []
    for point in points:
        after = psi.prox(point - problem.gradient(point) / L, 1 / L)
        reach = error_bound(float(np.linalg.norm(point - after)), L, mu)[0] + ROUNDING
        rows.append((certified_codes(after, problem.gradient(after), psi, reach, L), *_sphere(problem, after)))
    codes, gap, inner, radius = (np.array(a) for a in zip(*rows, strict=True))
    return Decisions(mu, codes, gap, inner, radius, form.lam)


SLACK = 1e-15
FACTORS = (0.99, 0.95, 0.9, 0.8, 2**-0.5, 0.5, 0.2)  # of the sphere's radius; sqrt(gap) in place of sqrt(2 gap) is 0.71


def run(problem: Problem, w: Array) -> Verdict:
    """Compare the certificates along proximal gradient with the nonzero groups of w."""
    found = decisions(problem, _points(problem, _constants(problem)[1]))
    form = problem.separable
    assert form is not None
    active = np.bincount(form.labels, weights=np.asarray(w, dtype=float).reshape(-1) ** 2) > 0
    power = rejected("factor on the sphere's radius", 1.0, lambda f: found.judge(active, f), below=FACTORS)
    return replace(found.judge(active), power=(power,))


def corner(seed: int) -> Verdict:
    """Judge a problem on which the gap-safe sphere is tight: two orthogonal columns, of which the second is active with
    a tiny weight, and residuals that leave the dual ball through the first. Scaled back, they miss the solution along
    the second column by all of sqrt(2 gap)."""
    rng = np.random.default_rng(seed)
    lam, big, small = 1.0, rng.uniform(30, 100), 1e-6
    tau = lam / big  # the second column's correlation with its residual, big, is lam at the solution
    X = np.sqrt(2.0) * np.diag([1.0, tau])
    problem = Problem(X, np.sqrt(2.0) * np.array([3.0, big + tau * small]), "squared", L1(lam))
    star = solve(problem).w
    points = [star - np.array([e, 0.0]) for e in np.geomspace(1e-2, 1e-4, 12)]
    undecided = [np.full(2, -1, dtype=np.int8)] * len(points)
    gap, inner, radius = (np.array(a) for a in zip(*(_sphere(problem, point) for point in points), strict=True))
    tight = Decisions(_constants(problem)[0], np.array(undecided), gap, inner, radius, np.full(2, lam))
    active = star != 0
    power = rejected(
        "factor on the sphere's radius", 1.0, lambda f: tight.judge(active, f, decided=False), below=FACTORS
    )
    return replace(tight.judge(active, decided=False), power=(power,))


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
    return all_hold(
        *((name, run(problem, solve(problem).w)) for name, problem in _instances(size, seed)),
        ("where the sphere is tight", corner(seed)),
    )


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
