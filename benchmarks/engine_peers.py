"""One step at a time by others: NumPy, the pure update, copt's and scikit-learn's SAGA, on the engine's problem.

Each function returns something that runs once and returns microseconds of CPU time a step.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable

import numba
import numpy as np

from convex_bench import Problem, iterate
from manifold_id.methods.base import Method

Timed = Callable[[], float]


def cpu(action: Callable[[], object], steps: float) -> float:
    """Return microseconds of CPU time a step."""
    start = time.process_time()
    action()
    return 1e6 * (time.process_time() - start) / steps


def numpy_rda(problem: Problem, group: int, steps: int, gamma: float = 1.0) -> Timed:
    """Return RDA in a tight NumPy loop for groups of equal size, the structure compared at every step."""
    X, y, d = problem.X, problem.y, problem.shape[0]
    drawn = np.random.default_rng(0).integers(0, problem.n, steps)
    assert problem.separable is not None
    lam = problem.separable.lam

    def loop() -> None:
        w, v, codes, changes = np.zeros(d), np.zeros(d), np.zeros(d // group, bool), []
        for t, i in enumerate(drawn, 1):
            x, label = X[i], y[i]
            v += x * (-label / (1.0 + math.exp(label * (x @ w))))
            p = (v * (-1.0 / (gamma * math.sqrt(t)))).reshape(-1, group)
            norm = np.sqrt(np.einsum("ij,ij->i", p, p))
            threshold = lam * (math.sqrt(t) / gamma)
            active = norm > threshold
            factor = np.where(active, 1.0 - threshold / np.maximum(norm, 1e-300), 0.0)
            w = (p * factor[:, None]).ravel()
            if (active != codes).any():
                changes.append((t, active))
                codes = active

    return lambda: cpu(loop, steps)


def pure(problem: Problem, method: Method, steps: int) -> Timed:
    """Return the pure update of a method."""

    def loop() -> None:
        for state in iterate(problem, method):
            if state.t == steps:
                return

    return lambda: cpu(loop, steps)


def copt_saga(problem: Problem, group: int, lr: float, passes: int) -> tuple[Timed, Callable[[], np.ndarray]]:
    """Return copt's SAGA with its group lasso, timed without its first pass, which compiles; and its last point."""
    import copt.penalty

    @numba.njit
    def derivative(margin, label):  # on one number: copt's own starts threads for it, and is slower
        return -label / (1.0 + np.exp(label * margin))

    d = problem.shape[0]
    penalty = copt.penalty.GroupL1(float(problem.separable.lam[0]), np.arange(d).reshape(-1, group))
    marks: list[float] = []
    prox = penalty.prox_factory(d)

    def minimize() -> np.ndarray:
        marks.clear()
        np.random.seed(0)  # noqa: NPY002 (copt draws from it)
        options = {"prox": prox, "max_iter": passes + 1, "tol": 0, "verbose": 0}
        call = {"callback": lambda _: marks.append(time.process_time())}
        return copt.minimize_saga(derivative, problem.X, problem.y, np.zeros(d), lr, **options, **call).x

    def once() -> float:
        minimize()
        return 1e6 * (marks[-1] - marks[2]) / (problem.n * (passes - 1))

    return once, minimize


def sklearn_saga(problem: Problem, passes: int) -> tuple[Timed, Callable[[], np.ndarray]]:
    """Return scikit-learn's SAGA with l1; the time of a pass is that of all less that of one, shared out."""
    from sklearn.linear_model import LogisticRegression

    C = 1.0 / (problem.n * float(problem.separable.lam[0]))

    def fit(iterations: int) -> np.ndarray:
        options = {"C": C, "l1_ratio": 1.0, "fit_intercept": False, "tol": 0.0, "random_state": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return LogisticRegression(solver="saga", max_iter=iterations, **options).fit(problem.X, problem.y).coef_[0]

    def once() -> float:
        few, many = cpu(lambda: fit(1), 1), cpu(lambda: fit(passes + 1), 1)
        return (many - few) / (problem.n * passes)

    return once, lambda: fit(passes + 1)
