"""The parts that verdicts are made of: records, intervals, combinations, and what makes a verdict inconclusive."""

import numpy as np
import pytest

from convex_bench.theorems.active_set import active_set
from convex_bench.theorems.concentration import concentration, failure_bound
from convex_bench.theorems.dichotomy import predicted_rate
from convex_bench.theorems.instances import INSTANCES, POON_SOLUTION, poon
from convex_bench.theorems.local_rate import oscillation, svrg_factor, within_bound
from convex_bench.theorems.synthetic import Quadratic
from manifold_id.regularizers import L1
from manifold_id.theory.base import Assumption, Power, decide, no_violations
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.curves import limits, share_by_ratio, share_of_runs
from manifold_id.theory.identified import identification
from manifold_id.theory.intervals import bootstrap, clopper_pearson, every, inside, log_slope
from manifold_id.theory.power import of_interval, rejected
from manifold_id.theory.structure_record import LastErrors, StructureRecord, compare, last_true


def test_last_true_counts_from_one_and_is_zero_where_nothing_is_true():
    flags = np.array([[True, False, False], [False, False, True], [False, False, True]])
    assert last_true(flags).tolist() == [1, 0, 3]


def test_compare_tells_false_positives_from_false_negatives():
    reference = np.array([1, 1, 0, -1], dtype=np.int8)
    codes = np.array([[1, 1, 0, -1], [1, 0, 0, -1], [1, 1, 1, -1], [0, 1, 0, 1], [1, 1, 0, 0]], dtype=np.int8)
    positive, negative = compare(codes, reference)
    assert positive.tolist() == [False, False, True, True, True]
    assert negative.tolist() == [False, True, False, True, False]


def test_clopper_pearson_agrees_with_the_closed_forms_at_the_ends():
    assert clopper_pearson(0, 10, 0.95) == pytest.approx((0, 1 - 0.025**0.1))
    assert clopper_pearson(10, 10, 0.95) == pytest.approx((0.025**0.1, 1))
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_limits_are_those_of_each_proportion_alone():
    successes, trials = np.array([0, 3, 10, 3, 0]), np.array([10, 5, 10, 5, 0])
    low, high = limits(successes, trials)
    expected = [clopper_pearson(k, n, 0.95) for k, n in zip(successes, trials, strict=True)]
    np.testing.assert_array_equal(np.transpose([low, high]), expected)


def test_the_share_of_runs_has_limits_at_every_step():
    flags = np.zeros((6, 20), bool)
    flags[:3, :5] = True
    curve = share_of_runs("wrong", flags, np.array([1, 3, 4]))
    assert curve.x.tolist() == [1, 3, 4] and curve.y.tolist() == [0.25, 0.25, 0]
    assert list(zip(curve.low, curve.high, strict=True)) == [clopper_pearson(k, 20, 0.95) for k in (5, 5, 0)]


def test_samples_are_shared_out_to_bins_and_empty_bins_left_out():
    ratio = np.array([[0.05, 0.0], [0.99, 1.05], [1.0, 2.999], [3.0, 7.0]])
    curve = share_by_ratio(ratio, np.array([[True, False], [True, True], [False, False], [True, True]]))
    assert curve.kind == "points"
    assert curve.x == pytest.approx([0.05, 0.95, 1.05, 2.95])
    assert curve.y == pytest.approx([0.5, 1, 0.5, 0])
    assert list(zip(curve.low, curve.high, strict=True)) == [
        clopper_pearson(k, n, 0.95) for k, n in ((1, 2), (1, 1), (1, 2), (0, 1))
    ]


def test_a_power_law_has_its_exponent_as_slope_and_a_tight_interval():
    x = np.geomspace(1, 100, 9)
    assert log_slope(x, 3 * x**-2) == pytest.approx(-2)
    fit = bootstrap(lambda i: log_slope(x, 3 * x**-2 * (1 + 0 * i.sum())), 10)
    assert fit.low == pytest.approx(fit.high) == pytest.approx(-2)


def test_a_few_seeds_have_no_interval():
    fit = bootstrap(lambda i: float(i.mean()), 9)
    assert (fit.value, fit.low, fit.high) == (4, -np.inf, np.inf)


