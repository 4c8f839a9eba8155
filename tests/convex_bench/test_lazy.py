"""The lazy loops against the ordinary one: the same points, curves and changes of structure, step by step."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from convex_bench import Problem
from convex_bench.engine import run, runner
from convex_bench.engine.lazy import loops
from convex_bench.engine.lazy.choice import applies, pays
from manifold_id.methods import RDA, RMDA, SDA, ProxSAGA, ProxSGD, Stages
from manifold_id.regularizers import L1, MCP, ElasticNet, GroupLasso, NonnegativeL1, SparseGroupLasso

P = 40
LABELS = np.random.default_rng(5).integers(0, 11, P)
WEIGHTS = np.where(np.arange(P) == 3, 0.0, np.linspace(0.5, 2.0, P))
PENALTIES = {
    "l1": L1(0.01),
    "weights": GroupLasso(0.01, groups=np.random.default_rng(6).permutation(P), weights=WEIGHTS),
    "groups": GroupLasso(0.02, groups=LABELS),
    "nonnegative": NonnegativeL1(0.01),
    "elastic net": ElasticNet(0.01, ridge=0.3),
    "elastic groups": ElasticNet(0.02, ridge=0.3, groups=LABELS),
    "blocks": GroupLasso(0.02, groups=np.arange(P) // 4, weights=np.r_[0.0, np.linspace(0.5, 2.0, P // 4 - 1)]),
}
AVERAGING = [
    RMDA(lr=0.5),
    RMDA(lr=0.5, decay=0.1, damping=0.7),
    RMDA(lr=0.5, momentum=0.01),
    RMDA(lr=0.5, momentum=0.5),
    RMDA(lr=0.5, momentum=0.9),
    RDA(gamma=0.5),
    SDA(gamma=2.0),
]
DESCENT = [ProxSGD(lr=0.3), ProxSGD(lr=1.0, decay=0.5)]


def data(loss="logistic", n=150, seed=0):
    """Rows whose columns are the rarer the later, the first row empty."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, P)) * (rng.random((n, P)) < 0.5 / np.sqrt(1 + np.arange(P)))
    X[0] = 0.0
    m = 2 * X[:, :5].sum(axis=1) + 0.5 * rng.standard_normal(n)
    return sparse.csr_array(X), np.where(m > 0, 1.0, -1.0) if loss == "logistic" else m


@pytest.fixture
def both(monkeypatch):
    """Run a method in the lazy and in the ordinary loop."""

    def runs(problem, method, seeds, steps, **options):
        results = []
        for chosen in (True, False):
            monkeypatch.setattr(runner, "pays", lambda *_, chosen=chosen: chosen)
            results.append(run(problem, method, seeds, steps, **options))
        return results

    return runs


def assert_same(ours, theirs, tolerance=1e-12):
    for mine, other in zip(ours, theirs, strict=True):
        for kind in ("trace", "prox_trace"):
            for name in ("initial", "step", "atom", "new"):
                np.testing.assert_array_equal(getattr(getattr(mine, kind), name), getattr(getattr(other, kind), name))
        np.testing.assert_allclose(mine.w, other.w, rtol=0, atol=tolerance * np.abs(other.w).max())
        for name, curve in other.curves.items():
            np.testing.assert_allclose(mine.curves[name], curve, rtol=tolerance, atol=tolerance)


def may_be_lazy(problem, method, start=None):
    start = np.zeros(problem.shape) if start is None else start
    return applies(problem, method.for_problem(problem), problem.separable, start)


def cases():
    """Pairs that have a lazy form."""
    yield from itertools.product(AVERAGING, PENALTIES)
    yield from itertools.product(DESCENT, ["l1", "weights", "groups", "blocks"])
    yield from itertools.product([ProxSAGA()], ["l1", "weights"])


@pytest.mark.parametrize(("method", "penalty"), list(cases()), ids=repr)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_lazy_loops_equal_the_ordinary_one(both, method, penalty, batch_size):
    intercept = batch_size == 1 and not penalty.startswith("elastic")
    problem = Problem(*data(), regularizer=PENALTIES[penalty], intercept=intercept)
    assert may_be_lazy(problem, method)
    assert_same(*both(problem, method, range(4), 2500, batch_size=batch_size, replacement=batch_size == 1))


