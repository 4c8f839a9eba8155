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
    """A Kaplan-Meier curve: from time[i] on (time[0] = 0), the probability survival[i] of not having identified yet.

    `low` and `high` are its pointwise confidence limits; all four are float arrays of one length.
    """

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
    least `level`; it is (-inf, inf) for samples too small for that. NaN values are left out; without any value all
    three are NaN.
    """
    real("level", level, 0, 1)
    x = np.sort(np.asarray(values, dtype=float).ravel())
    x = x[~np.isnan(x)]
    if not len(x):
        return Estimate(math.nan, math.nan, math.nan)
    k = int(stats.binom.ppf((1 - level) / 2, len(x), 0.5))  # P(Bin < k) <= (1 - level) / 2
    low, high = (x[k - 1], x[-k]) if k >= 1 else (-math.inf, math.inf)
    return Estimate(float(np.median(x)), float(low), float(high))


def _censored(times: ArrayLike, horizon: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return (time at which each run was last followed, whether it is censored there)."""
    x = np.asarray(times, dtype=float).ravel()
    if not len(x):
        raise ValueError("times=[] is empty: give one time (or NaN) for each run")
    unknown = np.isnan(x)
    return np.where(unknown, np.broadcast_to(np.asarray(horizon, dtype=float), x.shape), x), unknown


def kaplan_meier(times: ArrayLike, horizon: ArrayLike, level: float = 0.95) -> Survival:
    """Return the Kaplan-Meier estimate of P(not identified by t) with pointwise log-log confidence bands.

    The log-log interval (Kalbfleisch and Prentice) does not exist while the estimate is 1 or once it is 0. There the
    band takes the exact binomial limits: while none of the n runs still followed has identified, it reaches down to
    a^(1/n), a = (1 - level) / 2; when all n have, without any censoring, up to 1 - a^(1/n), else to its last height. So
    runs that never identify leave an interval, and not a certainty.

    Parameters
    ----------
    times
        Identification time of each run, NaN where it is censored.
    horizon
        The time at which such runs are censored: one number, or one for each run.

    Raises
    ------
    ValueError
        If there is no run, or `level` is not between 0 and 1.
    """
    tail = (1 - real("level", level, 0, 1)) / 2
    ends, unknown = _censored(times, horizon)
    curve = stats.ecdf(stats.CensoredData.right_censored(ends, unknown)).sf
    with warnings.catch_warnings():  # SciPy warns where the log-log interval does not exist
        warnings.simplefilter("ignore", RuntimeWarning)
        band = curve.confidence_interval(confidence_level=level, method="log-log")
    time, survival = np.append(0.0, curve.quantiles), np.append(1.0, curve.probabilities)
    low, high = (np.append(np.nan, side.probabilities) for side in (band.low, band.high))
    followed = (ends >= time[:, None]).sum(axis=1)
    low = np.where(survival == 1, tail ** (1 / followed), np.where(survival == 0, 0.0, low))
    high[survival == 1] = 1.0
    if survival[-1] == 0:
        high[-1] = high[-2] if unknown.any() else 1 - tail ** (1 / len(ends))
    return Survival(time, survival, low, high)


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

    NaN times are censored at `horizon`. Returns 1.0 where no event can tell the methods apart: neither ever
    identified, or all runs of both identified at one time.
    """
    a, b = (stats.CensoredData.right_censored(*_censored(times, horizon)) for times in (first, second))
    with np.errstate(invalid="ignore"):  # 0 / 0 where the variance of the statistic is zero
        p = float(stats.logrank(a, b).pvalue)
    return 1.0 if math.isnan(p) else p


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
    real("level", level, 0, 1)
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
