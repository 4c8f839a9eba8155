"""The last digits: residuals with a bound of their rounding error, and Newton corrections that are judged by them.

A float64 gradient (1/n) sum x_ij l'(m_i) is off by the rounding of the margins and of the sum, which can exceed 1e-12
lam where lam is small beside the columns' scale. Here it comes with a bound, in double-double arithmetic wherever the
plain bound does not decide (Higham, Accuracy and Stability of Numerical Algorithms, 2002, ch. 3 and 12).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convex_bench.ground_truth.doubled import Accurate, U, accurate_gradient
from convex_bench.ground_truth.form import Form
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.model_step import norm_curvature, parts
from convex_bench.ground_truth.working_set import Iterate, model_at
from convex_bench.problem import Problem

Array = np.ndarray
ROUNDS = 6
DECIDED, EXACT = 1e-3, 1e-9  # off groups this far inside, with a margin known this well, need no more digits
ENOUGH = 0.3  # of the tolerance: corrections stop here
SAFE = 1.0 + 1e-6


@dataclass(frozen=True, eq=False)
class Judged:
    """A point w + low with a gradient of f that is within `error` of the truth, all flat (size,).

    residual : (groups,) an upper bound of the residual of each group, relative to `scale`.
    scale : (groups,) lam_g + l1; of a free group the smallest size of the terms of its coordinates' gradients.
    free : (size,) the size of the terms, where it was computed.
    """

    at: Iterate
    low: Array
    gradient: Array
    error: Array
    residual: Array
    scale: Array
    free: Array
    terms: Array

    @property
    def worst(self) -> float:
        """The largest relative residual, rounding included."""
        return float(self.residual.max())


def column_squares(problem: Problem) -> Array:
    """Return q, flat (size,): (1/n) sum_i x_ij^2 of the column of each coordinate, rounded up."""
    return problem.column_squares() / problem.n * SAFE + np.finfo(float).tiny


def plain_error(smooth: Smooth, at: Iterate, low: Array, q: Array) -> Array:
    """Return a bound of the error of the float64 gradient at w + low by coordinate.

    By Cauchy-Schwarz over the rows: sqrt(q_j) (c rms(error of the margins) + (n + 10) u rms(l')).
    """
    problem = smooth.problem
    norms = problem._matrix.row_norms
    length, moved = float(np.linalg.norm(at.w)), float(np.linalg.norm(low))
    support = np.count_nonzero(at.w) + 4.0
    margins = np.sqrt(norms.mean()) * (support * U * length + moved)
    d = problem.loss.derivative(at.margins, problem.y).reshape(problem.n, -1)
    size = float(np.sqrt((d * d).sum(axis=1).mean()))
    if problem.loss.name == "squared":
        size += U * float(np.sqrt((problem.y**2).mean()))
    factor = problem.loss.curvature_bound * margins + ((problem.n + 10.0) * size + 8.0 * size) * U
    return np.sqrt(q) * factor * 1.01


def judge(smooth: Smooth, form: Form, at: Iterate, low: Array | None = None) -> Judged:
    """Return what is known of the point at.w + low; at.margins and at.gradient are those of at.w in float64."""
    low = np.zeros_like(at.w) if low is None else low
    q = column_squares(smooth.problem)
    error = plain_error(smooth, at, low, q)
    ridge = form.ridge * at.w
    v = at.gradient + ridge
    reach = np.maximum(np.abs(v) + error + 2 * U * np.abs(ridge) - form.l1, 0.0)
    active = form.active(at.w)
    if form.nonnegative:
        reach = np.maximum(-v + error, 0.0)
    decided = ~active & (form.norms(reach) <= (1.0 - DECIDED) * form.lam) & (form.norms(error) <= EXACT * form.lam)
    coords = np.sort(form.members[~np.repeat(decided, np.diff(form.start))])
    gradient, free, terms = at.gradient.copy(), np.zeros_like(at.w), np.zeros_like(at.w)
    if coords.size:
        found: Accurate = accurate_gradient(smooth.problem, at.w, low, coords)
        for whole, part in (
            (gradient, found.gradient), (error, found.error), (free, found.size), (terms, found.terms),
        ):  # fmt: skip
            whole[coords] = part[coords]
    return _residuals(smooth, form, at, low, gradient, error, free, terms, q)


def _residuals(
    smooth: Smooth,
    form: Form,
    at: Iterate,
    low: Array,
    gradient: Array,
    error: Array,
    free: Array,
    terms: Array,
    q: Array,
) -> Judged:
    ridge = form.ridge * at.w + form.ridge * low
    v = gradient + ridge
    error = error + 3 * U * np.abs(ridge)
    sizes = np.diff(form.start)
    kink = form.lam + form.l1[form.members[form.start[:-1]]]
    lost = (sizes + 8) * U * (form.norms(v) + form.lam + np.sqrt(sizes) * form.l1[form.members[form.start[:-1]]])
    absolute = form.residual(at.w, v)
    bound = np.where(absolute + form.norms(error) > 0, form.norms(error) + lost, 0.0)
    off = ~form.active(at.w)
    reach = np.maximum((-v if form.nonnegative else np.abs(v)) + error - form.l1 * (not form.nonnegative), 0.0)
    inside = off & (form.norms(reach) * (1 + 4 * U * sizes) <= form.lam) & (form.lam > 0)
    residual = np.where(inside, 0.0, absolute + bound)
    loose = kink == 0
    scale = form.scale.copy()
    if loose.any():
        # at an exact fit the terms vanish: the size is then that of rounding the margins, times 1e4
        natural = np.maximum(free, 1e-4 * np.sqrt(q) * _null_size(smooth))[form.members]
        each = (np.abs(v) + error)[form.members] / natural
        starts = form.start[:-1]
        scale[loose] = np.minimum.reduceat(natural, starts)[loose]
        residual[loose] = (np.maximum.reduceat(each, starts) * scale)[loose]
    return Judged(at, low, gradient, error, residual / scale, scale, free, terms)


def _null_size(smooth: Smooth) -> float:
    """Return the root mean square of l' at w = 0."""
    problem = smooth.problem
    d = problem.loss.derivative(problem.margins(np.zeros(problem.shape)), problem.y)
    return float(np.sqrt((d.reshape(problem.n, -1) ** 2).sum(axis=1).mean()))


def refine(smooth: Smooth, form: Form, best: Iterate, tol: float) -> Judged:
    """Return the best of `best` and a few Newton corrections on its support, all judged with their rounding error.

    First among doubles; where no double is near enough to the solution (columns far from their mean), then with a part
    `low` below the last digit of w.
    """
    judged = judge(smooth, form, best)
    for with_low in (False, True):
        for _ in range(ROUNDS):
            if judged.worst <= ENOUGH * tol:
                return judged
            new = correct(smooth, form, judged, with_low)
            if new is None:
                break
            better = new.worst < judged.worst
            enough = new.worst > 0.5 * judged.worst
            judged = new if better else judged
            if enough:
                break
        if judged.worst <= tol:
            break
    return judged


def correct(smooth: Smooth, form: Form, judged: Judged, with_low: bool) -> Judged | None:
    """Return the point after a Newton step on the support, or None where it changes a sign or is not finite."""
    at = judged.at
    groups = np.flatnonzero(form.active(at.w))
    if groups.size == 0:
        return None
    exact = Iterate(at.w, at.margins, at.value, judged.gradient, at.residual, at.steps)
    coords, model = model_at(smooth, form, exact, groups)
    arrays, z = model.arrays, at.w[coords]
    S, group, norms = parts(z, arrays)
    if S.size == 0:
        return None
    x, mine = z[S], group[S]
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(norms[mine] > 0, x / norms[mine], 0.0)
    ridge = form.ridge[coords[S]]
    slope = judged.gradient[coords[S]] + ridge * (x + judged.low[coords[S]])
    slope = slope + arrays["lam"][mine] * unit + arrays["l1"][S] * np.sign(x)
    curvature = norm_curvature(z, S, group, norms, arrays, dense=hasattr(model, "H"))
    d, _ = model.solve(S, curvature, -slope, 1e-10)
    step = judged.low[coords[S]] + d
    moved = x + step
    kinked = (arrays["l1"][S] > 0) | ((np.diff(arrays["start"])[mine] == 1) & (arrays["lam"][mine] > 0))
    if not np.isfinite(moved).all() or (kinked & (x * moved <= 0)).any():
        return None
    w, low = at.w.copy(), np.zeros_like(at.w)
    w[coords[S]] = moved
    if with_low:
        t = moved - x  # TwoSum
        low[coords[S]] = (x - (moved - t)) + (step - t)
    margins = smooth.margins(w)
    gradient = smooth.gradient(margins)
    residual = form.residual(w, gradient + form.ridge * w) / form.scale
    new = Iterate(w, margins, smooth.value(margins), gradient, residual, at.steps + 1)
    return judge(smooth, form, new, low)
