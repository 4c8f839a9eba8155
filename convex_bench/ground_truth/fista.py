"""Accelerated proximal gradient with restart: for any convex psi with a prox, where the fast solver does not apply."""

from __future__ import annotations

import numpy as np

from convex_bench.ground_truth.form import gradient_scale
from convex_bench.problem import Problem
from manifold_id.certificate import Certificate, certify

Array = np.ndarray
CHECK = 20  # iterations between two certificates


def fista(problem: Problem, start: Array, tol: float, max_steps: int = 20_000) -> tuple[Array, Certificate, int]:
    """Return (best point found, its certificate, steps) from a start of the problem's shape.

    Beck and Teboulle (2009) with step 1/L and the gradient restart of O'Donoghue and Candes (2015); linear convergence
    once the manifold is identified, if F is strongly convex along it. Ends when the relative residual is <= tol / 100,
    or is <= tol and no longer falls, or after max_steps.
    """
    step = 1.0 / max(problem.lipschitz(), np.finfo(float).tiny)
    regularizer = problem.regularizer
    x = previous = np.asarray(regularizer.prox(start, step), dtype=np.float64)
    scale = gradient_scale(problem)

    def judge(point: Array) -> Certificate:
        return certify(point, problem.gradient(point), regularizer, tol=tol, gradient_scale=scale)

    momentum, best, best_certificate, idle = 1.0, x, judge(x), 0
    for count in range(1, max_steps + 1):
        following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        y = x + (momentum - 1.0) / following * (x - previous)
        new = np.asarray(regularizer.prox(y - step * problem.gradient(y), step))
        if float(((y - new) * (new - x)).sum()) > 0.0:
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
