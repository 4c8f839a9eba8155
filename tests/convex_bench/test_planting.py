"""The planted generator: stationarity, margin, structure and degeneracy hold by construction, to rounding."""

from __future__ import annotations

import numpy as np
import pytest

import convex_bench
from convex_bench.data import load
from convex_bench.problem.planting import _design, planted

SMALL = {"n": 120, "groups": 12, "group_size": 4, "active": 3}
VARIANTS = [
    {},
    {"correlation": 0.7},
    {"margin": 0.02, "noise": 0.3},
    {"margin": 1.0},
    {"noise": 0.0},
    {"group_size": 1, "groups": 60, "active": 5},
    {"weights": None},
    {"weights": tuple(np.linspace(0.5, 2.0, 12))},
    {"n": 40, "groups": 30},  # more columns than rows
    {"active": 12},
    {"lam": 1e-3},
    {"degenerate": True},
    {"degenerate": True, "active": 11},
]


@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_certificate_holds(loss, options, seed):
    options = {**SMALL, **options}
    instance = planted(loss=loss, seed=seed, **options)
    problem, w = instance.problem, instance.w
    gradient = problem.gradient(w)
    lam_g = problem.regularizer.separable(problem.shape).lam
    scale = np.linalg.norm(gradient)
    assert np.linalg.norm(gradient + instance.dual) <= 1e-13 * scale
    assert np.linalg.norm(problem.regularizer.residual(w, gradient)) <= 1e-13 * scale
    codes = np.asarray(problem.regularizer.structure(w))
    assert np.array_equal(codes, instance.codes) and np.count_nonzero(codes) == options["active"]
    margin = np.asarray(problem.regularizer.margin(w, gradient))
    off = codes == 0
    assert np.array_equal(np.isinf(margin), ~off) and np.array_equal(np.isinf(instance.margin), ~off)
    assert margin[off] == pytest.approx(instance.margin[off], abs=1e-12)
    if not off.any():
        return
    ratio = margin[off] / lam_g[off]
    if options.get("degenerate"):
        assert abs(ratio.min()) <= 1e-13 and instance.min_margin == 0.0
        ratio = np.delete(ratio, ratio.argmin())
    if len(ratio):
        assert ratio.min() == pytest.approx(options.get("margin", 0.2), abs=1e-12)


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_solution_is_the_minimizer(loss):
    """The objective is larger at random points, and the prox-gradient step stays where it is."""
    instance = planted(loss=loss, seed=3, **SMALL)
    problem, w = instance.problem, instance.w
    rng = np.random.default_rng(0)
    best = problem.value(w)
    for size in (1e-3, 1e-1, 1.0):
        assert np.all(problem.value(w + size * rng.standard_normal((50, *problem.shape))) > best)
    step = 1.0 / problem.lipschitz()
    moved = problem.regularizer.prox(w - step * problem.gradient(w), step)
    assert np.array_equal(moved != 0, w != 0) and moved == pytest.approx(w, abs=1e-13)
    active = np.flatnonzero(w)
    assert np.linalg.eigvalsh(problem.hessian(w, active))[0] > 1e-4
    assert not problem.is_trivial()


def test_seeds_decide_everything():
    one, same, other = (planted(seed=s, **SMALL) for s in (4, 4, 5))
    assert np.array_equal(one.X, same.X) and np.array_equal(one.w, same.w) and np.array_equal(one.y, same.y)
    assert not np.array_equal(one.X, other.X) and not np.array_equal(one.codes, other.codes)


def test_correlation_is_that_of_the_columns():
    """Of the drawn columns; the rank-one change of the construction comes on top."""
    found = np.corrcoef(_design(np.random.default_rng(0), 4000, 20, 0.8), rowvar=False)
    assert np.diag(found, 1) == pytest.approx(0.8, abs=0.05) and np.diag(found, 2) == pytest.approx(0.64, abs=0.06)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "n=0 must be at least 2"),
        ({"n": 10.0}, TypeError, "n=10.0 must be an integer"),
        ({"n": 11}, ValueError, "n=11 rows cannot determine 12 active columns"),
        ({"active": 0}, ValueError, "active=0 must be at least 1"),
        ({"active": 13}, ValueError, "active=13 must be at most 12"),
        ({"margin": 0.0}, ValueError, r"margin=0.0 must be .* \(0, 1\]"),
        ({"margin": 1.1}, ValueError, "margin=1.1"),
        ({"correlation": 1.0}, ValueError, "correlation=1.0 makes all columns equal"),
        ({"noise": -1.0}, ValueError, "noise=-1.0"),
        ({"noise": 1e9, "seed": 1}, ValueError, "noise=1000000000.0 hides the signal"),
        ({"noise": 1e9, "loss": "squared"}, ValueError, "noise=1000000000.0 is so large that rounding hides"),
        ({"lam": 10.0}, ValueError, "lam=10.0 leaves no solution .* choose lam below"),
        ({"lam": 0.0}, ValueError, "lam=0.0"),
        ({"loss": "logistics"}, ValueError, "loss='logistics' is not known: did you mean 'logistic'"),
        ({"loss": "multinomial"}, ValueError, "loss='multinomial' is not known"),
        ({"degenerate": True, "active": 12}, ValueError, "degenerate=True needs an off group"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"weights": (0.0,) * 12}, ValueError, "weights=.* must be positive"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        planted(**{**SMALL, **options})


def test_package_exports_the_function():
    """A submodule of the same name would replace it in the package once it is imported."""
    assert convex_bench.planted is planted and convex_bench.load is load
