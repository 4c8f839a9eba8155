"""What single judgements conclude from made-up evidence: each must be able to fail."""

from dataclasses import replace

import numpy as np
import pytest

from convex_bench.ground_truth import solve
from convex_bench.problem import Problem
from convex_bench.theorems import Size, verify
from convex_bench.theorems.asymptotic_normality import face_covariance, fading
from convex_bench.theorems.certificates import corner
from convex_bench.theorems.compiled import structure_record, watch_compiled
from convex_bench.theorems.concentration import runs
from convex_bench.theorems.dichotomy import Departures, dichotomy, empirical_rate, from_afar, scaled_rows
from convex_bench.theorems.identification_time import example
from convex_bench.theorems.inexact import inexact, same_times
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.plateau import plateau
from convex_bench.theorems.prediction import change_bound, prediction, scatter
from convex_bench.theorems.regret import anytime_bound
from convex_bench.theorems.rows import RowOracle, Rows, logistic
from convex_bench.theorems.sandwich import sandwich
from convex_bench.theorems.variance_reduction import Conditions, momentum_plateau
from convex_bench.theorems.wrong_support import Switches, newton, returns
from manifold_id.methods import RDA, RMDA, ProxSGD
from manifold_id.regularizers import GroupLasso
from manifold_id.theory.combine import all_hold
from manifold_id.theory.identified import identification
from manifold_id.theory.structure_record import LastErrors, StructureRecord
from manifold_id.tracking import Trace


