r"""Does a minimizer exist? Directions along which F falls for ever.

f is bounded below and psi is convex: F has no minimizer iff there is a v along which psi does not grow (free
coordinates: groups of weight 0, lam = 0, the constants of the total variation; forwards alone where there is a bound
on one side) and f falls strictly. For the squared loss there is none. For the logistic loss v separates rows,

    t_i = y_i x_i v >= 0 for all rows, > 0 for some,

and for the multinomial loss t_ik = (x_i v)_{y_i} - (x_i v)_k takes the place of t_i. The linear program

    max sum t   subject to  0 <= t <= 1

has a positive optimum iff there is such a v, and at its optimum t = 1 in every row that any v separates (a multiple of
one such v added to the others' separates them all).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from convex_bench.ground_truth.form import PENALTIES, separable_form
from convex_bench.problem import Problem
from manifold_id.regularizers import Box, TotalVariation

Array = np.ndarray
POSITIVE = 1e-7  # HiGHS's feasibility tolerance: separations below it are rounding


def _recession(problem: Problem) -> tuple[Array, Array] | None:
    """Return (directions along which psi does not grow as columns, (size, m); whether each is taken forwards alone).

    None where f alone cannot fall along them.
    """
    size = problem.shape[0] * problem.n_outputs
    penalty, rest = problem.penalty, np.arange(problem.n_features * problem.n_outputs, size)
    if isinstance(penalty, TotalVariation) and penalty.l1 == 0:
        constant = np.ones((size, 1))
        constant[rest] = 0.0
        columns = np.eye(size) if penalty.lam == 0 else np.hstack([constant, _units(rest, size)])
        return columns, np.zeros(columns.shape[1], dtype=bool)
    if isinstance(penalty, Box):
        open_ends = (np.isinf(np.broadcast_to(bound, size - len(rest))) for bound in (penalty.upper, penalty.lower))
        up, down = map(np.flatnonzero, open_ends)
        if not len(up) + len(down):
            return None
        columns = np.hstack([_units(up, size), -_units(down, size), _units(rest, size)])
        return columns, np.arange(columns.shape[1]) < len(up) + len(down)
    form = separable_form(problem)
    if form is None or form.penalty not in PENALTIES or form.l1 > 0:
        return None
    if form.penalty == "elastic_net" and form.parameters[0] > 0:
        return None
    free = np.flatnonzero(form.lam[form.labels] == 0)
    if not free.size:
        return None  # an intercept alone separates nothing: every class occurs
    forwards = np.arange(len(free) + len(rest)) < len(free) * (form.penalty == "nonnegative")
    return _units(np.concatenate([free, rest]), size), forwards


def _units(places: Array, size: int) -> Array:
    """Return the unit vectors of some coordinates as columns, (size, len(places))."""
    found = np.zeros((size, len(places)))
    found[places, np.arange(len(places))] = 1.0
    return found


def recession_direction(problem: Problem) -> Array | None:
    """Return v of w's shape, of largest entry 1, along which F falls for ever, or None where F has a minimizer.

    v separates as many rows as any direction does, so that F(w + t v) tends to the infimum for t to infinity where w
    minimizes what the other rows and psi leave.
    """
    if problem.loss.name == "squared":
        return None
    found_basis = _recession(problem)
    if found_basis is None:
        return None
    basis, forwards = found_basis
    m = basis.shape[1]
    margins = np.moveaxis(problem.margins(basis.T.reshape(m, *problem.shape)), 0, -1)  # (n[, K], m)
    if problem.loss.name == "logistic":
        T = problem.y[:, None] * margins
    else:
        own = margins[np.arange(problem.n), problem.y][:, None, :] - margins
        T = own[np.arange(problem.n_outputs) != problem.y[:, None]]
    scale = np.abs(T).max(axis=0)
    used = scale > 0
    if not used.any():
        return None
    A = T[:, used] / scale[used]
    both = sparse.csr_array(np.vstack([A, -A]))
    limits = np.concatenate([np.ones(len(A)), np.zeros(len(A))])
    bounds = [(0.0 if forward else None, None) for forward in forwards[used]]
    found = linprog(-A.sum(axis=0), A_ub=both, b_ub=limits, bounds=bounds, method="highs")
    if found.status != 0 or not (t := A @ found.x).max() > 0.5 or t.min() < -POSITIVE:
        return None
    v = np.zeros(m)
    v[used] = found.x / scale[used]
    direction = basis @ v
    return (direction / np.abs(direction).max()).reshape(problem.shape)
