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


def of_interval(constant: str, stated: float, interval: tuple[float, float]) -> Power:
    """Return the power of an estimate: its interval excludes every value beyond its ends."""
    return Power(constant, stated, *interval)


def excludes(interval: tuple[float, float], stated: float, *neighbours: float) -> bool | None:
    """Return what an interval says of a stated exponent that has to be told from its neighbours.

    True: it has the stated one and none of the neighbours; False: it has not the stated one; None: it has both, so
    that it cannot tell.
    """
    low, high = interval
    if not low <= stated <= high:
        return False
    return None if any(low <= n <= high for n in neighbours) else True
