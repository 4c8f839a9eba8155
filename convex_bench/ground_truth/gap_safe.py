r"""A feasible dual point, the duality gap, and the atoms that the gap proves to be off.

For f(w) = (1/n) sum l_i(x_i w) the dual of min f + psi is

    max_u  D(u) = -(1/n) sum l_i^*(u_i) - psi^*(-X^T u / n),

psi^* the indicator of the dual unit ball for a norm, sum_g max(|v_g| - lam_g, 0)^2 / (2 ridge) with a ridge. From the
residuals u_i = l_i'(x_i w): columns without a penalty (intercept, weight 0) ask for X_0^T u = 0, which a projection
and a mixture with the null model's residuals (that keeps u in the domain of l^*) restore; then u is scaled down.
Where that point is not in the domain of l^*, no finite gap is at hand and it is +inf.

Gap-Safe spheres (Ndiaye, Fercoq, Gramfort and Salmon, JMLR 18, 2017): l^* is (1/c)-strongly convex where l'' <= c, so
\|u - u*\|^2 <= 2 n c gap and \|X_g^T (u - u*)\| / n <= sqrt(2 L_g gap) with L_g = c \|X_g\|^2 / n. An atom is off if
its gradient stays inside the ball of radius lam_g with this much to spare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from convex_bench.ground_truth.form import TINY, Form, form_of
from convex_bench.problem import Problem
from manifold_id.validation import real

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class DualPoint:
    """A dual feasible point u (of the shape of the margins), its X^T u / n (flat) and the gap that it proves, >= 0."""

    u: Array
    gradient: Array
    gap: float


def dual_point(
    problem: Problem, form: Form, w: Array, margins: Array | None = None, gradient: Array | None = None
) -> DualPoint:
    """Return the dual point of a flat w; its gap is +inf where the scaled residuals are not dual feasible.

    `margins` and the flat `gradient` of f at w save their computation where they are known.
    """
    margins = problem.margins(w.reshape(problem.shape)) if margins is None else margins
    residuals = problem.loss.derivative(margins, problem.y)
    held = (form.lam == 0) | ((form.lam <= TINY) & (form.norms(w) > 0))  # asks for X_g^T u = 0
    u = _without_free(problem, form, residuals, held)
    v = gradient if u is residuals and gradient is not None else problem.adjoint(u).ravel()
    ridge = bool(form.ridge.any())
    s = 1.0 if ridge else _scale(form, v, held)
    conjugate = problem.loss.conjugate(s * u, problem.y).mean()
    dual = -float(conjugate)
    if ridge:
        rest = np.maximum(form.norms(np.sign(v) * np.maximum(np.abs(v) - form.l1, 0.0)) - form.lam, 0.0)
        strength = form.ridge[form.members[form.start[:-1]]]
        dual -= float((rest[strength > 0] ** 2 / (2.0 * strength[strength > 0])).sum())
    primal = float(problem.loss.value(margins, problem.y).mean()) + form.value(w)
    return DualPoint(s * u, s * v, max(primal - dual, 0.0) if np.isfinite(dual) else np.inf)


def _without_free(problem: Problem, form: Form, u: Array, held: Array) -> Array:
    """Return u with X_0^T u = 0 for the columns X_0 of the groups `held`, where they have no other penalty."""
    coords = np.flatnonzero(form.unpenalized(held))
    if coords.size == 0:
        return u
    columns = np.unique(coords // problem.n_outputs)
    X = problem.design[:, columns]
    X = (X.toarray() if sparse.issparse(X) else X).astype(np.float64)
    flat = u.reshape(problem.n, -1)
    for _ in range(2):  # the second projection removes the rounding of the first
        flat = flat - X @ np.linalg.lstsq(X, flat, rcond=None)[0]
    if columns.tolist() != [problem.n_features]:
        return flat.reshape(u.shape)
    null = problem.loss.derivative(problem.margins(problem.null_model()), problem.y).reshape(problem.n, -1)
    for share in 10.0 ** np.arange(-17.0, -9.0):
        if np.isfinite(problem.loss.conjugate(flat.reshape(u.shape), problem.y)).all():
            break
        flat = (1.0 - share) * flat + share * null
    return flat.reshape(u.shape)


def _scale(form: Form, v: Array, held: Array) -> float:
    """Return the largest s <= 1 with s v in the dual ball: |S(s v_g, l1)| <= lam_g for all groups that are not free."""
    penalized = ~held | (form.l1[form.members[form.start[:-1]]] > 0)

    def inside(s: float) -> bool:
        x = -s * v if form.nonnegative else np.abs(s * v)
        norms = form.norms(np.maximum(x - form.l1, 0.0)) if not form.nonnegative else np.maximum(x, 0.0)[form.members]
        return bool((norms <= form.lam)[penalized].all())

    if inside(1.0):
        return 1.0
    if not form.l1.any():
        x = np.maximum(-v, 0.0)[form.members] if form.nonnegative else form.norms(v)
        s = float(
            np.min(
                form.lam[penalized] / np.where(x[penalized] > 0, x[penalized], np.inf),
                initial=1.0,
                where=x[penalized] > 0,
            )
        )
        return s if inside(s) else s * (1.0 - 4e-16)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if inside(middle) else (low, middle)
    return low


def gap_safe_off(problem: Problem, w: Any, *, slack: float = 0.0) -> Array:
    """Return (groups,) bool: groups of coordinates that are zero at every solution, proved from any w.

    `slack` >= 0 is added to the gap; a few units of rounding of F make the proof hold in floating point. Groups are
    those of the regularizer's separable form (entries for l1), then one for each output of the intercept.

    Raises
    ------
    ValueError
        If psi is not a sum of norms of entries and groups, elastic net included.
    """
    form = form_of(problem)
    if form is None or form.nonnegative:
        raise ValueError(
            f"regularizer={problem.penalty!r} is not a sum of norms: no gap-safe rule is known for it here"
        )
    flat = np.asarray(w, dtype=np.float64).reshape(-1)
    point = dual_point(problem, form, flat)
    gap = point.gap + real("slack", slack, 0.0)
    radius = np.sqrt(2.0 * gap * _group_lipschitz(problem, form))
    rest = form.norms(np.maximum(np.abs(point.gradient) - form.l1, 0.0))
    return (rest + radius < form.lam) | _entry_off(form, point, radius)


def _entry_off(form: Form, point: DualPoint, radius: Array) -> Array:
    """Groups of weight 0 under an entrywise part: all entries strictly inside its interval."""
    inside = np.abs(point.gradient[form.members]) + form.of(radius) < form.l1[form.members]
    return form.sums((~inside).astype(np.int64)) == 0


def _group_lipschitz(problem: Problem, form: Form) -> Array:
    """Return L_g = c |X_g|_F^2 / n >= c |X_g|_2^2 / n."""
    each = problem.column_squares()[form.members]
    return problem.loss.curvature_bound * form.sums(each) / problem.n
