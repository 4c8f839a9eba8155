"""Exponents: how the root mean square of a size grows or falls, with an interval over seeds, and the verdict on it."""

from __future__ import annotations

import numpy as np

from manifold_id.statistics import Estimate
from manifold_id.theory.base import Assumption, Evidence, Verdict, decide
from manifold_id.theory.intervals import bootstrap, inside, log_slope
from manifold_id.theory.power import of_interval

Array = np.ndarray


def rms(sizes: Array) -> Array:
    """Return the root mean square over seeds of (k, seeds), (k,)."""
    return np.asarray(np.sqrt((sizes**2).mean(axis=1)))


def rms_exponent(x: Array, sizes: Array) -> Estimate:
    """Return the exponent b of rms(sizes) ~ x^b with its 99 % interval over seeds; x (k,), sizes (k, seeds)."""
    return bootstrap(lambda i: log_slope(x, rms(sizes[:, i])), sizes.shape[1])


def exponent_near(
    x: Array,
    sizes: Array,
    stated: float,
    width: float,
    *assumptions: Assumption,
    what: str = "exponent",
    evidence: tuple[Evidence, ...] = (),
) -> Verdict:
    """Return the verdict on the exponent of rms(sizes) in x: its 99 % interval within `width` of the stated one.

    `x` is (k,), `sizes` (k, seeds); `what` names the exponent.
    """
    fit = rms_exponent(x, sizes)
    return decide(
        inside((fit.low, fit.high), stated - width, stated + width),
        assumptions,
        f"{what} {fit.value:.3f} [{fit.low:.3f}, {fit.high:.3f}], stated {stated:g}",
        f"99 % interval of the {what} within {width:g} of {stated:g}",
        fit.value,
        (fit.low, fit.high),
        sizes.shape[1],
        sizes.size,
        evidence=evidence,
        power=(of_interval(what, stated, (fit.low, fit.high), width=width),),
    )
