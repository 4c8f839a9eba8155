"""psi as the solvers see it: groups, entrywise parts and a ridge on the flat variable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convex_bench.problem import Problem
from manifold_id.regularizers import NonnegativeL1
from manifold_id.regularizers.base import Separable

Array = np.ndarray
PENALTIES = ("abs", "elastic_net", "nonnegative")
TINY = 1e-290  # the least lam of a coordinate that must stay nonnegative: lam = 0 says that it is free


@dataclass(frozen=True, eq=False)
class Form:
    """psi(w) = sum_g lam_g |w_g|_2 + sum_j l1_j |w_j| + sum_j ridge_j w_j^2 / 2, optionally on w >= 0 but free ones.

    Attributes
    ----------
    members, start : (size,) int64 flat coordinates ordered by group; (groups + 1,) where each group begins in it.
    lam : (groups,) float64, 0 for a free group (the intercept, weight 0), at least TINY for one that must be >= 0.
    l1, ridge : (size,) float64, by flat coordinate.
    scale : (groups,) what a group's residual is relative to: lam_g + l1, and for a free group the largest of these.
    nonnegative : whether psi asks for w >= 0 where it is not free (then all groups are single entries).
    """

    members: Array
    start: Array
    lam: Array
    l1: Array
    ridge: Array
    scale: Array
    nonnegative: bool

    @property
    def size(self) -> int:
        """The number of flat coordinates."""
        return len(self.members)

    def of(self, values: Array) -> Array:
        """Return a number of each group as a number of each of `members`."""
        return np.repeat(values, np.diff(self.start))

    def sums(self, values: Array) -> Array:
        """Return the sum over each group of values given in the order of `members`."""
        return np.add.reduceat(values, self.start[:-1])

    def norms(self, w: Array) -> Array:
        """Return |w_g|_2 of a flat w."""
        if len(self.lam) == self.size:
            return np.abs(w[self.members])
        return np.sqrt(self.sums(w[self.members] ** 2))

    def value(self, w: Array) -> float:
        """Return psi at a flat w; w is taken to be feasible."""
        total = (self.lam * self.norms(w)).sum()
        if self.l1[0] > 0:
            total += (self.l1 * np.abs(w)).sum()
        if self.ridge[0] > 0:
            total += 0.5 * (self.ridge * w**2).sum()
        return float(total)

    def unpenalized(self, groups: Array) -> Array:
        """Return (size,) bool: the flat coordinates of `groups` (bool, of each) that have no other penalty either."""
        found = np.empty(self.size, dtype=bool)
        found[self.members] = self.of(groups)
        return found & (self.l1 == 0) & (self.ridge == 0)

    def feasible(self, w: Array) -> Array:
        """Return a flat w with its coordinates that must be nonnegative cut at 0."""
        if not self.nonnegative:
            return w
        bound = np.empty(self.size)
        bound[self.members] = np.where(self.lam > 0, 0.0, -np.inf)
        return np.maximum(w, bound)

    def active(self, w: Array) -> Array:
        """Return which groups are free or have a nonzero entry."""
        free = (self.lam == 0) & (self.sums(self.l1[self.members]) == 0)
        return free | (self.sums((w[self.members] != 0).astype(np.int64)) > 0)

    def residual(self, w: Array, g: Array) -> Array:
        """Return dist(-g_g, d psi(w)_g) for each group; g is the gradient of f + ridge term at the flat w."""
        x, v, l1 = w[self.members], g[self.members], self.l1[self.members]
        norms = self.norms(w)
        off = norms == 0
        if self.nonnegative:
            return np.where(off & (self.lam > 0), np.maximum(-v - self.lam, 0.0), np.abs(v + self.lam))
        with np.errstate(invalid="ignore", divide="ignore"):
            unit = np.where(self.of(off), 0.0, x / self.of(norms))
        rest = v + self.of(self.lam) * unit + l1 * np.sign(x)
        rest = np.where(x == 0, np.sign(rest) * np.maximum(np.abs(rest) - l1, 0.0), rest)
        length = np.abs(rest) if len(self.lam) == self.size else np.sqrt(self.sums(rest**2))
        return np.where(off, np.maximum(length - self.lam, 0.0), length)


def gradient_scale(problem: Problem) -> float:
    """Return the largest entry of the gradient of f at 0, or 1 where that is 0: the scale where there is no lam."""
    return float(np.abs(problem.gradient(np.zeros(problem.shape))).max()) or 1.0


def separable_form(problem: Problem) -> Separable | None:
    """Return the separable form of psi on the features; that of the constraint w >= 0 alone too, which no loop has."""
    penalty, shape = problem.penalty, (problem.n_features, *problem.shape[1:])
    if isinstance(penalty, NonnegativeL1) and penalty.lam == 0:
        inner = penalty.with_lam(1.0).separable(shape)
        return None if inner is None else inner._replace(lam=np.zeros_like(inner.lam))
    return penalty.separable(shape)


def form_of(problem: Problem) -> Form | None:
    """Return the form of a problem's psi with its intercept, or None where psi has none or is not convex."""
    inner = separable_form(problem) if problem.penalty.convex else None
    if inner is None or inner.penalty not in PENALTIES:
        return None
    size, free = math.prod(problem.shape), int(problem.intercept) * problem.n_outputs
    labels = np.concatenate([np.asarray(inner.labels, dtype=np.int64), len(inner.lam) + np.arange(free)])
    lam = np.concatenate([np.asarray(inner.lam, dtype=np.float64), np.zeros(free)])
    l1, ridge = np.full(size, float(inner.l1)), np.zeros(size)
    if inner.penalty == "elastic_net":
        ridge[:] = inner.parameters[0]
    l1[size - free :] = ridge[size - free :] = 0.0
    members = np.argsort(labels, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=len(lam)))]).astype(np.int64)
    kink = lam + l1[members[start[:-1]]]
    scale = np.where(kink > 0, kink, kink.max() if kink.max() > 0 else gradient_scale(problem))
    nonnegative = inner.penalty == "nonnegative"
    if nonnegative:
        lam[: len(inner.lam)] = np.maximum(lam[: len(inner.lam)], TINY)
    return Form(members, start, lam, l1, ridge, scale, nonnegative)


def restrict(form: Form, groups: Array) -> tuple[Array, dict[str, Any]]:
    """Return (flat coordinates of `groups`, the arrays of the compiled loops restricted to them)."""
    sizes = np.diff(form.start)[groups]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    offset = np.arange(start[-1]) - np.repeat(start[:-1] - form.start[groups], sizes)
    coords = form.members[offset]
    arrays = {"start": start, "lam": form.lam[groups], "l1": form.l1[coords], "scale": form.scale[groups]}
    return coords, arrays
