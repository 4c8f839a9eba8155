"""Curves of evidence: the steps they show, and shares of runs or of samples in a bin, with exact limits."""

from __future__ import annotations

import numpy as np

from manifold_id.theory.base import Curve, Evidence
from manifold_id.theory.intervals import clopper_pearson

Array = np.ndarray


def log_steps(steps: int) -> Array:
    """Return at most 80 of the steps 1, ..., `steps`, evenly spaced in log."""
    return np.unique(np.geomspace(1, steps, 80).astype(int))


def limits(successes: Array, trials: Array) -> tuple[Array, Array]:
    """Return the exact (Clopper-Pearson) 95 % limits of each of several proportions; (0, 1) without trials."""
    kinds, which = np.unique(np.stack([successes, trials]), axis=1, return_inverse=True)
    ends = np.array([clopper_pearson(int(k), int(n), 0.95) for k, n in kinds.T]).reshape(-1, 2)[which.reshape(-1)]
    return ends[:, 0], ends[:, 1]


def share_of_runs(label: str, flags: Array, t: Array) -> Curve:
    """Return the share of the runs for which `flags`, boolean (steps, runs), is true at the steps t >= 1."""
    at = flags[t - 1]
    low, high = limits(at.sum(axis=1), np.full(len(t), at.shape[1]))
    return Curve(f"{label}, exact 95 % limits", t.astype(float), at.mean(axis=1), low, high)


def figure_of_runs(title: str, flags: dict[str, Array], *more: Curve) -> Evidence:
    """Return the figure of the shares of the runs over the steps, a curve for each of `flags`, (steps, runs)."""
    curves = (share_of_runs(label, each, log_steps(len(each))) for label, each in flags.items())
    return Evidence(title, "step", "share of runs", (*curves, *more), "log", "share")


def share_by_ratio(ratio: Array, flags: Array) -> Curve:
    """Return the share of samples for which `flags` is true, in bins of width 0.1 of `ratio` from 0 to 3.

    Neighbouring samples of a run are not independent, so that the limits are a guide where they are narrow; they say
    which bins hold few samples.
    """
    bins = np.floor(ratio * 10).astype(int)
    inside = (bins >= 0) & (bins < 30)
    total = np.bincount(bins[inside], minlength=30)
    true = np.bincount(bins[inside & flags], minlength=30)
    k = np.flatnonzero(total)
    low, high = limits(true[k], total[k])
    return Curve("atoms and steps in a bin, exact 95 % limits", (k + 0.5) / 10, true[k] / total[k], low, high, "points")
