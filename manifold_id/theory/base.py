"""A verified theorem: a statement, its assumptions as measured, evidence, a verdict, and a control that must fail."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

Status = Literal["holds", "fails", "inconclusive"]


@dataclass(frozen=True)
class Theorem:
    r"""A published or derived statement.

    Attributes
    ----------
    name
        Its name on the command line, e.g. "one-step-certificate".
    title
        A few words.
    statement, latex
        What is claimed, in plain text and in LaTeX, where \qquad parts one formula from the next.
    source
        Where it stands: authors, year, number; "derived here" with the idea of the proof where it is no citation.
    measured
        What is measured, and why that is evidence where the statement itself cannot be measured.
    control
        The variation that breaks an assumption, and why the verdict must then fail.
    """

    name: str
    title: str
    statement: str
    latex: str
    source: str
    measured: str
    control: str

    @property
    def formulas(self) -> list[str]:
        """The formulas of `latex`."""
        return [formula.strip() for formula in self.latex.split(r"\qquad")]


@dataclass(frozen=True)
class Assumption:
    """An assumption as checked on the instance: its figure, and whether it is met.

    `broken` marks the one that a control breaks on purpose: it is recorded as not met, and judged all the same.
    """

    name: str
    value: float
    met: bool
    note: str = ""
    broken: bool = False


def claimed(factor: float, what: str = "margin") -> Assumption:
    """Return the assumption that a constant is not claimed to be larger than it is; a control claims `factor` > 1 times
    the truth."""
    return Assumption(f"claimed / true {what}", factor, factor <= 1, "at most 1", broken=factor > 1)


@dataclass(frozen=True)
class Curve:
    """One curve of the figure of evidence: x, y and an optional band, as plain arrays."""

    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    kind: Literal["line", "points"] = "line"


@dataclass(frozen=True)
class Evidence:
    """The data of one figure."""

    title: str
    xlabel: str
    ylabel: str
    curves: tuple[Curve, ...]
    xscale: Literal["linear", "log"] = "linear"
    yscale: Literal["linear", "log", "share"] = "linear"  # share: linear, from 0 to 1


@dataclass(frozen=True)
class Power:
    """Which wrong values of a constant or an exponent a check rejects: all those <= `below` and all those >= `above`,
    as measured on its own runs; nan on a side where none was found or none is wrong."""

    constant: str
    stated: float
    below: float = math.nan
    above: float = math.nan

    def text(self, wrong: float) -> str:
        """Return a wrong value with four digits, or as many as tell it from the stated one."""
        texts = (f"{wrong:.{digits}g}" for digits in range(4, 18))
        return next((text for text in texts if float(text) != self.stated), f"{wrong:.4g}")

    def __str__(self) -> str:
        sides = [f"{sign} {self.text(x)}" for sign, x in (("<=", self.below), (">=", self.above)) if math.isfinite(x)]
        return f"{self.constant} {self.stated:.4g}: rejects {' and '.join(sides) or 'nothing'}"


@dataclass(frozen=True)
class Part:
    """One part of a verdict of several: its name, and what came out of it alone."""

    name: str
    status: Status
    summary: str


@dataclass(frozen=True)
class Verdict:
    """What came out.

    Attributes
    ----------
    status
        "holds"; "fails": the runs contradict the statement; or "inconclusive": an assumption is not met on the
        instance, the interval contains the threshold, or nothing was tested (no sample, runs too short to tell).
    summary
        One sentence with the figures.
    effect, interval
        The number that decides and its interval (nan where there is none: a count of violations needs none).
    criterion
        The rule, fixed before the runs: "0 violations", "slope in [-2.3, -1.7]", ...
    seeds, samples
        Independent seeds, and how many single comparisons went in.
    power
        The smallest wrong constants and exponents that the same runs reject.
    parts
        What each part came to, where there are several; the summary has them all.
    control
        The verdict of the control on the same instance, which must fail; None where none was run.
    """

    status: Status
    summary: str
    criterion: str
    effect: float
    interval: tuple[float, float] = (math.nan, math.nan)
    seeds: int = 0
    samples: int = 0
    assumptions: tuple[Assumption, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)  # further numbers, by name
    power: tuple[Power, ...] = ()
    parts: tuple[Part, ...] = ()
    control: Verdict | None = None

    @property
    def brief(self) -> str:
        """The summary of the part that decides, the first with the verdict's status, and how many others there are."""
        if not self.parts:
            return self.summary
        part = next((part for part in self.parts if part.status == self.status), self.parts[0])
        others = len(self.parts) - 1
        return f"{part.name}: {part.summary}" + (f" (+{others} part{'s' * (others > 1)})" if others else "")


def decide(
    passed: bool | None,
    assumptions: tuple[Assumption, ...],
    summary: str,
    criterion: str,
    effect: float,
    interval: tuple[float, float] = (math.nan, math.nan),
    seeds: int = 0,
    samples: int = 0,
    *,
    evidence: tuple[Evidence, ...] = (),
    figures: dict[str, float] | None = None,
    power: tuple[Power, ...] = (),
) -> Verdict:
    """Return the verdict with its assumptions: nothing is concluded where one of them is not met on the instance (but
    for one that a control breaks on purpose), or where `passed` is None (the interval contains the threshold)."""
    met = passed is not None and all(a.met or a.broken for a in assumptions)
    status: Status = "inconclusive" if not met else "holds" if passed else "fails"
    more = (assumptions, evidence, figures or {}, power)
    return Verdict(status, summary, criterion, effect, interval, seeds, samples, *more)


def unmet(*assumptions: Assumption) -> Verdict:
    """Return the verdict where nothing was run as some of these assumptions are not met: it names them with figures."""
    summary = "; ".join(f"{a.name} {a.value:.3g} ({a.note})" for a in assumptions if not a.met)
    return Verdict("inconclusive", f"not tested: {summary}", "assumptions met", math.nan, assumptions=assumptions)


def no_violations(
    violations: int, samples: int, what: str, *, seeds: int, assumptions: tuple[Assumption, ...] = (), **more: Any
) -> Verdict:
    """Return the verdict of a statement that admits no exception: it fails at the first violation.

    With no sample at all it is inconclusive: nothing was tested. Further keywords go to `decide`.
    """
    summary = f"{violations} violations in {samples} {what}" if samples else f"not tested here: no {what}"
    verdict = decide(
        violations == 0, assumptions, summary, "0 violations", float(violations), seeds=seeds, samples=samples, **more
    )
    return verdict if samples else replace(verdict, status="inconclusive")
