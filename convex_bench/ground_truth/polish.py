"""From any start to a certified support: the prox-gradient rule, Newton, both supports of a cycle, doubtful groups."""

from __future__ import annotations

import numpy as np

from convex_bench.ground_truth import working_set
from convex_bench.ground_truth.form import Form
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.least_norm import least_norm
from convex_bench.ground_truth.working_set import Iterate

Array = np.ndarray
ROUNDING = 1e-10  # residuals below this are not for want of the right support
DOUBT = 1e-6  # active groups below this share of their prox-gradient threshold are tried at zero


def prox_step(form: Form, w: Array, g: Array, L: Array) -> Array:
    """Return prox_{psi / L_g}(w - g / L_g) by group: g the gradient of f + ridge, L_g > 0 one curvature a group."""
    each = form.of(L)
    x = w[form.members] - g[form.members] / each
    threshold = form.l1[form.members] / each
    x = np.where(form.lam > 0, np.maximum(x, 0.0), x) if form.nonnegative else x
    x = np.sign(x) * np.maximum(np.abs(x) - threshold, 0.0)
    norms = np.abs(x) if len(form.lam) == form.size else np.sqrt(form.sums(x * x))
    shrink = np.where(norms > form.lam / L, 1.0 - form.lam / L / np.where(norms > 0, norms, 1.0), 0.0)
    result = np.empty_like(w)
    result[form.members] = x * form.of(shrink)
    return result


def group_curvature(smooth: Smooth, form: Form) -> Array:
    """Return an upper bound L_g of the curvature of f + ridge within each group: c |X_g|_F^2 / n + ridge."""
    problem = smooth.problem
    flat = problem.column_squares() * problem.loss.curvature_bound / problem.n + form.ridge
    return np.maximum(form.sums(flat[form.members]), np.finfo(float).tiny ** 0.5)


def support_start(smooth: Smooth, form: Form, w: Array) -> Array:
    """Return a start with exact zeros: a group is kept iff |w_g - g_g / L_g| > lam_g / L_g; w is flat and dense."""
    at = working_set.evaluate(smooth, form, w)
    L = group_curvature(smooth, form)
    moved = prox_step(form, w, at.gradient + form.ridge * w, L)
    kept = np.where(
        moved != 0, w, 0.0
    )  # the rule gives the support; values near a good start are better than the step's
    return form.feasible(kept)


def settle(smooth: Smooth, form: Form, start: Array, tol: float) -> Iterate:
    """Return the best point reached from a flat start with exact zeros."""
    best = working_set.run(smooth, form, start, tol)
    if best.worst > ROUNDING:
        best = _both(smooth, form, best, tol)
    if best.worst <= tol:
        best = _without_doubtful(smooth, form, best, tol)
        best = least_norm(smooth, form, best, tol)
    return best


def _both(smooth: Smooth, form: Form, best: Iterate, tol: float) -> Iterate:
    """Try each support of the last iterates on its own, where the loop went round instead of settling."""
    steps = best.steps
    seen: list[bytes] = []
    for active in [form.active(best.w), *reversed(best.supports)]:
        if active.tobytes() in seen:
            continue
        seen.append(active.tobytes())
        other = working_set.run_on(smooth, form, best, np.flatnonzero(active), tol)
        steps += other.steps
        if other.worst < best.worst:
            best = other
        if best.worst <= tol:
            break
    best.steps = steps
    return best


def _without_doubtful(smooth: Smooth, form: Form, best: Iterate, tol: float) -> Iterate:
    """Return the solution without active groups that are zero up to rounding, if it is one too (and degenerate)."""
    norms = form.norms(best.w)
    active = form.active(best.w) & (norms > 0)
    if not active.any():
        return best
    small = active & (form.lam + form.l1[form.members[form.start[:-1]]] > 0) & (norms <= DOUBT * norms.max())
    if not small.any():
        return best
    small &= norms * group_curvature(smooth, form) <= DOUBT * form.scale
    if not small.any():
        return best
    other = working_set.run_on(smooth, form, best, np.flatnonzero(form.active(best.w) & ~small), tol)
    other.steps += best.steps
    return other if other.worst <= tol else best