def test_an_interval_that_straddles_decides_nothing():
    assert [inside(i, 0.4, 0.6) for i in ((0.45, 0.55), (0.3, 0.5), (0.5, 0.7), (0.1, 0.3), (0.7, 0.8))] == [
        True, None, None, False, False,
    ]  # fmt: skip
    assert inside((0.95, 1.0), low=0.9) is True and inside((0.8, 1.0), low=0.9) is None
    assert (every(True, True), every(True, None), every(None, False)) == (True, None, False)


def test_a_rate_above_the_bound_fails_for_a_single_seed():
    steps = np.arange(5.0)
    distance = np.stack([0.5**steps, 0.7**steps], axis=1)
    assert within_bound(steps, distance, 0.71).status == "holds"
    assert within_bound(steps, distance, 0.6).status == "fails"
    assert within_bound(steps, distance, 1.01).status == "inconclusive"
    assert svrg_factor(1.0, 0.01, 0.1, 10**13) == pytest.approx(2 / 3)


def test_an_oscillation_must_have_the_predicted_period_and_be_overtaken():
    rho, k = 0.95, np.arange(400)
    component = rho ** (k / 2) * np.cos(np.arccos(np.sqrt(rho)) * k)
    assert oscillation(component, rho, (400, 300)).status == "holds"
    assert oscillation(component, rho, (300, 400)).status == "fails"
    assert oscillation(component, 0.9, (400, 300)).status == "fails"
    assert oscillation(component[:50], rho, (400, 300)).status == "inconclusive"


@pytest.mark.parametrize("kind", INSTANCES)
@pytest.mark.parametrize("seed", range(3))
def test_planted_instances_are_stationary_with_the_margin_asked_for(kind, seed):
    problem = INSTANCES[kind](0.25, seed)
    assert np.max(problem.regularizer.residual(problem.w, problem.gradient(problem.w))) < 1e-9
    assert problem.margin == pytest.approx(0.25)


def test_a_dual_that_is_no_subgradient_is_refused():
    with pytest.raises(ValueError, match="no subgradient"):
        Quadratic(L1(1.0), np.zeros(2), np.array([0.5, 1.5]))


def test_poons_example_has_the_published_solution_and_margins():
    problem = poon()
    g = problem.gradient(POON_SOLUTION)
    assert problem.y == pytest.approx([2, np.sqrt(2) / 3, np.sqrt(3) / 4])
    assert problem.regularizer.residual(POON_SOLUTION, g) == pytest.approx(0, abs=1e-15)
    assert problem.regularizer.margin(POON_SOLUTION, g)[1:] == pytest.approx([1 / 9, 1 / 12])


def test_no_samples_and_unmet_assumptions_are_inconclusive():
    assert no_violations(0, 0, "steps", seeds=1).status == "inconclusive"
    record = StructureRecord(np.zeros((10, 50), bool), np.zeros((10, 50), bool))
    assert identification(record, margin=0.3, noise=0.1).status == "holds"
    assert identification(record, margin=0.0, noise=0.1).status == "inconclusive"
    few = np.zeros(10)
    assert active_set(LastErrors(few, few), few + 1, few + 1, few[:0], few[:0], few[:0]).status == "inconclusive"


def test_one_run_that_leaves_late_counts_as_not_identified():
    positive = np.zeros((10, 20), bool)
    positive[7, :3] = True
    record = StructureRecord(positive, np.zeros_like(positive))
    assert identification(record, margin=0.3, noise=0.1).effect == pytest.approx(17 / 20)


def test_runs_that_may_still_identify_are_inconclusive_and_lasting_flicker_fails():
    t, off = np.arange(1, 4001)[:, None], np.zeros((4000, 40), bool)
    draws = np.random.default_rng(0).random((4000, 40))
    cases = {
        "never there": t > 0 * draws,
        "rate 1/2": draws < 0.5,
        "rate 2000/t": draws < 2000 / t - 0.5,
        "late": t > 3500,
    }
    records = {name: StructureRecord(off | flags, off) for name, flags in cases.items()}
    found = {name: identification(record, margin=0.3, noise=0.1).status for name, record in records.items()}
    assert found == {name: "fails" if name == "rate 1/2" else "inconclusive" for name in cases}
    # at a length at which the theorem's own method identifies, all of them are contradictions
    assert {identification(r, 0.3, 0.1, long_enough=True).status for r in records.values()} == {"fails"}


