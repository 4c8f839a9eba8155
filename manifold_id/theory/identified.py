"""Whether a set of runs has identified: the judgement that several theorems share."""

from __future__ import annotations

from manifold_id.theory.base import Assumption, Verdict, decide
from manifold_id.theory.curves import figure_of_runs
from manifold_id.theory.intervals import clopper_pearson
from manifold_id.theory.structure_record import StructureRecord

SHARE = 0.9


def identification(record: StructureRecord, margin: float, noise: float) -> Verdict:
    """Return the verdict: the 95 % lower limit of the share of identified runs must exceed 0.9.

    Parameters
    ----------
    record
        Wrong structure of all runs.
    margin
        The nondegeneracy margin of the instance; the statement assumes that it is positive.
    noise
        Standard deviation of a gradient's coordinate; reported.
    """
    last, steps, seeds = record.last_wrong, record.steps, record.seeds
    identified = int((last <= steps / 2).sum())
    low, high = clopper_pearson(identified, seeds, 0.9)  # one-sided 95 %
    flags = {"false positives": record.false_positive, "false negatives": record.false_negative}
    figure = figure_of_runs("Runs with wrong structure", flags)
    return decide(
        low > SHARE,
        (Assumption("margin", margin, margin > 0), Assumption("noise", noise, noise >= 0)),
        f"{identified} of {seeds} runs identified ({record.both()}; {steps} steps)",
        "95 % lower limit of the share of runs that are right on the whole last half > 0.9",
        identified / seeds,
        (low, high),
        seeds,
        record.wrong.size,
        evidence=(figure,),
        figures={"late wrong share": float(record.late_share().mean()), **record.both().figures()},
    )