@pytest.mark.parametrize("method", [RMDA(lr=0.2, momentum=0.3), RDA(), ProxSGD(lr=0.05), ProxSAGA()], ids=repr)
def test_squared_loss(both, method):
    assert_same(*both(Problem(*data("squared"), "squared", L1(0.1)), method, [0], 2500))


@pytest.mark.parametrize("method", [ProxSGD(lr=0.3), ProxSAGA()], ids=repr)
def test_descent_from_another_start(both, method):
    problem = Problem(*data(), regularizer=L1(0.02))
    start = np.where(np.arange(P) % 3 == 0, 0.0, np.linspace(-1, 1, P))
    assert may_be_lazy(problem, method, start)
    assert_same(*both(problem, method, [0, 1], 2500, w0=start))


@pytest.mark.parametrize("method", [RMDA(lr=0.5), RMDA(lr=0.5, momentum=0.6), ProxSGD(lr=0.1), ProxSAGA()], ids=repr)
def test_long_runs_keep_their_digits(both, method):
    """Twelve calendars; sums of 200 000 terms."""
    ours, theirs = both(Problem(*data(), regularizer=L1(0.01)), method, [0], 200_000, checkpoints=np.array([200_000]))
    assert_same(ours, theirs)
    assert len(theirs[0].prox_trace.step) > 100


@pytest.mark.parametrize("method", [RMDA(lr=0.5), RMDA(lr=0.5, momentum=0.5), ProxSGD(lr=0.3), ProxSAGA()], ids=repr)
def test_same_bits_whatever_the_threads_blocks_logs_and_other_seeds(monkeypatch, method):
    problem = Problem(*data(), regularizer=L1(0.01))
    monkeypatch.setattr(runner, "pays", lambda *_: True)
    one = run(problem, method, [5], 20_000, threads=1)[0]
    monkeypatch.setattr(loops, "_LOG", 1)
    two = run(problem, method, [4, 5, 6], 20_000, threads=2, checkpoints=np.array([11, 1000, 16_384, 17_001]))[1]
    assert one.w.tobytes() == two.w.tobytes()
    for name in ("step", "atom", "new"):
        assert np.array_equal(getattr(one.trace, name), getattr(two.trace, name))


@pytest.mark.parametrize(
    ("method", "penalty", "start"),
    [
        (RMDA(lr=0.5, stages=Stages((100,))), L1(0.01), 0.0),
        (RMDA(lr=0.5, momentum=0.1, stages=Stages(momentum="sqrt")), L1(0.01), 0.0),
        (RMDA(lr=0.5), L1(0.01), 1.0),
        (ProxSGD(lr=0.1, momentum=0.5), L1(0.01), 0.0),
        (ProxSAGA(), GroupLasso(0.01, groups=LABELS), 0.0),
        (RMDA(lr=0.5), SparseGroupLasso(0.01, groups=LABELS, l1_ratio=0.5), 0.0),
        (RMDA(lr=0.5), MCP(0.01, gamma=3.0), 0.0),
        (ProxSGD(lr=0.1), ElasticNet(0.01, ridge=0.1), 0.0),
    ],
    ids=repr,
)
def test_what_has_no_lazy_form_runs_in_the_ordinary_loop(method, penalty, start):
    problem = Problem(*data(), regularizer=penalty)
    assert not may_be_lazy(problem, method, np.full(P, start))


def test_dense_rows_and_large_batches_do_not_pay():
    X = sparse.random_array((50, 5000), density=0.002, rng=np.random.default_rng(0), format="csr")
    y = np.where(np.arange(50) % 2, 1.0, -1.0)
    problem = Problem(X, y, regularizer=L1(0.1))
    assert pays(problem, RDA(), problem.separable, 8)
    assert not pays(problem, RDA(), problem.separable, 100)
    assert not pays(problem, ProxSGD(), problem.separable, 8)
    grouped = Problem(X, y, regularizer=GroupLasso(0.1, groups=np.arange(5000) // 100))
    assert not pays(grouped, RDA(), grouped.separable, 8)
    assert not may_be_lazy(Problem(X.toarray(), y, regularizer=L1(0.1)), RDA())
