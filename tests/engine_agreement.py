"""The check that the compiled engine does what the pure update does, and small data for it."""

import itertools

import numpy as np

from convex_bench import iterate
from convex_bench.engine import run

STEPS = 500


def data(loss="logistic", n=40, p=12, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * (rng.random((n, p)) < 0.7)
    m = X[:, :3].sum(axis=1) + 0.5 * rng.standard_normal(n)
    y = {"logistic": np.sign(m), "squared": m, "multinomial": np.digitize(m, [-0.7, 0.7])}[loss]
    return X, y


def assert_agrees(problem, method, seed=3, compiled=True, **options):
    """The engine's iterate, proximal point, estimate and every change of structure are the pure method's."""
    marks = np.array([1, 2, 7, 100, STEPS])
    start = options.pop("w0", np.linspace(-1, 1, int(np.prod(problem.shape))).reshape(problem.shape))
    result = run(problem, method, [seed, seed + 1], STEPS, w0=start, checkpoints=marks, **options)[0]
    assert result.compiled is compiled
    structure = problem.regularizer.structure
    off_w = off_z = 0
    states = iterate(problem, method, seed, w0=start, **options)
    for t, state in enumerate(itertools.islice(states, STEPS), 1):
        off_w += not np.array_equal(result.trace.structure_at(t), structure(state.w))
        off_z += not np.array_equal(result.prox_trace.structure_at(t), structure(state.z))
        if t in marks:
            at = list(marks).index(t)
            scale = 1 + np.abs(state.w).max()
            error = np.linalg.norm(state.d - problem.gradient(state.w))
            np.testing.assert_allclose(result.curves["estimator_error"][at], error, rtol=0, atol=1e-11 * scale)
            np.testing.assert_allclose(result.curves["objective"][at], problem.value(state.w), rtol=1e-12)
    assert (off_w, off_z) == (0, 0)
    np.testing.assert_allclose(result.w, state.w, rtol=0, atol=1e-12 * scale)
