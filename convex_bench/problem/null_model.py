"""The null model: the fit of what psi leaves free, and the gradient there, which says at which lam nothing else moves.

Where an intercept is free the residuals l' sum to zero, so that a column x_j may be replaced by x_j - c_j without
changing the fit or the gradient: columns far from zero are, and lose no digits to their mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from convex_bench.problem.problem import Problem

Array = np.ndarray
FAR = 100.0  # standard deviations between zero and the mean of a column that is shifted
STEPS = 100  # of Newton's method
COLUMNS = 64  # of a sparse matrix that are made dense at a time


def free_coordinates(problem: Problem) -> tuple[Array, Array]:
    """Return (flat coordinates without a kink, the ridge on each): the intercept, groups of weight 0.

    They do not depend on lam: lambda_max asks what happens at another one.
    """
    size = problem.n_features * problem.n_outputs
    free, ridge = np.arange(size, size + problem.intercept * problem.n_outputs), 0.0
    try:
        form = problem.penalty.with_lam(1.0).separable((problem.n_features, *problem.shape[1:]))
    except NotImplementedError:
        form = None
    features = np.empty(0, dtype=np.int64)
    if form is not None and form.penalty in ("abs", "elastic_net") and form.l1 == 0 and form.lam.any():
        features = np.flatnonzero(form.lam[form.labels] == 0)
        ridge = form.parameters[0] if form.penalty == "elastic_net" else 0.0
    return np.concatenate([features, free]), np.concatenate([np.full(len(features), ridge), np.zeros(len(free))])


def fit(problem: Problem) -> tuple[Array, Array]:
    """Return (the minimizer of F over the free coordinates, others 0, of w's shape; l' there, of the margins' shape).

    An intercept alone has a closed form; free groups besides take Newton's method, to rounding. Where that fit has
    no minimizer (separable rows), l' is that of the limit up to rounding.
    """
    w = np.zeros((problem.shape[0], problem.n_outputs))
    margins = np.zeros((problem.n, problem.n_outputs))
    if problem.intercept:
        w[-1] = margins[:] = problem.loss.null_margin(problem.y)
    free, ridge = free_coordinates(problem)
    if len(free) > int(problem.intercept) * problem.n_outputs:
        margins = _newton(problem, w, free, ridge)
    return w.reshape(problem.shape), problem.loss.derivative(margins.reshape(problem.n, *problem.shape[1:]), problem.y)


def gradient(problem: Problem) -> Array:
    """Return the gradient of f on the features, (n_features[, K]), at the null model; 0 on its free coordinates."""
    _, d = fit(problem)
    g = problem.adjoint(d)
    if problem.intercept:
        far, shift = far_columns(problem)
        for part in np.array_split(far, -(-len(far) // COLUMNS) or 1):
            g[part] = (_dense(problem, part) - shift[part]).T @ d / problem.n
    g.reshape(-1)[free_coordinates(problem)[0]] = 0.0
    return g[: problem.n_features]


def far_columns(problem: Problem) -> tuple[Array, Array]:
    """Return (columns whose mean is over FAR standard deviations from zero; their means, (n_features,), else 0)."""
    ones = np.ones((problem.n, *problem.shape[1:]))
    mean = problem.adjoint(ones).reshape(-1, problem.n_outputs)[: problem.n_features, 0]
    square = problem.column_squares().reshape(-1, problem.n_outputs)[: problem.n_features, 0] / problem.n
    far = np.flatnonzero((square - mean**2 < mean**2 / FAR**2) & (mean != 0))
    shift = np.zeros(problem.n_features)
    shift[far] = mean[far]
    return far, shift


def _dense(problem: Problem, features: Array) -> Array:
    X = problem.design[:, features]
    return np.asarray(X.toarray() if sparse.issparse(X) else X, dtype=np.float64)


def _newton(problem: Problem, w: Array, free: Array, ridge: Array) -> Array:
    """Move w on `free` to the least f + ridge |w|^2 / 2, in place, by damped Newton steps; return its margins.

    A step is a least-squares problem on the rows times a root B of the loss's curvature, which keeps the condition
    of the columns: with p = softmax(m), diag(p) - p p^T = B^T B for B = diag(p)^1/2 - p^1/2 p^T.
    """
    n, loss, y = problem.n, problem.loss, problem.y
    features, k = np.divmod(free, problem.n_outputs)
    used, place = np.unique(features, return_inverse=True)
    A = _dense(problem, used)
    shift = np.append(far_columns(problem)[1] if problem.intercept else np.zeros(problem.n_features), 0.0)[used]
    A = A - shift
    scale = np.maximum(np.sqrt((A * A).sum(axis=0)), np.finfo(float).tiny)[place]

    def at(x: Array) -> tuple[float, Array, Array, Array]:
        """Return (value, slope, margins, l') at values x of the free coordinates."""
        W = np.zeros((len(used), problem.n_outputs))
        W[place, k] = x
        margins = A @ W
        shaped = margins.reshape(n, *problem.shape[1:])
        d = loss.derivative(shaped, y).reshape(n, -1)
        value = float(loss.value(shaped, y).mean()) + 0.5 * float(ridge @ x**2)
        return value, (A.T @ d / n)[place, k] + ridge * x, margins, d

    x = w[features, k]
    value, slope, margins, d = at(x)
    for _ in range(STEPS):
        root, target = loss.root(margins.reshape(n, *problem.shape[1:]), d)
        M = np.vstack([(A[:, None, place] * root[:, :, k]).reshape(-1, len(free)), np.diag(np.sqrt(n * ridge))])
        right = np.append(target.ravel(), np.sqrt(n * ridge) * x)
        step = -np.linalg.lstsq(M / scale, right, rcond=1e-14)[0] / scale
        decrease = float(slope @ step)
        for t in 0.5 ** np.arange(30):
            new = x + t * step
            new_value, new_slope, new_margins, new_d = at(new)
            if -decrease <= 1e-13 * abs(value):  # F cannot tell the points apart
                better = np.abs(new_slope / scale).max() < np.abs(slope / scale).max()
            else:
                better = new_value <= value + 1e-4 * t * decrease
            if better:
                break
        else:
            break  # rounding
        x, value, slope, margins, d = new, new_value, new_slope, new_margins, new_d
    w[features, k] = x
    if problem.intercept:
        w[-1] -= shift @ w[used]
    return margins
