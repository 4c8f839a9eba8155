"""The door: a theorem on a problem and a method of one's own."""

import dataclasses

import numpy as np
import pytest

from convex_bench import Problem, planted
from convex_bench.theorems import MODULES, load_check, verify
from manifold_id.methods import RDA, RMDA, ProxSAGA, ProxSGD
from manifold_id.regularizers import L1

PROBLEM = planted(n=200, groups=8, group_size=2, active=2, margin=0.5, seed=1).problem
GENERAL = [name for name in MODULES if not isinstance(load_check(name).own, str)]


def degenerate():
    """Two equal columns of a lasso: infinitely many solutions."""
    X = np.random.default_rng(0).standard_normal((40, 4))
    return Problem(X[:, [0, 0, 1, 2]], X[:, 0], "squared", L1(0.1))


def test_rmda_identifies_and_proximal_sgd_on_the_same_runs_does_not():
    verdict = verify("rmda-identification", PROBLEM, RMDA(lr=0.01), seeds=40, steps=4000)
    assert verdict.status == "holds", verdict.summary
    assert verdict.control.status == "fails", verdict.control.summary
    assert verdict.seeds == verdict.control.seeds == 40
    assert [a.name for a in verdict.assumptions][:2] == [
        "relative residual of the solution",
        "smallest relative margin",
    ]


def test_a_method_that_flickers_contradicts_and_a_short_run_does_not():
    assert verify("rmda-identification", PROBLEM, ProxSGD(lr=0.1), seeds=40, steps=10000).status == "fails"
    short = verify("rmda-identification", PROBLEM, RMDA(lr=0.01), seeds=40, steps=60)
    assert short.status == "inconclusive" and "not identified yet" in short.summary


@pytest.mark.parametrize("name", GENERAL)
def test_an_assumption_that_is_not_met_is_named_with_its_figure_and_nothing_is_run(name):
    own = load_check(name).own
    if not own.nondegenerate:
        pytest.skip("assumes no nondegeneracy")
    method = RMDA() if own.methods is None else own.methods[0]()
    verdict = verify(name, degenerate(), method, seeds=2)
    assert verdict.status == "inconclusive" and verdict.samples == 0
    unmet = [a for a in verdict.assumptions if not a.met]
    assert unmet and all(a.name in verdict.summary and f"{a.value:.3g}" in verdict.summary for a in unmet)


@pytest.mark.parametrize(
    ("name", "method"),
    [("rmda-identification", RMDA()), ("one-step-certificate", ProxSAGA()), ("variance-reduction", RDA())],
)
def test_the_same_arguments_give_the_same_verdict_bit_for_bit(name, method):
    first, second = (verify(name, PROBLEM, method, seeds=4, steps=60, seed=s) for s in (3, 3))
    assert repr(first) == repr(second)
    assert repr(verify(name, PROBLEM, method, seeds=4, steps=60, seed=4)) != repr(first)


def test_a_method_of_ones_own_is_judged():
    @dataclasses.dataclass(frozen=True)
    class Mine(RMDA):
        """A method without a compiled form."""

    own = verify("rmda-identification", PROBLEM, Mine(lr=0.01), seeds=3, steps=300)
    assert own.summary == verify("rmda-identification", PROBLEM, RMDA(lr=0.01), seeds=3, steps=300).summary


def test_built_in_instances_come_through_the_same_door():
    verdict = verify("one-step-certificate", seeds=10)
    assert (verdict.status, verdict.control.status, verdict.seeds) == ("holds", "fails", 10)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (("rmda-identificaton", PROBLEM, RMDA()), {}, "did you mean 'rmda-identification'"),
        (("last-false-positive", PROBLEM, RMDA()), {}, "last-false-positive is about a quadratic .*: leave both out"),
        (("variance-reduction", PROBLEM, ProxSGD()), {}, r"ProxSGD\(.*variance-reduction is about RMDA, RDA"),
        (("rmda-identification", PROBLEM), {}, "method=None must be a method"),
        (("rmda-identification", None, RMDA()), {}, "problem=None must be a convex_bench.Problem"),
        (("rmda-identification", PROBLEM, RMDA()), {"seeds": 1}, "seeds=1"),
        (("rmda-identification", PROBLEM, RMDA()), {"steps": 3}, "steps=3"),
        (("rmda-identification",), {"steps": 100}, "steps=100 is given without problem"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(arguments, keywords, message):
    with pytest.raises((ValueError, TypeError), match=message):
        verify(*arguments, **keywords)
