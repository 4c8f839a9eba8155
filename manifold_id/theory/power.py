"""The power of a check: the smallest wrong constant or exponent that it would reject, measured on the same runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from manifold_id.theory.base import Power, Verdict


def rejected(
    constant: str,
    stated: float,
    judge: Callable[[float], Verdict],
    *,
    below: Iterable[float] = (),
    above: Iterable[float] = (),
) -> Power:
    """Return the power of a verdict on recorded runs, judged again with wrong values of one of its constants.

    Parameters
    ----------
    constant, stated
        Its name, and the value that the statement has.
    judge
        The verdict on the same runs for a claimed value.
    below, above
        Wrong values, the nearest to the stated one first. Of each side the first counts from which on all of them are
        rejected (the verdict "fails"; "inconclusive" rejects nothing): nan where the last one is not.
    """
    return Power(constant, stated, *(_first_rejected(judge, list(values)) for values in (below, above)))


def _first_rejected(judge: Callable[[float], Verdict], values: list[float]) -> float:
    found = math.nan
    for value in reversed(values):
        if judge(value).status != "fails":
            break
        found = value
    return found


def of_interval(
    constant: str, stated: float, interval: tuple[float, float], *, width: float = 0.0, factor: float = 0.0
) -> Power:
    """Return the power of an estimate whose interval has to meet what is stated within `width`, or within the share
    `factor` of it: any value so far from the interval that the two do not overlap is rejected."""
    low, high = interval
    return Power(constant, stated, (low - width) / (1 + factor), (high + width) / (1 - factor))
