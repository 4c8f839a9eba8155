"""S-PStorm's promise: the law of its estimator's error, the step that follows from it, and when it counts as kept."""

import numpy as np
import pytest
from scipy.stats import chi

from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.stabilized_storm import (
    ETA,
    METHOD,
    PROMISE,
    SIGMA,
    coverage,
    error_bounds,
    law,
    promised,
    promised_step,
)
from convex_bench.theorems.synthetic import gaussian, states
from manifold_id.theory.structure_record import StructureRecord


def test_the_estimators_error_has_the_deviation_that_its_bounds_assume():
    problem, steps, seeds = INSTANCES["l1"](0.3, 1), 60, 400
    b = np.minimum(0.5, METHOD.c / np.arange(2.0, steps + 2))
    bounds = error_bounds(b, SIGMA, 1, len(problem.w))
    deviation = bounds / chi.isf(ETA / np.arange(1, steps + 1) ** 2 / len(problem.w), 1)
    before, held = np.broadcast_to(problem.w + 1, (seeds, len(problem.w))), np.ones(seeds, bool)
    for state in states(problem, METHOD, gaussian(SIGMA), problem.w + 1, steps, seeds=seeds, seed=5):
        error = state.d - problem.gradient(before)
        assert error.std() == pytest.approx(deviation[state.t - 1], rel=0.08)  # 5 standard errors of 3200 samples
        held &= (np.abs(error) <= bounds[state.t - 1]).all(axis=1)
        before = state.w
    assert held.mean() > PROMISE


def test_the_promise_of_a_single_atom():
    b = np.full(50, 0.5)
    atom = {"curvature": np.array([1.0]), "start": np.array([1.0])}
    off = {**atom, "margin": np.array([0.3]), "size": np.array([np.inf])}
    quiet = np.zeros(50)  # the distance 2^-k to the solution alone: 0.25 at the third step
    assert promised_step(quiet, b, 0.5, 2 * (1 - 1e-12), **off) == 3
    assert promised_step(quiet + 0.31, b, 0.5, 1.0, **off) == 51
    active = {**atom, "margin": np.array([np.inf]), "size": np.array([0.2])}
    assert promised_step(quiet, b, 0.5, 2 * (1 - 1e-12), **active) == 3  # half of the distance must be below 0.2


@pytest.mark.parametrize("kind", ["l1", "groups"])
def test_a_smaller_margin_is_promised_later(kind):
    steps = [promised(problem, problem.w + 1, 3000) for problem in (INSTANCES[kind](m, 2) for m in (0.6, 0.3))]
    assert 1 < steps[0] < steps[1] < 3000


def test_the_coverage_is_decided_by_its_interval():
    def verdict(late, step=10, seeds=100, theta=2.0):
        wrong = np.zeros((40, seeds), bool)
        wrong[20, :late] = True
        return coverage(StructureRecord(wrong, np.zeros_like(wrong)), step, 0.3, theta).status

    assert [verdict(late) for late in (0, 8, 40)] == ["holds", "inconclusive", "fails"]
    assert verdict(40, step=22) == "holds"
    assert verdict(0, step=41) == "inconclusive"  # not within the run
    assert verdict(0, theta=0.5) == "inconclusive"  # c is too small for the theorem


def test_the_error_must_follow_its_law():
    k = np.geomspace(100, 3000, 20)
    noise = np.random.default_rng(0).uniform(0.9, 1.1, (20, 60))
    predicted, errors = 1 / k, noise / k[:, None]
    assert law(k, errors, predicted, errors, 2.0).status == "holds"
    assert law(k, 1.2 * errors, predicted, errors, 2.0).status == "fails"
    assert law(k, errors, predicted, errors * np.sqrt(k)[:, None], 2.0).status == "fails"
    assert law(k, errors, predicted, errors, 1.9).status == "inconclusive"
