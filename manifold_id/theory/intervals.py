"""Intervals for verdicts: Clopper-Pearson for proportions, least-squares slopes with a bootstrap over seeds; and what
an interval says of a criterion."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from manifold_id.statistics import Estimate, proportion

Array = np.ndarray
FEW = 10


def inside(interval: tuple[float, float], low: float = -np.inf, high: float = np.inf) -> bool | None:
    """Return whether an interval lies within [low, high]: True wholly, False not at all, None where it straddles."""
    if low <= interval[0] and interval[1] <= high:
        return True
    return False if interval[1] < low or interval[0] > high else None


def every(*parts: bool | None) -> bool | None:
    """Return whether all of several criteria are met: False where one is not, else None where one is undecided."""
    return False if False in parts else None if None in parts else True


@cache
def clopper_pearson(successes: int, trials: int, confidence: float = 0.99) -> tuple[float, float]:
    """Return the exact two-sided interval of a proportion; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    exact = proportion(successes, trials, confidence, "exact")
    return exact.low, exact.high


def log_slope(x: Array, y: Array) -> float:
    """Return the least-squares slope of log y against log x; both positive, (k,)."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def bootstrap(
    statistic: Callable[[Array], float], seeds: int, *, confidence: float = 0.99, draws: int = 400
) -> Estimate:
    """Return statistic(all seeds) and its percentile interval over `draws` resamples of the seeds.

    `statistic` takes an index array of seeds, with repeats. The resampling has a fixed generator of its own, so that a
    verdict depends on the runs alone. Of fewer than 10 seeds the interval is (-inf, inf): resamples of them say too
    little.
    """
    if seeds < FEW:
        return Estimate(statistic(np.arange(seeds)), -np.inf, np.inf)
    rng = np.random.default_rng(20220425)
    values = [statistic(rng.integers(0, seeds, seeds)) for _ in range(draws)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Estimate(statistic(np.arange(seeds)), float(low), float(high))
