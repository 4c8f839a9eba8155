"""Newton corrections from a gradient in extended precision, for a residual that rounding keeps above the tolerance.

A float64 gradient (1/n) sum x_ij l'(m_i) is off by the rounding of the margins and of the sum, which can exceed 1e-12
lam where lam is small beside the columns' scale. Here margins and sums are formed in numpy.longdouble (64 bits of
mantissa on x86; where it is no wider than float64 nothing is gained and nothing lost).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from convex_bench.ground_truth.form import Form
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.model_step import newton_step
from convex_bench.ground_truth.working_set import Iterate, model_at
from convex_bench.problem import Problem

Array = np.ndarray
WORTH = 1e-8  # residuals above this are no matter of rounding
BLOCK = 2**20
ROUNDS = 4


def accurate_gradient(problem: Problem, w: Array) -> Array:
    """Return the flat gradient of f at a flat w, from extended margins and sums, rounded once at the end."""
    W = w.reshape(problem.shape[0], -1)
    support = np.flatnonzero(W[: problem.n_features].any(axis=1))
    total = np.zeros(W.shape, dtype=np.longdouble)
    size = max(1, BLOCK // problem.n_features)
    for begin in range(0, problem.n, size):
        rows = slice(begin, min(begin + size, problem.n))
        part = problem.X[rows]
        dense = (part.toarray() if sparse.issparse(part) else part).astype(np.longdouble)
        margins = dense[:, support] @ W[support].astype(np.longdouble)
        if problem.intercept:
            margins = margins + W[-1]
        d = _derivative(problem, margins, rows)
        total[: problem.n_features] += dense.T @ d
        if problem.intercept:
            total[-1] += d.sum(axis=0)
    return np.asarray(total / problem.n, dtype=np.float64).ravel()


def _derivative(problem: Problem, margins: Array, rows: slice) -> Array:
    """Return the loss's derivative at extended margins, (rows, K)."""
    y = problem.y[rows]
    if problem.loss.name == "squared":
        return margins - y[:, None]
    if problem.loss.name == "logistic":
        signs = y[:, None]
        t = signs * margins
        small = np.exp(-np.abs(t))
        return -signs * np.where(t > 0, small / (1 + small), 1 / (1 + small))
    p = np.exp(margins - margins.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return p


def refine(smooth: Smooth, form: Form, best: Iterate) -> Iterate:
    """Return the best of `best` and a few Newton corrections on its support, all judged by the accurate gradient."""
    if best.worst > WORTH or smooth.n * smooth.problem.n_features > 2**28:
        return best
    at = _judged(smooth, form, best)
    groups = np.flatnonzero(form.active(at.w))
    for _ in range(ROUNDS):
        if at.worst <= 1e-15 or groups.size == 0:
            break
        coords, model = model_at(smooth, form, at, groups)
        newton_step(model, form.nonnegative)
        w = at.w.copy()
        w[coords] = model.z
        new = _judged(smooth, form, Iterate(w, smooth.margins(w), at.value, at.gradient, at.residual, at.steps + 1))
        if new.worst >= at.worst:
            break
        at = new
    at.value = smooth.value(at.margins)
    return at


def _judged(smooth: Smooth, form: Form, at: Iterate) -> Iterate:
    gradient = accurate_gradient(smooth.problem, at.w)
    residual = form.residual(at.w, gradient + form.ridge * at.w) / form.scale
    return Iterate(at.w, at.margins, at.value, gradient, residual, at.steps, at.supports)