def test_row_gradients_of_the_batch_are_those_of_the_problem():
    rows = logistic(3)
    oracle = RowOracle(rows, (5, 10), seed=1)
    oracle.draw()
    w = np.random.default_rng(0).standard_normal((5, 10))
    drawn = np.random.default_rng(1).integers(0, 300, 5)
    expected = np.stack([rows.problem.minibatch_gradient(w[s], drawn[s : s + 1]) for s in range(5)])
    np.testing.assert_allclose(oracle(w), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("level", [0.8, 2.0])
def test_scaled_rows_keep_the_solution_and_reach_the_level(level):
    rows = scaled_rows(1, level)
    off, lam = rows.codes <= 0, rows.problem.penalty.lam
    gradients = rows.row_gradients_at_solution()
    assert np.max(rows.regularizer.residual(rows.w, gradients.mean(axis=0))) < 1e-12
    np.testing.assert_allclose(np.abs(gradients[:, off]).max(axis=0), level * lam)
    assert (empirical_rate(gradients[:, off], lam) > 0).all() == (level > 1)


def test_a_misstated_margin_moves_the_mean_and_keeps_the_noise():
    gradients = np.array([0.5, -0.9]) + np.array([[-0.4], [0.0], [0.4]])  # margins 0.5 and 0.1 for lam = 1
    assert empirical_rate(gradients, 1.0) == pytest.approx([0, 1 / 3])
    assert empirical_rate(gradients, 1.0, 0.5) == pytest.approx([1 / 3, 1 / 3])
    assert empirical_rate(gradients, 1.0, 2.0) == pytest.approx([0, 1 / 3])


def test_a_compiled_record_agrees_with_the_trace():
    rows = logistic(2)
    record = watch_compiled(rows.problem, RMDA(lr=0.1), rows.codes, range(3), 400)
    assert record.steps == 400 and record.seeds == 3
    trace = Trace(np.array([1, 0]), np.array([2, 3]), np.array([1, 1]), np.array([1, 0]), 4)
    made = structure_record([trace], np.array([1, 0]))
    assert made.false_positive[:, 0].tolist() == [False, True, False, False]
    assert not made.false_negative.any()


def departures(rate, steps=2000, seeds=20):
    visits = np.full((2, seeds, 1), steps // 2)
    leaves = np.random.default_rng(0).binomial(visits, rate)
    last = LastErrors(np.full(seeds, steps if rate else 0), np.zeros(seeds))
    return Departures(leaves, visits, last, steps)


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_departures_must_follow_the_predicted_rate(tolerance):
    counts = departures(0.05)
    assert dichotomy(counts, np.array([0.05]), tolerance=tolerance).status == "holds"
    assert dichotomy(counts, np.array([0.08]), tolerance=tolerance).status == "fails"
    assert dichotomy(counts, np.array([0.0]), tolerance=tolerance).status == "fails"


def test_the_plateau_of_a_momentum_average():
    rng, rho = np.random.default_rng(0), 0.2
    d, kept = np.zeros(4000), []
    for t in range(120):
        d = (1 - rho) * d + rho * rng.standard_normal(4000)
        if t > 100:
            kept.append(np.abs(d))
    assert momentum_plateau(np.array(kept), rho, 1.0).status == "holds"
    assert momentum_plateau(1.2 * np.array(kept), rho, 1.0).status == "fails"


def test_conditions_tell_convergence_from_a_plateau():
    t = np.arange(10.0, 100)
    falling = Conditions(t, 1.5 / t, t**-0.5, t**-0.3)
    flat = Conditions(t, 1.5 / t, 1 + 0 * t, 1 + 0.001 * t)
    assert all(a.met for a in falling.assumptions(converges=True))
    assert falling.third == pytest.approx(0.5)
    assert not all(a.met for a in flat.assumptions(converges=True))
    assert all(a.met for a in flat.assumptions(converges=False))
    assert not all(a.met for a in Conditions(t, 0.1 + 0 * t, t**-0.5, t**-0.3).assumptions(converges=True))


def test_the_anytime_bound_at_the_first_steps():
    bound = anytime_bound(2, 0.5, np.array([3.0]), 2.0, np.array([1.5]))
    s = 0.5 * np.sqrt([1, 2])
    first = (9 / 2 + s[0] ** 2 * 4 / 2 + s[0] * 1.5) / s[0]
    second = (np.sqrt(2) * 9 / 2 + (s[0] ** 2 + s[1] ** 2) * 4 / 2 + s[0] * 1.5) / s.sum()
    np.testing.assert_allclose(bound[:, 0], [first, second])


def test_normality_and_covariance_are_judged_apart():
    rng = np.random.default_rng(0)
    P = np.diag([1.0, 1, 0])
    good = rng.standard_normal((800, 3)) @ P
    assert face_covariance(good, P, P, margin=0.1).status == "holds"
    assert face_covariance(good + np.array([0, 0, 1e-6]), P, P, margin=0.1).status == "fails"
    signs = np.sign(good)  # the right covariance, not normal
    verdict = face_covariance(signs, P, P, margin=0.1)
    assert verdict.status == "fails" and verdict.effect < 0.1
    assert face_covariance(good, P, P, margin=0.0).status == "inconclusive"


def test_times_of_different_laws_are_told_apart():
    rng = np.random.default_rng(0)
    exact = rng.integers(10, 30, 80)
    assert same_times(exact, {"same": rng.permutation(exact)}, 500).status == "holds"
    assert same_times(exact, {"same": exact, "later": exact + 20}, 500).status == "fails"


def test_curvature_and_distance_bound_the_change_of_the_gradient():
    for problem in (logistic(3, group_size=3), INSTANCES["groups"](0.3, 1)):
        w = problem.w + np.random.default_rng(0).standard_normal((20, len(problem.w)))
        change = (problem.gradient(w) + problem.dual).reshape(20, len(problem.codes), -1)
        assert (np.linalg.norm(change, axis=-1) <= change_bound(problem)(w) * (1 + 1e-9)).all()


def test_a_prediction_that_never_comes_is_no_prediction():
    def last(*steps):
        return LastErrors(np.array(steps), np.zeros(len(steps)))

    left = np.ones((50, 4, 1))
    left[20:, :3] = 0.1
    verdict = scatter(all_hold(("seeds", prediction(left, np.array([0.5]), last(20, 10, 5, 50)))))
    assert (verdict.status, verdict.samples) == ("holds", 3)
    assert len(verdict.evidence[0].curves[0].x) == 3
    assert prediction(left, np.array([0.5]), last(21, 10, 5, 50)).status == "fails"
    assert prediction(left[:10], np.array([0.5]), last(3, 3, 3, 3)).status == "inconclusive"


def test_wrong_switches_must_be_undone():
    right = np.ones(3, bool)
    figures = [np.array([1e-2, 1e-5, 1e-11])] * 3
    undone = Switches(right, right, np.zeros(3, int), np.array([2, 0, 1]), figures)
    assert returns(undone).status == "holds"
    assert returns(Switches(right, right, np.array([1, 0, 0]), np.array([1, 0, 1]), figures)).status == "fails"
    assert returns(Switches(right, right, np.zeros(3, int), np.zeros(3, int), figures)).status == "inconclusive"
    assert newton(undone).status == "holds"
    slow = [np.array([1e-2, 1e-3, 1e-4])] * 3
    assert newton(Switches(right, right, np.zeros(3, int), np.zeros(3, int), slow)).status == "fails"


def test_an_example_must_have_what_is_stated():
    stated, margins = np.array([1.0, 0, 0]), np.array([0.1, 0.2])
    assert example(stated, margins, 1.0, stated, margins).status == "holds"
    assert example(stated, margins + 1e-6, 1.0, stated, margins).status == "fails"
    assert example(stated, margins, 0.9, stated, margins).status == "fails"


@pytest.mark.parametrize(("exponent", "status"), [(-1.0, "holds"), (0.0, "fails"), (-0.6, "inconclusive")])
def test_the_error_of_inexact_subproblems_must_vanish_with_certainty(exponent, status):
    record = StructureRecord(*np.zeros((2, 400, 60), bool))
    steps = np.arange(40, 401)
    own = exponent + 0.3 * np.random.default_rng(0).standard_normal(60)  # of each seed
    errors = (steps[:, None] / 40.0) ** own
    assert inexact(record, steps, errors, 0.3, 0.1).status == status


def test_exact_subproblems_need_no_exponent():
    record = StructureRecord(*np.zeros((2, 400, 60), bool))
    verdict = inexact(record, np.arange(40, 401), np.zeros((361, 60)), 0.3, 0.1)
    assert verdict.status == "holds" and verdict.figures["exponent of the inner error"] == -np.inf


def test_bounds_that_were_hardly_needed_are_inconclusive_and_a_violation_fails_all_the_same():
    within = np.zeros((8, 4), dtype=bool)
    beyond = within.copy()
    beyond[5, 1] = True
    many, half = np.array([3, 1, 2, 0]), np.array([1, 1, 0, 0])
    found = [sandwich(within, upper, changes).status for upper in (within, beyond) for changes in (many, half)]
    assert found == ["holds", "inconclusive", "fails", "fails"]


def test_a_plateau_must_have_the_predicted_height_and_moves_that_do_not_fade():
    rng, t = np.random.default_rng(0), np.arange(10.0, 100)
    squares, wrong = rng.chisquare(40, (200, 3)) / 40, np.zeros((100, 200), bool)
    moves = t[:, None] * rng.uniform(0.5, 1.5, (90, 200))
    assert plateau(squares, np.ones(3), t, moves, wrong).status == "holds"
    assert plateau(1.2 * squares, np.ones(3), t, moves, wrong).status == "fails"
    assert plateau(squares, np.ones(3), t, moves / t[:, None] ** 0.5, wrong).status == "fails"
    wrong[70, 3] = True
    assert plateau(squares, np.ones(3), t, moves, wrong).status == "fails"


def test_points_that_do_not_converge_conclude_nothing_unless_a_control_breaks_it():
    record = StructureRecord(*np.zeros((2, 400, 60), bool))
    t = np.arange(20.0, 400)
    noise = np.random.default_rng(0).uniform(0.5, 1.5, (380, 60))
    falls, flat = (t, noise / t[:, None] ** 0.3), (t, noise)
    assert identification(record, 0.3, 0.1, distance=falls).status == "holds"
    assert identification(record, 0.3, 0.1, distance=flat).status == "inconclusive"
    control = identification(record, 0.3, 0.1, distance=flat, long_enough=True)
    assert control.status == "holds" and [a.broken for a in control.assumptions if not a.met] == [True]
    assert 0.1 < control.power[0].above < 0.25


def test_a_gap_sphere_of_too_small_a_radius_contradicts_the_solution():
    for seed in range(3):
        found = corner(seed)
        assert found.status == "holds" and found.power[0].below >= 0.99


def test_no_run_that_ends_right_is_inconclusive_and_raises_nothing():
    wrong = np.zeros(3, bool)
    assert newton(Switches(wrong, wrong, np.zeros(3, int), np.zeros(3, int), [None] * 3)).status == "inconclusive"


def test_the_change_of_the_gradient_is_bounded_on_groups_of_different_sizes():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 7)), rng.choice([-1.0, 1.0], 60)
    problem = Problem(X, y, "logistic", GroupLasso(0.05, groups=[[0, 3], [1], [2, 4, 5, 6]]))
    w = solve(problem).w
    rows = Rows(problem, w, -problem.gradient(w))
    points = w + rng.standard_normal((20, 7))
    change = rows.norms(np.array([problem.gradient(p) for p in points]) - problem.gradient(w))
    assert (change <= change_bound(rows)(points) * (1 + 1e-9)).all()
    for name, method in (("predicted-identification", RDA()), ("one-step-certificate", ProxSGD(0.1))):
        assert verify(name, problem, method, seeds=3, steps=60).status != "fails"


def test_false_positives_with_noise_beyond_the_claimed_sigma_conclude_nothing():
    quiet = replace(runs(Size("tiny", 10, 1), 0), deviation=2.0)
    assert quiet.judge().status == "inconclusive"


@pytest.mark.parametrize("decay", [1.0, 2.0])
def test_steps_that_are_summable_are_no_test_of_identification(decay):
    verdict = from_afar(ProxSGD(1.0, decay=decay), 0.5, Size("tiny", 60, 1), 0)
    assert verdict.status == ("holds" if decay == 1 else "inconclusive")


def test_the_normal_part_must_fall_with_the_stated_exponent():
    k = np.geomspace(100, 3000, 12)
    noise = np.random.default_rng(0).uniform(0.8, 1.2, (12, 60))
    found = [fading(k, noise * k[:, None] ** e, 0.75, margin=0.1).status for e in (-0.25, 0.0, -0.5)]
    assert found == ["holds", "fails", "fails"]
    assert fading(k, noise, 0.75, margin=0.0).status == "inconclusive"
    assert fading(k, noise, 0.75, margin=0.0, control=True).status == "fails"
