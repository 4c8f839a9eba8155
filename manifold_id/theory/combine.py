"""One verdict of several parts."""

from __future__ import annotations

from dataclasses import replace

from manifold_id.theory.base import Part, Status, Verdict


def all_hold(*parts: tuple[str, Verdict]) -> Verdict:
    """Return the verdict of a statement with several (name, verdict) parts: it fails where one part fails.

    The effect and interval are those of the part that decides: the first that fails, else the first that is
    inconclusive, else the first.
    """
    return _merge(parts, ("fails", "inconclusive", "holds"))


def all_fail(*parts: tuple[str, Verdict]) -> Verdict:
    """Return the verdict of a control with several variations: it fails only where every variation fails."""
    return _merge(parts, ("holds", "inconclusive", "fails"))


def _merge(parts: tuple[tuple[str, Verdict], ...], order: tuple[Status, ...]) -> Verdict:
    status = next(s for s in order if any(v.status == s for _, v in parts))
    decisive = next(v for _, v in parts if v.status == status)
    return replace(
        decisive,
        status=status,
        summary="; ".join(f"{name}: {v.summary}" for name, v in parts),
        parts=tuple(Part(name, v.status, v.summary) for name, v in parts),
        criterion="; ".join(dict.fromkeys(v.criterion for _, v in parts)),
        seeds=max(v.seeds for _, v in parts),
        samples=sum(v.samples for _, v in parts),
        assumptions=tuple(a for _, v in parts for a in v.assumptions),
        evidence=tuple(replace(e, title=f"{e.title}: {name}") for name, v in parts for e in v.evidence),
        power=tuple(replace(p, constant=f"{name}: {p.constant}") for name, v in parts for p in v.power),
        figures={f"{name}: {key}": x for name, v in parts for key, x in v.figures.items()},
    )
