"""Whether a set of runs has identified: the judgement that several theorems share."""

from __future__ import annotations

import numpy as np

from manifold_id.statistics import Estimate
from manifold_id.theory.base import Assumption, Verdict, decide
from manifold_id.theory.curves import figure_of_runs
from manifold_id.theory.intervals import bootstrap, clopper_pearson
from manifold_id.theory.structure_record import StructureRecord

SHARE = 0.9
HARMONIC = float(np.log(4 / 3) / np.log(2))  # the last quarter's share of a last half, at the rate 1/t
AGAIN = 3  # departures in the last half of a run: "again and again"
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


def averages(steps: int, noise: float, margin: float) -> bool:
    """Whether `steps` are enough for an average of gradients with this noise to be within the margin."""
    return margin > 0 and steps >= AVERAGING * (noise / margin) ** 2


def identification(record: StructureRecord, margin: float, noise: float, *, long_enough: bool = False) -> Verdict:
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
        Whether the theorem's own method identifies within this length: so it is for a control.
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
    return decide(
        passed,
        (Assumption("margin", margin, margin > 0),),
        f"{identified} of {seeds} runs identified ({record.both()}; {steps} steps{note})",
        "95 % lower limit of the share of runs that are right on the whole last half > 0.9",
        identified / seeds,
        (low, high),
        seeds,
        record.wrong.size,
        evidence=(figure,),
        figures={"noise": noise, "late wrong share": float(record.late_share().mean()), **record.both().figures()},
    )
