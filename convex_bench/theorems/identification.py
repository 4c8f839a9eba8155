"""Finite identification: from some step on the structure is right and stays so."""

from __future__ import annotations

from functools import cache

import numpy as np

from convex_bench.data import load
from convex_bench.ground_truth import Solution, solve
from convex_bench.problem import Problem
from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.compiled import watch_compiled
from convex_bench.theorems.instances import INSTANCES, nonconvex_quadratic
from convex_bench.theorems.rows import logistic
from convex_bench.theorems.synthetic import gaussian, watch
from manifold_id.methods import RDA, RMDA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.regularizers import L0, MCP, GroupLasso, LHalf
from manifold_id.theory.base import Theorem, Verdict
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.identified import identification

IDENTIFICATION = Theorem(
    name="rmda-identification",
    title="RMDA identifies the manifold in finitely many steps and stays on it",
    statement="If the proximal points of RMDA converge to W*, psi is partly smooth at W* relative to M and -grad "
    "f(W*) lies in the relative interior of d psi(W*), then almost surely there is a step from which all "
    "proximal points lie in M.",
    latex=r"\tilde W^t\to W^*,\ -\nabla f(W^*)\in\operatorname{ri}\partial\psi(W^*)\ \Rightarrow\ \exists "
    r"T_0\,\forall t\ge T_0:\ \tilde W^t\in\mathcal M",
    source="Huang and Lee, ICLR 2022, Theorem 2 (worded from memory); for separable psi it follows from the "
    "optimality condition of the subproblem and the convergence of the normalized dual average.",
    measured="A run of T steps cannot show 'for ever': identified means right on the whole last half of the "
    "run. The share of identified runs, for five kinds of manifold with additive noise (l1 once more at twice the "
    "length), and with one data row a step: planted logistic regression with l1 and with groups, and the census "
    "data a9a with groups at its certified solution; last false positive and last false negative apart. Data rows "
    "need a step small enough for the iterate not to fluctuate by its smallest active norm, else false negatives "
    "come late.",
    control="Proximal SGD with noise beyond the margin, on the quadratic and on a9a; margin 0, judged as if it were "
    "0.3, under RMDA and RDA; RMDA with constant momentum weight c < 1 read at the averaged iterate, which keeps a "
    "factor (1 - c)^t of old nonzero entries, and whose rank is that of a mixture; nonconvex penalties under dual "
    "averaging, whose prox parameter alpha/beta grows without bound; beta growing like alpha.",
)

MARGIN, SIGMA = 0.3, 0.3
KINDS = {"l1": 1000, "groups": 1000, "nuclear norm": 800, "total variation": 1000, "box": 2000}


def run(
    kind: str, method: Method, size: Size, seed: int, steps: int, point: str = "z", margin: float = MARGIN
) -> Verdict:
    """Run from a start about one away from the solution, where every atom is active.

    With `margin` = 0 the run is judged as if it had the usual one: a control whose assumption is known to be broken.
    """
    problem = INSTANCES[kind](margin, seed)
    start = problem.w + np.linspace(0.5, 1.5, problem.w.size).reshape(problem.w.shape)
    seeds = max(size.seeds // 2, 50)
    record = watch(problem, method, gaussian(SIGMA), start, steps, seeds=seeds, seed=seed, point=point)
    return identification(record, problem.margin if margin > 0 else MARGIN, SIGMA)


def planted_rows(group_size: int, size: Size, seed: int) -> Verdict:
    """Run on one row a step of a planted logistic regression, from zero."""
    rows = logistic(seed, group_size=group_size)
    seeds = range(1000 * seed, 1000 * seed + max(size.seeds // 2, 50))
    record = watch_compiled(rows.problem, RMDA(lr=0.005), rows.codes, seeds, size.steps(8000))
    return identification(record, rows.margin, rows.noise)


@cache
def _census() -> tuple[Problem, Solution]:
    """Return the group lasso on the census data a9a, and its solution; check and control, of any seed, share them."""
    X, y, groups = load("a9a")
    problem = Problem(X, y, regularizer=GroupLasso(1.0, groups=groups))
    problem = problem.with_lam(0.3 * problem.lambda_max())
    return problem, solve(problem)


def census(method: Method, size: Size, seed: int, steps: int = 20000) -> Verdict:
    """Run on one row a step of the census data a9a, from zero; the seed draws the rows."""
    problem, solution = _census()
    seeds = range(1000 * seed, 1000 * seed + max(size.seeds // 2, 50))
    record = watch_compiled(problem, method, solution.codes, seeds, size.steps(steps))
    return identification(record, solution.min_margin, float(problem.atom_noise(solution.w).max()))


def check(size: Size, seed: int) -> Verdict:
    """Test five kinds of manifold, l1 once more at twice the length, and data rows."""
    parts = [(kind, run(kind, RMDA(lr=0.05), size, seed, size.steps(steps))) for kind, steps in KINDS.items()]
    return all_hold(
        *parts,
        ("l1, twice as long", run("l1", RMDA(lr=0.05), size, seed, size.steps(2 * KINDS["l1"]))),
        ("logistic rows, l1", planted_rows(1, size, seed)),
        ("logistic rows, groups", planted_rows(3, size, seed)),
        ("a9a, groups", census(RMDA(lr=0.003), size, seed)),
    )


def control(size: Size, seed: int) -> Verdict:
    """Break one assumption at a time."""
    steps = size.steps(1000)
    parts = [
        ("ProxSGD", run("l1", ProxSGD(lr=0.5, decay=0.5), size, seed, steps)),
        ("ProxSGD, a9a", census(ProxSGD(lr=0.003), size, seed, 5000)),
        ("margin 0, RMDA", run("l1", RMDA(lr=0.05), size, seed, steps, margin=0.0)),
        ("margin 0, RDA", run("l1", RDA(gamma=1.0), size, seed, steps, margin=0.0)),
        ("c = 0.1, averaged iterate", run("l1", RMDA(lr=0.05, momentum=0.1), size, seed, steps, "w")),
        ("c = 0.1, rank of the averaged iterate", run("nuclear norm", RMDA(0.05, momentum=0.1), size, seed, 200, "w")),
        ("beta like alpha", run("l1", RMDA(lr=0.05, damping=1.5), size, seed, steps)),
    ]
    for name, penalty in (("MCP", MCP(1.0, gamma=3.0)), ("l0", L0(1.0)), ("l1/2", LHalf(1.0))):
        problem = nonconvex_quadratic(MARGIN, seed, penalty)
        record = watch(problem, RMDA(lr=0.3), gaussian(SIGMA), problem.w, steps, seeds=50, seed=seed)
        parts.append((name, identification(record, MARGIN, SIGMA)))
    return all_fail(*parts)


CHECK = Check(IDENTIFICATION, check, control)
