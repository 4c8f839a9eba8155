"""Of several solutions the one of least norm: the limit of a vanishing ridge, and what dual averaging from 0 selects.

Duplicate or dependent columns (one-hot codings) leave F flat along some directions. Many points are then stationary,
with different supports. A ridge too weak to move other atoms across their margins names the support of the one of least
norm; Newton settles its values without the ridge; the part of w in the flat directions is then projected away.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import linalg

from convex_bench.ground_truth import working_set
from convex_bench.ground_truth.form import Form, restrict
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.model_step import norm_curvature, parts
from convex_bench.ground_truth.working_set import Iterate

Array = np.ndarray
LARGEST = 1000  # coordinates up to which flat directions are looked for
FLAT = 1e-12  # eigenvalues below this share of the largest (unit diagonal) are flat directions
STRENGTH = 1e-5  # the ridge's pull relative to lam
TOUCHING = 1e-8  # off atoms with a relative margin below this may belong to another solution


def least_norm(smooth: Smooth, form: Form, best: Iterate, tol: float) -> Iterate:
    """Return the solution of least norm, or if that is degenerate and `best` or their mean is not, the latter."""
    if not _flat(smooth, form, best):
        return best
    size = float(np.abs(best.w).max())
    strength = STRENGTH * float(form.scale.min()) / size if size > 0 else 0.0
    if strength == 0.0:
        return best
    pulled = working_set.run(smooth, replace(form, ridge=form.ridge + strength), best.w, 1e-10)
    groups = np.flatnonzero(form.active(pulled.w))
    at = working_set.run_on(smooth, form, pulled, groups, tol)
    if at.worst <= tol:
        projected = working_set.evaluate(smooth, form, _project(smooth, form, at))
        at = projected if projected.worst <= tol else at
    steps = best.steps + pulled.steps + at.steps
    middle = working_set.evaluate(smooth, form, 0.5 * (at.w + best.w))  # solutions are a convex set
    solutions = [point for point in (at, best, middle) if point.worst <= tol]
    chosen = next((point for point in solutions if smallest_margin(form, point) > TOUCHING), solutions[0])
    chosen.steps = steps
    return chosen


def smallest_margin(form: Form, at: Iterate) -> float:
    """Return the smallest relative margin over groups that are off and zero entries of active groups."""
    g = at.gradient + form.ridge * at.w
    v = -g if form.nonnegative else np.abs(g)
    active = form.active(at.w)
    groups = ((form.lam - form.norms(np.maximum(v - form.l1, 0.0))) / form.scale)[~active]
    inside = form.of(active)[np.argsort(form.members)] & (at.w == 0) & (form.l1 > 0)
    entries = ((form.l1 - v) / form.of(form.scale)[np.argsort(form.members)])[inside]
    return float(min(groups.min(initial=np.inf), entries.min(initial=np.inf)))


def _flat(smooth: Smooth, form: Form, at: Iterate) -> bool:
    """Whether the Hessian of f + ridge + psi is singular on the active atoms and those whose margin is zero."""
    active = form.active(at.w)
    g = at.gradient + form.ridge * at.w
    rest = np.maximum((-g if form.nonnegative else np.abs(g)) - form.l1, 0.0)
    touching = ~active & (form.lam - form.norms(rest) <= TOUCHING * form.scale)
    touching &= (form.lam > 0) | (rest[form.members[form.start[:-1]]] > 0)
    coords, arrays = restrict(form, np.flatnonzero(active | touching))
    if coords.size == 0 or coords.size > LARGEST:
        return False
    z = at.w[coords]
    S, group, norms = parts(z, arrays)
    entry = np.abs(g[coords]) - arrays["l1"] > -TOUCHING * arrays["scale"][group]
    S = np.union1d(
        S, np.flatnonzero(touching[np.flatnonzero(active | touching)][group] & (entry | (arrays["l1"] == 0)))
    )
    if S.size == 0:
        return False
    B = smooth.gram(coords[S], smooth.curvature(at.margins)) + np.diag(form.ridge[coords[S]])
    psi = norm_curvature(z, S, group, norms, arrays, dense=True)
    return _flat_directions(B if psi is None else B + psi, only_whether=True).size > 0


def _flat_directions(B: Array, only_whether: bool = False) -> Array:
    """Return an orthonormal basis (as columns) of the null space of a positive semidefinite B."""
    diagonal = np.diag(B)
    scale = np.where(diagonal > 0, 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 1.0)
    scaled = B * scale[:, None] * scale[None, :]
    if only_whether:
        try:
            if np.diag(linalg.cholesky(scaled, lower=True, check_finite=False)).min() ** 2 > len(B) * FLAT:
                return np.empty((len(B), 0))
        except linalg.LinAlgError:
            pass
    values, vectors = linalg.eigh(scaled, check_finite=False)
    basis = scale[:, None] * vectors[:, values <= FLAT * values[-1]]
    return np.linalg.qr(basis)[0] if basis.size else basis


def _project(smooth: Smooth, form: Form, at: Iterate) -> Array:
    """Return w without its part in the flat directions of its own support."""
    coords, arrays = restrict(form, np.flatnonzero(form.active(at.w)))
    z = at.w[coords]
    S, group, norms = parts(z, arrays)
    if S.size == 0:
        return at.w
    B = smooth.gram(coords[S], smooth.curvature(at.margins)) + np.diag(form.ridge[coords[S]])
    psi = norm_curvature(z, S, group, norms, arrays, dense=True)
    N = _flat_directions(B if psi is None else B + psi)
    w = at.w.copy()
    moved = z[S] - N @ (N.T @ z[S])
    kept = np.sign(moved) == np.sign(z[S])
    signed = (arrays["l1"][S] > 0) | (form.nonnegative & (arrays["lam"][group[S]] > 0))
    if (kept | ~signed).all():
        w[coords[S]] = moved
    return w
