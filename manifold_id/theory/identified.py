"""Whether a set of runs has identified: the judgement that several theorems share."""

from __future__ import annotations

import numpy as np

from manifold_id.statistics import Estimate
from manifold_id.theory.base import Assumption, Power, Verdict, decide
from manifold_id.theory.curves import figure_of_runs
from manifold_id.theory.exponent import rms_exponent
from manifold_id.theory.intervals import bootstrap, clopper_pearson
from manifold_id.theory.structure_record import StructureRecord

SHARE = 0.9
HARMONIC = float(np.log(4 / 3) / np.log(2))  # the last quarter's share of a last half, at the rate 1/t
AGAIN = 3  # departures in the last half of a run: "again and again"
FALLS = -0.05  # the largest exponent of a distance that counts as falling
ROUNDING = 1e-12
AVERAGING = 20  # times (noise / margin)^2 steps: an average of the gradients is within the margin by then


def late_departures(record: StructureRecord) -> tuple[float, Estimate]:
    """Return the median over runs of the departures in the last half, and the share of them in the last quarter with a
    99 % bootstrap interval over seeds.

    Departures at a rate that falls no faster than 1/t, whose share is `HARMONIC`, go on for ever (Borel-Cantelli); at a
    constant rate the share is 1/2.
    """
    half = record.departed[record.steps // 2 :]
    middle = len(half) // 2
    third, fourth = half[:middle].sum(axis=0), half[middle:].sum(axis=0)
    both = third + fourth
    share = bootstrap(lambda i: float(fourth[i].sum() / max(both[i].sum(), 1)), record.seeds)
    return float(np.median(both)), share


def convergence(steps: np.ndarray, distance: np.ndarray, *, broken: bool = False) -> tuple[Assumption, Estimate]:
    """Return the assumption that z_t -> w*, measured, with the exponent of the root mean square of |z_t - w*|.

    `distance` is (k, seeds) at `steps` >= 1, (k,). The 99 % bootstrap interval of its exponent has to lie below
    `FALLS`: a plateau, as a constant step has under lasting noise, has exponent 0. Distances at the level of rounding
    have converged.
    """
    if distance[-1].max() <= ROUNDING:
        return Assumption("largest |z_t - w*| at the end", float(distance[-1].max()), True, "converged"), Estimate(
            -np.inf, -np.inf, -np.inf
        )
    fit = rms_exponent(steps, distance)
    note = f"z_t -> w*: 99 % interval [{fit.low:.3f}, {fit.high:.3f}] below {FALLS:g}, from step {steps[0]} on"
    high = fit.high if np.isfinite(fit.high) else fit.value  # of few seeds
    return Assumption("exponent of |z_t - w*|", fit.value, high < FALLS, note, broken), fit


def missed_share(seeds: int) -> Power:
    """Return the smallest share of runs off the manifold that the criterion rejects, given the number of seeds."""
    for wrong in range(seeds + 1):
        if clopper_pearson(seeds - wrong, seeds, 0.9)[1] < SHARE:
            return Power("share of runs that do not identify", 0.0, above=wrong / seeds)
    return Power("share of runs that do not identify", 0.0)


def averages(steps: int, noise: float, margin: float) -> bool:
    """Whether `steps` are enough for an average of gradients with this noise to be within the margin."""
    return margin > 0 and steps >= AVERAGING * (noise / margin) ** 2


def identification(
    record: StructureRecord,
    margin: float,
    noise: float,
    *,
    long_enough: bool = False,
    distance: tuple[np.ndarray, np.ndarray] | None = None,
) -> Verdict:
    """Return the verdict: the 95 % lower limit of the share of identified runs must exceed 0.9.

    Runs that have not identified are a contradiction where atoms leave their state again and again at a rate that does
    not fall, in runs long enough for an average to be within the margin, or if the length is known to be `long_enough`;
    else they may still identify: the verdict is inconclusive.

    Parameters
    ----------
    record
        Wrong structure of all runs.
    margin
        The nondegeneracy margin of the instance; the statement assumes that it is positive.
    noise
        Standard deviation of a gradient's coordinate; reported.
    long_enough
        Whether the theorem's own method identifies within this length: so it is for a control, whose unmet assumptions
        are recorded as broken on purpose.
    distance
        (steps, |z_t - w*|), (k,) and (k, seeds), for a statement that assumes convergence: see `convergence`.
    """
    last, steps, seeds = record.last_wrong, record.steps, record.seeds
    identified = int((last <= steps / 2).sum())
    low, high = clopper_pearson(identified, seeds, 0.9)  # one-sided 95 %
    count, late = late_departures(record)
    flickers = averages(steps, noise, margin) and count >= AGAIN and late.low > HARMONIC and late.high >= 0.5
    passed = True if low > SHARE else False if high < SHARE and (long_enough or flickers) else None
    note = (
        "" if passed else f"; a median of {count:.0f} departures in the last half, {late.value:.0%} of them late in it"
    )
    if passed is None:
        note += ": too few runs to tell" if high >= SHARE else ": not identified yet"
    flags = {"false positives": record.false_positive, "false negatives": record.false_negative}
    figure = figure_of_runs("Runs with wrong structure", flags)
    assumptions: tuple[Assumption, ...] = (Assumption("margin", margin, margin > 0, broken=long_enough),)
    more, power = {}, (missed_share(seeds),)
    if distance is not None:
        converges, fit = convergence(*distance, broken=long_enough)
        assumptions, more = (*assumptions, converges), {"exponent of the distance": fit.value}
        note += f"; |z - w*| ~ t^{fit.value:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
    return decide(
        passed,
        assumptions,
        f"{identified} of {seeds} runs identified ({record.both()}; {steps} steps{note})",
        "95 % lower limit of the share of runs that are right on the whole last half > 0.9",
        identified / seeds,
        (low, high),
        seeds,
        record.wrong.size,
        evidence=(figure,),
        figures={
            "noise": noise,
            "late wrong share": float(record.late_share().mean()),
            **more,
            **record.both().figures(),
        },
        power=power,
    )
