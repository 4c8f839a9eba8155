"""Accelerated proximal gradient with restart: for any convex psi with a prox, where the fast solver does not apply."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from convex_bench.ground_truth.form import gradient_scale
from convex_bench.problem import Problem
from convex_bench.problem.row_matrix import RowMatrix
from manifold_id.certificate import Certificate, certify

Array = np.ndarray
CHECK = 20  # iterations between two certificates
ALIKE = 0.1  # columns whose squares differ by less need no metric


def _metric(problem: Problem) -> tuple[Array, float] | None:
    """Return (d, L): f's gradient is L-Lipschitz in the metric d = c |x_j|^2 / n; None where it would not help."""
    squares = problem.column_squares().reshape(problem.shape) * (problem.loss.curvature_bound / problem.n)
    largest = float(squares.max())
    if largest == 0.0 or float(squares.min()) > ALIKE * largest or hasattr(problem.penalty, "metric_gap"):
        return None  # the last: a prox in a metric that is an inner loop itself
    d = np.where(squares > 0.0, squares, largest)
    try:
        problem.regularizer.prox_metric(np.zeros(problem.shape), 1.0, d)
    except NotImplementedError:
        return None
    by_column = 1.0 / np.sqrt(d.reshape(problem.shape[0], -1)[:, 0])
    X = problem.design
    scaled = X.multiply(by_column).tocsr() if sparse.issparse(X) else X * by_column
    return d, RowMatrix(scaled, False).spectral * problem.loss.curvature_bound / problem.n * (1.0 + 1e-9)


def fista(problem: Problem, start: Array, tol: float, max_steps: int = 20_000) -> tuple[Array, Certificate, int]:
    """Return (best point found, its certificate, steps) from a start of the problem's shape.

    Beck and Teboulle (2009) in the metric of the columns' squares where they differ and psi has a prox in it, else with
    step 1/L, and the gradient restart of O'Donoghue and Candes (2015); linear convergence
    once the manifold is identified, if F is strongly convex along it. Ends when the relative residual is <= tol / 100,
    or is <= tol and no longer falls, or after max_steps.
    """
    regularizer, metric = problem.regularizer, _metric(problem)
    d = 1.0 if metric is None else metric[0]
    step = 1.0 / (max(problem.lipschitz(), np.finfo(float).tiny) if metric is None else metric[1])

    def prox(point: Array) -> Array:
        found = regularizer.prox(point, step) if metric is None else regularizer.prox_metric(point, step, d)
        return np.asarray(found, dtype=np.float64)

    x = previous = prox(start)
    scale = gradient_scale(problem)

    def judge(point: Array) -> Certificate:
        return certify(point, problem.gradient(point), regularizer, tol=tol, gradient_scale=scale)

    momentum, best, best_certificate, idle = 1.0, x, judge(x), 0
    for count in range(1, max_steps + 1):
        following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        y = x + (momentum - 1.0) / following * (x - previous)
        new = prox(y - step * problem.gradient(y) / d)
        if float((d * (y - new) * (new - x)).sum()) > 0.0:
            momentum, previous = 1.0, x  # the step points uphill: start again without momentum
            continue
        previous, x, momentum = x, new, following
        if count % CHECK == 0:
            certificate = judge(x)
            worst, record = certificate.residual.max(), best_certificate.residual.max()
            idle = 0 if worst < 0.9 * record else idle + 1
            if worst < record:
                best, best_certificate = x, certificate
            if record <= 0.01 * tol or (record <= tol and idle > 5) or idle > 100:
                break
    return best, best_certificate, count
