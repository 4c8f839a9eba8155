"""Intervals against textbook values, definitions written out, and their coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from manifold_id.statistics import kaplan_meier, logrank, median, median_time, proportion, rate

NAN = math.nan
# Freireich et al. (1963): remission times of 21 leukaemia patients on 6-MP, and of 21 on placebo (all uncensored)
TREATED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
CENSORED = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def leukaemia():
    return TREATED + [NAN] * len(CENSORED), TREATED + CENSORED


def test_kaplan_meier_gives_the_textbook_curve():
    times, horizon = leukaemia()
    curve = kaplan_meier(times, horizon)
    for t, survival in {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}.items():
        assert curve.survival[np.searchsorted(curve.time, t)] == pytest.approx(survival, abs=5e-4)
    assert median_time(times, horizon).value == 23


def test_log_log_band_is_the_formula():
    """exp(-exp(log(-log S) +- 1.96 se / |log S|)) with Greenwood's variance, at the first event: 3 of 21."""
    times, horizon = leukaemia()
    curve = kaplan_meier(times, horizon)
    at = np.searchsorted(curve.time, 6)
    s = 18 / 21
    half = stats.norm.ppf(0.975) * math.sqrt(3 / (21 * 18)) / abs(math.log(s))
    low, high = (math.exp(-math.exp(math.log(-math.log(s)) + sign * half)) for sign in (1, -1))
    assert (curve.low[at], curve.high[at]) == pytest.approx((low, high), rel=1e-12)


def test_logrank_gives_the_textbook_statistic():
    """Chi-squared 16.79 for the leukaemia data: p = 4.17e-5. NaN times share one horizon here, beyond all events."""
    times, _ = leukaemia()
    treated = [35.0 if math.isnan(t) else t for t in times]
    assert logrank(PLACEBO, PLACEBO, 100) == pytest.approx(1.0)
    assert logrank(treated, PLACEBO, 100) < 1e-3
    assert logrank([NAN] * 5, [NAN] * 7, 100) == 1.0


def test_a_median_that_is_not_reached():
    estimate = median_time([10, 20, NAN, NAN, NAN], 100)
    assert math.isinf(estimate.value)
    assert math.isinf(estimate.high)
    none = median_time([NAN] * 20, 50)
    assert (none.value, none.low, none.high) == (math.inf, math.inf, math.inf)


def test_runs_without_censoring_have_the_usual_median():
    assert median_time(range(1, 22), 100).value == 11


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (7, 20), (20, 20)])
def test_exact_interval_solves_the_tail_equations(successes, trials):
    value, low, high = proportion(successes, trials, method="exact")
    assert value == successes / trials
    if successes > 0:
        assert stats.binom.sf(successes - 1, trials, low) == pytest.approx(0.025, rel=1e-6)
    if successes < trials:
        assert stats.binom.cdf(successes, trials, high) == pytest.approx(0.025, rel=1e-6)


def test_wilson_interval_is_the_formula():
    z, n, p = stats.norm.ppf(0.975), 20, 7 / 20
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert proportion(7, 20)[1:] == pytest.approx((centre - half, centre + half), rel=1e-12)


@pytest.mark.parametrize("n", [6, 10, 21])
def test_median_interval_covers_and_is_tight(n):
    """By the binomial distribution: at least 95 %, and the next shorter interval falls below."""
    _, low, high = median(np.arange(1, n + 1))
    k = int(low)
    assert high == n + 1 - k
    assert 1 - 2 * stats.binom.cdf(k - 1, n, 0.5) >= 0.95 > 1 - 2 * stats.binom.cdf(k, n, 0.5)


def test_median_of_few_or_no_values():
    assert median([1, 2, 3]) == (2, -math.inf, math.inf)
    assert all(map(math.isnan, median([NAN])))


def test_slope_interval_covers_the_true_rate():
    """Errors t^-1/2 with lognormal noise of each seed's own: 95 % intervals; level 1e-3 test of 200 repeats."""
    rng = np.random.default_rng(0)
    t = np.geomspace(10, 1e5, 30)
    hits = 0
    for i in range(200):
        errors = t**-0.5 * np.exp(0.3 * rng.standard_normal((40, len(t))))
        estimate = rate(t, errors, start=100, seed=i)
        hits += estimate.low <= -0.5 <= estimate.high
    assert stats.binomtest(hits, 200, 0.95, alternative="less").pvalue > 1e-3
    assert abs(estimate.value + 0.5) < 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: proportion(1, 0), "trials=0"),
        (lambda: proportion(3, 2), "successes=3"),
        (lambda: kaplan_meier([], 10), "times=\\[\\] is empty"),
        (lambda: rate([1, 2, 3], [[1, 1]], 1), "errors has shape"),
        (lambda: rate([1, 2, 3], [[1, 1, 1]], 3), "start=3 leaves 1 checkpoints"),
        (lambda: rate([1, 2, 3], [[1, 0, 1]], 1), "must be positive"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
