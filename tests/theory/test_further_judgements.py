"""What the judgements of further methods conclude from made-up evidence: each must be able to fail."""

import numpy as np
import pytest

from convex_bench.theorems.coordinate_descent import Passes, rate
from convex_bench.theorems.frank_wolfe import drops, faces, instances, step
from convex_bench.theorems.ramda import estimate, inclusion
from convex_bench.theorems.riemannian_newton import newton_step, planted_rank, quadratic
from convex_bench.theorems.step_distance import exponent
from manifold_id.theory.structure_record import StructureRecord


def passes(M, start, count=400):
    points = [np.array(start)]
    for _ in range(count):
        points.append(M @ points[-1])
    return Passes(np.array(points), np.zeros(len(start)), 0)


@pytest.mark.parametrize("M", [np.diag([0.9, 0.3]), 0.9 * np.array([[0.8, -0.6], [0.6, 0.8]])])
def test_passes_must_have_the_rate_and_be_the_matrix_that_is_predicted(M):
    support = np.arange(2)
    found = passes(M, [1.0, 1.0])
    assert rate(found, M, support, 0.1).status == "holds"  # of a complex pair too
    assert rate(found, 1.005 * M, support, 0.1).status == "fails"
    assert rate(found, M + np.array([[0, 0], [1e-6, 0]]), support, 0.1).status == "fails"
    assert rate(found, M, support, 0.0).status == "inconclusive"
    assert rate(found, np.eye(2), support, 0.1).status == "inconclusive"
    assert rate(found, np.eye(2), support, 0.1, control=True).status == "fails"


def test_a_step_that_drops_no_vertex_within_the_condition_fails():
    ratio, dropped = np.array([0.5, 0.9, 3.0]), np.array([True, True, False])
    found = drops(ratio, dropped, 1)
    assert (found.status, found.samples, found.power[0].above) == ("holds", 2, 3.0)
    assert drops(ratio, ~dropped, 1).status == "fails"
    assert drops(ratio, dropped, 1, factor=4.0).status == "fails"
    assert drops(np.array([2.0]), np.array([False]), 1).status == "inconclusive"


def test_instances_off_the_face_fail_and_few_decide_nothing():
    right = np.zeros((10, 50), bool)
    assert faces(StructureRecord(right, right), 0.1).status == "holds"
    assert faces(StructureRecord(~right, right), 0.1).status == "fails"
    assert faces(StructureRecord(right[:, :5], right[:, :5]), 0.1).status == "inconclusive"


def test_a_frank_wolfe_step_stays_on_the_simplex_and_lowers_the_objective():
    problem = instances(20, 3)
    x = np.full(problem.star.shape, 1 / 12)
    for away in (True, False):
        new = step(problem, x, away=away)
        assert (new >= 0).all() and new.sum(axis=1) == pytest.approx(1)
        e, f = new - problem.star, x - problem.star
        after, before = (np.einsum("bi,bij,bj->b", v, problem.H, v) / 2 + (problem.g * v).sum(axis=1) for v in (e, f))
        assert (after < before).all()


def test_exponents_of_distances_are_told_from_their_neighbours():
    a = 0.02 * 2.0 ** np.arange(5)
    noise = np.random.default_rng(0).uniform(0.8, 1.2, (5, 60))
    found = [exponent(a, noise * a[:, None] ** power, 1.0, "off M", 0.5).status for power in (1.0, 0.5, 1.5)]
    assert found == ["holds", "fails", "fails"]
    assert exponent(a, noise, 1.0, "off M", 0.0).status == "inconclusive"
    assert exponent(a, noise, 1.0, "off M", 0.0, control=True).status == "fails"


def test_the_optimizers_estimate_and_inclusion_can_fail():
    k = np.geomspace(30, 1000, 20)
    noise = np.random.default_rng(0).uniform(0.8, 1.2, (20, 60))
    found = [estimate(k, noise * k[:, None] ** power).status for power in (-0.5, 0.0, -1.0)]
    assert found == ["holds", "fails", "fails"]
    assert inclusion(np.full((5, 3), 1e-15), {1e-8: 1e-12, 1e-6: 1e-8}).power[0].above == 1e-6
    assert inclusion(np.full((5, 3), 1e-5), {}).status == "fails"


def test_newton_must_be_quadratic_and_end_at_the_solution_of_the_whole_problem():
    fast = np.tile([1e-2, 1e-4, 1e-8, 1e-16], (4, 1))
    small, ranks = np.full(4, 1e-14), np.full(4, 2)
    assert quadratic(fast, small, ranks).status == "holds"
    assert quadratic(np.tile([1e-2, 1e-5, 1e-7, 1e-10], (4, 1)), small, ranks).status == "fails"
    assert quadratic(fast, np.full(4, 1e-3), ranks).status == "fails"
    assert quadratic(fast, small, np.array([2, 2, 3, 2])).status == "fails"
    assert quadratic(np.ones((4, 4)), small, ranks).status == "inconclusive"


def test_a_newton_step_on_the_manifold_keeps_the_rank_and_the_solution():
    problem = planted_rank(1)
    assert np.linalg.norm(newton_step(problem, problem.star, 2) - problem.star) < 1e-12
    U, s, Vt = np.linalg.svd(problem.star + 0.01 * np.random.default_rng(0).standard_normal(problem.star.shape))
    near = (U[:, :2] * s[:2]) @ Vt[:2]
    assert np.linalg.matrix_rank(newton_step(problem, near, 2), tol=1e-10) == 2
