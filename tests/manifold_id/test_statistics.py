"""Estimates against published numbers and closed forms; intervals by how often they cover in seeded simulations."""

import math

import numpy as np
import pytest
from scipy import stats

from manifold_id.statistics import kaplan_meier, logrank, median, median_time, proportion, rate

# Remission times in weeks of 6-mercaptopurine and placebo (Freireich et al. 1963), the textbook example; 1 = censored.
TREATED = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
CENSORED = [0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
TIMES = np.where(CENSORED, np.nan, TREATED)


def not_rare(successes, trials, p, alternative):
    """Whether the 0.1 % test does not refute that the count has probability p, against the alternative."""
    return stats.binomtest(successes, trials, p, alternative=alternative).pvalue > 1e-3


@pytest.mark.parametrize(
    "method, successes, trials, low, high",
    [
        ("wilson", 8, 10, 0.4902, 0.9433),
        ("wilson", 0, 20, 0.0, 0.1611),
        ("exact", 8, 10, 0.4439, 0.9748),
        ("exact", 0, 20, 0.0, 0.1684),
        ("exact", 100, 100, 0.9638, 1.0),
    ],
)
def test_proportions_of_the_tables(method, successes, trials, low, high):
    estimate = proportion(successes, trials, method=method)
    assert estimate == pytest.approx((successes / trials, low, high), abs=5e-5)


def test_exact_interval_inverts_the_binomial_test():
    low, high = proportion(13, 40, level=0.9, method="exact")[1:]
    assert stats.binom.sf(12, 40, low) == pytest.approx(0.05)
    assert stats.binom.cdf(13, 40, high) == pytest.approx(0.05)


def test_kaplan_meier_of_the_textbook():
    curve = kaplan_meier(TIMES, TREATED)
    at = {6: (0.857, 0.620, 0.952), 7: (0.807, 0.563, 0.923), 10: (0.753, 0.503, 0.889), 13: (0.690, 0.432, 0.849)}
    at |= {16: (0.627, 0.368, 0.805), 22: (0.538, 0.268, 0.747), 23: (0.448, 0.188, 0.680)}
    for time, expected in at.items():
        i = np.flatnonzero(curve.time == time)[0]
        assert (curve.survival[i], curve.low[i], curve.high[i]) == pytest.approx(expected, abs=6e-4)


def test_median_times_of_the_textbook():
    assert median_time(TIMES, TREATED) == (23, 13, math.inf)
    assert median_time(PLACEBO, 40) == (8, 4, 11)


def test_logrank_of_the_textbook():
    chi2 = stats.chi2.isf(logrank(TIMES, PLACEBO, TREATED), 1)
    assert chi2 == pytest.approx(16.79, abs=0.01)


def test_median_time_without_censoring_is_the_order_statistic():
    for n in (1, 2, 7, 20, 101):
        x = np.random.default_rng(n).permutation(n) + 1.0
        assert median_time(x, 1000).value == math.ceil(n / 2)


@pytest.mark.parametrize("n", [1, 5, 20])
def test_runs_that_never_identify_leave_an_interval(n):
    curve = kaplan_meier([math.nan] * n, 100)
    exact = proportion(0, n, method="exact")
    np.testing.assert_array_equal(curve.survival, 1.0)
    np.testing.assert_allclose(1 - curve.low, exact.high)
    np.testing.assert_array_equal(curve.high, 1.0)
    expected = 0.0 if n < 6 else math.inf  # five runs say nothing about a median at the 95 % level
    assert median_time([math.nan] * n, 100) == (math.inf, pytest.approx(expected), math.inf)


def test_runs_that_all_identify_leave_an_interval():
    curve = kaplan_meier(np.arange(1, 21), 100)
    assert curve.survival[-1] == curve.low[-1] == 0.0
    assert curve.high[-1] == pytest.approx(proportion(0, 20, method="exact").high)
    early = kaplan_meier([5.0, math.nan, 9.0], [100, 6, 100])  # the last one left is no evidence about the censored one
    assert early.high[-1] == early.high[-2] < 1
    assert (np.diff(curve.low) <= 0).all()
    assert (np.diff(curve.high) <= 0).all()


def test_nothing_tells_equal_runs_apart():
    assert logrank([math.nan] * 3, [math.nan] * 4, 10) == 1.0
    assert logrank([2, 2], [2, 2, 2], 10) == 1.0


def test_logrank_tells_methods_apart_and_keeps_its_level():
    rng = np.random.default_rng(0)
    found, never = rng.lognormal(5, 0.3, 20), np.full(20, math.nan)
    assert logrank(found, never, 1000) < 1e-8
    draws = rng.exponential(1, (400, 2, 25))
    draws[draws > 2] = math.nan
    alarms = sum(logrank(a, b, 2.0) < 0.05 for a, b in draws)
    assert not_rare(alarms, 400, 0.05, "two-sided")


def test_median_interval_has_its_exact_coverage():
    n, level = 15, 0.9
    rng = np.random.default_rng(1)
    samples = rng.exponential(1, (2000, n))
    limits = np.array([median(x, level) for x in samples])
    covered = int(((limits[:, 1] <= math.log(2)) & (math.log(2) <= limits[:, 2])).sum())
    exact = 1 - 2 * stats.binom.cdf(3, n, 0.5)  # between the 4th smallest and the 4th largest
    assert exact >= level > 1 - 2 * stats.binom.cdf(4, n, 0.5)
    assert not_rare(covered, 2000, exact, "two-sided")
    np.testing.assert_allclose(limits[:, 0], np.median(samples, axis=1))


def test_median_of_few_values_has_no_interval():
    assert median([3.0, 1.0, 2.0]) == (2.0, -math.inf, math.inf)
    assert median([1.0, math.nan, 5.0]).value == 3.0
    assert all(math.isnan(x) for x in median([math.nan]))


def test_median_time_covers_with_censoring():
    rng, covered, finite = np.random.default_rng(2), 0, 0
    for _ in range(600):
        x = rng.exponential(1, 25)
        estimate = median_time(np.where(x > 1.2, math.nan, x), 1.2)  # 30 % censored
        covered += estimate.low <= math.log(2) <= estimate.high
        finite += math.isfinite(estimate.high)
    assert not_rare(covered, 600, 0.95, "less")
    assert covered < 600  # the interval is not empty talk
    assert finite > 300


def test_kaplan_meier_bands_cover():
    rng, at, covered = np.random.default_rng(3), 0.8, 0
    for _ in range(600):
        x = rng.exponential(1, 30)
        curve = kaplan_meier(np.where(x > 1.5, math.nan, x), 1.5)
        i = np.searchsorted(curve.time, at, side="right") - 1
        covered += curve.low[i] <= math.exp(-at) <= curve.high[i]
    assert not_rare(covered, 600, 0.95, "two-sided")


def test_rate_of_a_power_law_is_its_power():
    steps = np.geomspace(1, 1e4, 30)
    errors = np.array([[0.5], [1.0], [3.0]]) * steps**-0.7
    assert rate(steps, errors, start=10) == pytest.approx((-0.7, -0.7, -0.7))
    bent = errors * np.where(steps < 100, 10.0, 1.0)  # what lies before the window has no weight
    assert rate(steps, bent, start=100).value == pytest.approx(-0.7)


def test_rate_intervals_cover():
    rng, steps, covered, width = np.random.default_rng(4), np.geomspace(1e2, 1e4, 8), 0, []
    for repeat in range(150):
        errors = steps**-0.5 * np.exp(0.3 * rng.standard_normal((25, 8)))
        slope = rate(steps, errors, start=1, seed=repeat)
        covered += slope.low <= -0.5 <= slope.high
        width.append(slope.high - slope.low)
    # a percentile bootstrap of 25 medians covers a little less often than its nominal 95 %
    assert not_rare(covered, 150, 0.92, "less")
    assert np.mean(width) < 0.2


def test_rate_is_reproducible():
    steps, errors = np.arange(1, 9.0), np.random.default_rng(5).random((6, 8)) + 0.1
    assert rate(steps, errors, 1) == rate(steps, errors, 1)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: proportion(3, 2), "successes=3 must be at most 2"),
        (lambda: proportion(0, 0), "trials=0 must be at least 1"),
        (lambda: proportion(1, 2, level=2), "level=2"),
        (lambda: median([1.0], level=-1), "level=-1"),
        (lambda: kaplan_meier([], 10), "times=.. is empty"),
        (lambda: rate([1, 2], [[1.0, 2.0, 3.0]], 1), "must be .seeds, 2."),
        (lambda: rate([1, 2], [[1.0, 0.0]], 1), "must be positive"),
        (lambda: rate([1, 2], [[1.0, 2.0]], 2), "leaves 1 checkpoints"),
    ],
)
def test_bad_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_interval_of_a_rate_has_half_of_the_error_on_either_side():
    steps, rng = np.geomspace(10, 1000, 8), np.random.default_rng(0)
    errors = steps**-0.5 * rng.lognormal(0, 0.3, (40, 8))
    half, most = rate(steps, errors, 10, level=0.5), rate(steps, errors, 10, level=0.95)
    assert most.low < half.low < half.value < half.high < most.high
