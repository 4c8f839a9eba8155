"""Theorems on manifold identification: statement, assumptions, evidence on recorded runs, verdict. No runs in here."""

from manifold_id.theory.base import Assumption, Curve, Evidence, Power, Theorem, Verdict

__all__ = ["Assumption", "Curve", "Evidence", "Power", "Theorem", "Verdict"]
