"""The claim of the project on real and planted data: 100 seeds, certified structure, intervals printed.

Step sizes and horizons follow from margin, noise and smallest active norm of each solution: the horizon is several
times (noise / margin)^2 steps, the step so small that the iterate does not fluctuate by the smallest active norm.
"""

import os

import pytest

from convex_bench import Problem, load, planted, solve
from convex_bench.engine import run
from manifold_id.methods import RDA, RMDA, ProxSGD
from manifold_id.regularizers import L1, GroupLasso
from manifold_id.statistics import proportion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SEEDS = 100
# problem: (regularizer, lam / lambda_max, RMDA's lr, RDA's gamma, steps)
REAL = {
    "a9a, groups, 0.1": ("a9a", "natural", 0.1, 0.003, 0.667, 300_000),
    "a9a, groups, 0.02": ("a9a", "natural", 0.02, 0.001, 2.0, 300_000),
    "a9a, l1, 0.1": ("a9a", "l1", 0.1, 0.0005, 2.0, 1_200_000),
    "mushrooms, groups, 0.1": ("mushrooms", "natural", 0.1, 0.01, 0.667, 300_000),
    "mnist-3-vs-5, image rows, 0.4": ("mnist-3-vs-5", 28, 0.4, 0.001, 6.0, 100_000),
}


def real_problem(data, groups, ratio):
    X, y, natural = load(data)
    chosen = natural if groups == "natural" else groups
    regularizer = L1(1.0) if groups == "l1" else GroupLasso(1.0, groups=chosen)
    problem = Problem(X, y, regularizer=regularizer)
    return problem.with_lam(ratio * problem.lambda_max())


def shares(problem, methods, steps):
    """Return, for each method, how many seeds identified the certified structure for the last half of the run."""
    solution = solve(problem)
    assert solution.status == "certified"
    found = {}
    for name, method in methods.items():
        runs = run(problem, method, range(SEEDS), steps, reference=solution, checkpoints=[steps])
        found[name] = sum(r.trace.identified_at(solution.codes) is not None for r in runs)
        share = proportion(found[name], SEEDS, method="exact")
        print(f"{name}: {found[name]}/{SEEDS} [{share.low:.1%}, {share.high:.1%}]")
    return found


def assert_identification(problem, lr, gamma, steps):
    methods = {"RMDA": RMDA(lr=lr), "RDA": RDA(gamma=gamma), "ProxSGD": ProxSGD(lr=lr)}
    found = shares(problem, methods, steps)
    assert found["RMDA"] >= 95
    assert found["RDA"] >= 95
    assert found["ProxSGD"] <= 5


@pytest.mark.parametrize("name", REAL)
def test_real_data(name):
    data, groups, ratio, lr, gamma, steps = REAL[name]
    if data.startswith("mnist") and not os.environ.get("MANIFOLD_ID_DATA"):
        pytest.skip("MNIST is not packed: set MANIFOLD_ID_DATA to the folder that holds it")
    assert_identification(real_problem(data, groups, ratio), lr, gamma, steps)


@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("size", [1, 5])
def test_planted_problems_with_100_groups(loss, size):
    problem = planted(n=1000, groups=100, group_size=size, active=5, margin=0.3, loss=loss).problem
    assert_identification(problem, 0.001, 2.0, 200_000)


def test_where_the_manifold_is_not_certain_the_solution_says_so():
    """l1 on one-hot data with dependent columns: the margin is 0, and no identification is claimed."""
    assert solve(real_problem("mushrooms", "l1", 0.1)).status == "degenerate"
