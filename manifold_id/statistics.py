"""What a set of runs says: proportions, medians, censored identification times and rates, each with an interval."""

from __future__ import annotations

import math
import warnings
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from manifold_id.validation import integer, real


class Estimate(NamedTuple):
    """A value and its confidence interval; nan where there is none, inf for an end that is not reached."""

    value: float
    low: float
    high: float


class Survival(NamedTuple):
    """A Kaplan-Meier curve: from time[i] on, the probability `survival[i]` of not having identified yet."""

    time: np.ndarray
    survival: np.ndarray
    low: np.ndarray
    high: np.ndarray


def proportion(
    successes: int, trials: int, level: float = 0.95, method: Literal["wilson", "exact"] = "wilson"
) -> Estimate:
    """Return successes / trials with its Wilson or exact (Clopper-Pearson) interval; trials >= 1."""
    integer("trials", trials, 1)
    integer("successes", successes, 0, trials)
    interval = stats.binomtest(successes, trials).proportion_ci(real("level", level, 0, 1), method=method)
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def median(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Return the median with the distribution-free interval of order statistics.

    The interval (x_(k), x_(n+1-k)) covers with probability 1 - 2 P(Bin(n, 1/2) < k), k the largest for which that is at
    least `level`; it is (-inf, inf) for samples too small for that. NaN values are left out; without any value all three are NaN.
    """
    x = np.sort(np.asarray(values, dtype=float).ravel())
    x = x[~np.isnan(x)]
    if not len(x):
        return Estimate(math.nan, math.nan, math.nan)
    k = int(stats.binom.ppf((1 - level) / 2, len(x), 0.5))  # P(Bin < k) <= (1 - level) / 2
    low, high = (x[k - 1], x[-k]) if k >= 1 else (-math.inf, math.inf)
    return Estimate(float(np.median(x)), float(low), float(high))


def _censored(times: ArrayLike, horizon: ArrayLike) -> stats.CensoredData:
    """Return the identification times, NaN being censored at `horizon` (one number, or one for each run)."""
    x = np.asarray(times, dtype=float).ravel()
    if not len(x):
        raise ValueError("times=[] is empty: give one time (or NaN) for each run")
    unknown = np.isnan(x)
    return stats.CensoredData.right_censored(np.where(unknown, np.broadcast_to(horizon, x.shape), x), unknown)


def kaplan_meier(times: ArrayLike, horizon: ArrayLike, level: float = 0.95) -> Survival:
    """Return the Kaplan-Meier estimate of P(not identified by t) with log-log confidence bands.

    Parameters
    ----------
    times
        Identification time of each run, NaN where it is censored.
    horizon
        The time at which such runs are censored.

    Raises
    ------
    ValueError
        If there is no run.
    """
    curve = stats.ecdf(_censored(times, horizon)).sf
    with warnings.catch_warnings():  # the bands are undefined while the curve is 1 and once it is 0
        warnings.simplefilter("ignore", RuntimeWarning)
        band = curve.confidence_interval(confidence_level=level, method="log-log")
    probability = curve.probabilities
    low, high = (np.where(np.isnan(b.probabilities), probability, b.probabilities) for b in (band.low, band.high))
    start = (np.concatenate([[first], rest]) for first, rest in ((0.0, curve.quantiles), (1.0, probability)))
    return Survival(*start, np.concatenate([[1.0], low]), np.concatenate([[1.0], high]))


def median_time(times: ArrayLike, horizon: ArrayLike, level: float = 0.95) -> Estimate:
    """Return the median identification time: where the Kaplan-Meier curve and its bands fall to 1/2.

    inf stands for "not reached" (Brookmeyer and Crowley 1982). Arguments as in `kaplan_meier`.
    """
    curve = kaplan_meier(times, horizon, level)

    def reaches(probability: np.ndarray) -> float:
        at = np.flatnonzero(probability <= 0.5)
        return float(curve.time[at[0]]) if len(at) else math.inf

    return Estimate(reaches(curve.survival), reaches(curve.low), reaches(curve.high))


def logrank(first: ArrayLike, second: ArrayLike, horizon: ArrayLike) -> float:
    """Return the p-value of the two-sided log-rank test that two methods identify at the same times.

    NaN times are censored at `horizon`. Returns 1.0 where neither method ever identified: nothing tells them apart.
    """
    a, b = _censored(first, horizon), _censored(second, horizon)
    if np.isnan(np.asarray(first, dtype=float)).all() and np.isnan(np.asarray(second, dtype=float)).all():
        return 1.0
    return float(stats.logrank(a, b).pvalue)


def rate(steps: ArrayLike, errors: ArrayLike, start: float, level: float = 0.95, seed: int = 0) -> Estimate:
    """Return the slope of log(median error) against log(step) over steps >= `start`, bootstrapped over the seeds.

    Parameters
    ----------
    steps
        (checkpoints,) steps > 0.
    errors
        (seeds, checkpoints) positive errors.
    start
        The first step of the fit; at least 2 checkpoints must remain.

    Raises
    ------
    ValueError
        If shapes disagree, an error in the window is not positive, or fewer than 2 checkpoints remain.
    """
    t, e = np.asarray(steps, dtype=float), np.atleast_2d(np.asarray(errors, dtype=float))
    if e.shape[1:] != t.shape:
        raise ValueError(f"errors has shape {e.shape}: it must be (seeds, {len(t)}), one error for each step")
    inside = t >= start
    if inside.sum() < 2:
        raise ValueError(f"start={start} leaves {inside.sum()} checkpoints: choose it so that at least 2 remain")
    logs = np.log(t[inside])
    if not (e[:, inside] > 0).all():
        raise ValueError("errors must be positive where the slope is fitted: end the window before they vanish")
    sample = np.random.default_rng(seed).integers(0, len(e), size=(1000, len(e)))
    middle = np.log(np.median(e[:, inside][sample], axis=1))  # (resamples, checkpoints)
    centred = logs - logs.mean()
    slopes = middle @ centred / (centred @ centred)
    value = np.log(np.median(e[:, inside], axis=0)) @ centred / (centred @ centred)
    low, high = np.quantile(slopes, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), float(low), float(high))