def test_combinations_need_all_parts():
    good, bad = no_violations(0, 5, "steps", seeds=1), no_violations(2, 5, "steps", seeds=1)
    assert all_hold(("a", good), ("b", good)).status == "holds"
    assert all_hold(("a", good), ("b", bad)).status == "fails"
    assert all_fail(("a", bad), ("b", bad)).status == "fails"
    assert all_fail(("a", bad), ("b", good)).status == "holds"
    assert all_hold(("a", good), ("b", bad)).samples == 10


def test_the_failure_bound_is_the_geometric_sum_of_hoeffdings_bounds():
    margin, sigma, start = 0.3, 0.5, 40
    t = np.arange(start, 5000)
    k = (4 / 9) * (margin / sigma) ** 2 * start / (start + 1)
    assert failure_bound(np.array([start]), margin, sigma)[0] == pytest.approx(2 * np.exp(-k * t).sum())


def test_late_false_positives_break_the_concentration_bound():
    margins = np.array([0.8, 0.4, 0.2])
    last = np.tile((1 / margins**2).astype(int), (200, 1))
    assert concentration(last, margins, 0.5, 2000, 0 * last[:, 0]).status == "holds"
    assert concentration(100 * last, margins, 0.5, 2000, 0 * last[:, 0]).status == "fails"


def test_the_predicted_rate_is_zero_up_to_the_margin():
    margin = np.array([0.2, 0.5])
    assert predicted_rate(0.2, margin, 1.0).tolist() == [0, 0]
    assert predicted_rate(0.4, margin, 1.0) == pytest.approx([0.25, 0])
    assert predicted_rate(4.0, margin, 1.0) == pytest.approx([(3.8 + 2.2) / 8, (3.5 + 2.5) / 8])


def test_power_is_the_nearest_wrong_value_from_which_on_all_are_rejected():
    def judge(value):  # rejects below 0.5 and above 2, but for one value that slips through
        bad = value < 0.5 or (value > 2 and value != 3)
        return no_violations(int(bad), 5, "steps", seeds=1)

    found = rejected("c", 1.0, judge, below=(0.9, 0.4, 0.1), above=(1.5, 2.5, 3.0, 4.0))
    assert (found.below, found.above) == (0.4, 4.0)
    assert str(found) == "c 1: rejects <= 0.4 and >= 4"
    none = rejected("c", 1.0, judge, above=(1.2, 1.5))
    assert np.isnan([none.below, none.above]).all() and str(none) == "c 1: rejects nothing"


def test_what_cannot_be_judged_is_not_rejected():
    empty = no_violations(0, 0, "steps", seeds=1)
    assert np.isnan(rejected("c", 1.0, lambda value: empty, above=(2.0,)).above)
    assert empty.summary == "not tested here: no steps"


def test_an_interval_rejects_what_it_does_not_meet_within_the_tolerance():
    exponent = of_interval("exponent", -0.5, (-0.6, -0.4), width=0.1)
    assert (exponent.below, exponent.above) == pytest.approx((-0.7, -0.3))
    height = of_interval("factor", 1.0, (0.9, 1.2), factor=0.2)
    assert (height.below, height.above) == pytest.approx((0.75, 1.5))


def test_an_assumption_that_a_control_breaks_is_recorded_as_not_met_and_judged_all_the_same():
    broken = Assumption("margin", 0.0, False, broken=True)
    assert decide(False, (broken,), "", "", 0.0).status == "fails"
    assert decide(False, (Assumption("margin", 0.0, False),), "", "", 0.0).status == "inconclusive"


def test_the_power_of_the_parts_is_that_of_the_whole():
    part = no_violations(0, 5, "steps", seeds=1, power=(of_interval("exponent", -0.5, (-0.6, -0.4)),))
    (power,) = all_hold(("a", part), ("b", no_violations(0, 5, "steps", seeds=1))).power
    assert (power.constant, power.below, power.above) == ("a: exponent", -0.6, -0.4)


def test_power_is_shown_with_the_digits_that_tell_it_from_what_is_stated():
    assert str(Power("factor", 1.0, below=0.5)) == "factor 1: rejects <= 0.5"
    assert str(Power("factor", 1.0, above=1.0000474232)) == "factor 1: rejects >= 1.00005"
    assert str(Power("factor", 1.0)) == "factor 1: rejects nothing"
