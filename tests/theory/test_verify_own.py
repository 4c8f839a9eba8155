"""The door: a theorem on a problem and a method of one's own."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.sparse import csr_matrix

from convex_bench import Problem, planted
from convex_bench.commands.verify import verify as command
from convex_bench.theorems import MODULES, load_check, verify
from convex_bench.theorems.instances import poon
from convex_bench.theorems.testing import assert_theorem
from manifold_id.methods import RDA, RMDA, NormalMapSGD, ProxGradient, ProxSAGA, ProxSGD
from manifold_id.regularizers import L1, NuclearNorm, SparseGroupLasso

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
    assert verify("rmda-identification", PROBLEM, ProxSGD(lr=1.0, decay=0.5), seeds=40, steps=10000).status == "fails"
    short = verify("rmda-identification", PROBLEM, RMDA(lr=0.01), seeds=40, steps=60)
    assert short.status == "inconclusive" and "not identified yet" in short.summary


@pytest.mark.parametrize("name", [name for name in GENERAL if load_check(name).own.nondegenerate])
def test_an_assumption_that_is_not_met_is_named_with_its_figure_and_nothing_is_run(name):
    own = load_check(name).own
    method = RMDA() if own.methods is None else own.methods[0]() if own.methods else None
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


LASSO, LOGISTIC = (
    planted(n=200, groups=10, group_size=1, active=3, margin=0.5, loss=loss, seed=1).problem
    for loss in ("squared", "logistic")
)
HARD = {  # problems on which a statement is empty, or its formulas do not apply
    "nothing held": Problem(LASSO.X, LASSO.y, "squared", L1(1e-9)),
    "entries coupled by groups": Problem(LOGISTIC.X, LOGISTIC.y, regularizer=SparseGroupLasso(0.02, groups=2)),
    "several outputs": Problem(LASSO.X, np.digitize(LASSO.y, [-1, 1]), "multinomial", L1(0.05)),
    "rank": Problem(LASSO.X, np.digitize(LASSO.y, [-1, 1]), "multinomial", NuclearNorm(0.1)),
    "sparse, with intercept": Problem(csr_matrix(LOGISTIC.X), LOGISTIC.y, regularizer=L1(0.05), intercept=True),
}
CASES = {  # a problem and a method with which each theorem holds, and its control fails
    "one-step-certificate": (PROBLEM, ProxSAGA(), {"seeds": 4, "steps": 300}),
    "dual-averaging-inclusion": (LOGISTIC, RMDA(lr=4.0, decay=0.8), {"seeds": 10}),
    "variance-reduction": (PROBLEM, RDA(), {"seeds": 30, "steps": 3000}),
    "rmda-identification": (LOGISTIC, RMDA(lr=0.01), {"seeds": 40, "steps": 6000}),
    "predicted-identification": (PROBLEM, RDA(), {"seeds": 10, "steps": 2000}),
    "prox-sgd-dichotomy": (LOGISTIC, ProxSGD(lr=0.002), {"seeds": 20, "steps": 1000}),
    "active-set-complexity": (LASSO, ProxGradient(), {"seeds": 50}),
    "mirror-sandwich": (poon((0.0, 1 / 12)), RMDA(lr=0.02), {"seeds": 20, "steps": 4000}),
    "two-certificates": (LASSO, None, {}),
    "local-linear-rate": (LASSO, ProxGradient(), {"seeds": 5, "steps": 1500}),
    "regret-bound": (LOGISTIC, RDA(), {"seeds": 10, "steps": 500}),
    "rda-local-phase": (PROBLEM, RDA(), {"seeds": 40, "steps": 4000}),
    "normal-map": (PROBLEM, NormalMapSGD(lr=1.0, decay=0.75), {"seeds": 30, "steps": 3000}),
    "partial-smoothness": (LOGISTIC, RMDA(lr=0.01), {"seeds": 10}),
}


@pytest.mark.parametrize("name", GENERAL)
def test_each_theorem_holds_on_a_problem_of_ones_own_and_its_control_fails(name):
    problem, method, keywords = CASES[name]
    verdict = assert_theorem(name, problem, method, **keywords)
    assert verdict.assumptions and all(a.met for a in verdict.assumptions)


@pytest.mark.parametrize("name", GENERAL)
@pytest.mark.parametrize("kind", HARD)
def test_no_theorem_fails_on_a_problem_that_it_is_not_about(name, kind):
    method = CASES[name][1]
    assert verify(name, HARD[kind], method, seeds=3, steps=60).status != "fails"


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


def test_an_assertion_returns_the_verdict_or_raises_with_all_figures():
    verdict = assert_theorem("variance-reduction", PROBLEM, RMDA(lr=4.0, decay=0.8), seeds=30, steps=3000)
    assert verdict.status == "holds" and verdict.control.status == "fails"
    with pytest.raises(AssertionError) as caught:  # a constant step: the iterates do not converge
        assert_theorem("variance-reduction", PROBLEM, RMDA(lr=4.0), seeds=10, steps=2000)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("variance-reduction on Problem(") and lines[0].endswith(repr(RMDA(lr=4.0)))
    assert lines[1].startswith("inconclusive: exponent ")
    assert any(line.startswith("  assumption NOT MET: exponent of |w_t - w*| = ") for line in lines)
    assert any(line.startswith("  effect ") and "[" in line for line in lines)
    assert lines[-1].startswith("  control, which must fail: fails: exponent ")


def test_an_assertion_that_nothing_could_break_is_refused():
    quiet = Problem(np.tile([1.0, 0.2], (20, 1)), np.ones(20), "squared", L1(0.1))  # equal rows: no noise
    with pytest.raises(AssertionError, match=r"\nholds: .*(?s:.)*which must fail: holds"):
        assert_theorem("rmda-identification", quiet, RMDA(lr=0.5), seeds=40, steps=400)


SPEC = """
seeds = 30
steps = 4000
[problems.known]
planted = { n = 200, groups = 8, group_size = 2, active = 2, margin = 0.5, seed = 1 }
[methods.RMDA]
lr = 0.01
[methods.ProxSGD]
lr = 1.0
decay = 0.5
"""


def test_a_study_file_gives_problems_methods_seeds_and_steps(tmp_path):
    spec = tmp_path / "mine.toml"
    spec.write_text(SPEC)
    result = CliRunner().invoke(command, ["rmda-identification", "--spec", str(spec)])
    assert result.exit_code == 1, result.output  # proximal SGD
    held, fails = result.output.split("rmda-identification, known, ProxSGD:\n")
    assert held.startswith("rmda-identification, known, RMDA:\nholds: 30 of 30 runs") and "4000 steps" in held
    assert fails.startswith("fails: 0 of 30 runs")
    result = CliRunner().invoke(command, ["variance-reduction", "--spec", str(spec)])
    assert result.exit_code == 0 and "ProxSGD: not tested, it is not about ProxSGD" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs the NAMEs"),
        (["last-false-positive"], "leave it out"),
        (["one-step", "--out", "x"], "without --spec"),
    ],
)
def test_a_study_file_needs_theorems_that_take_it(arguments, message, tmp_path):
    spec = tmp_path / "mine.toml"
    spec.write_text(SPEC)
    result = CliRunner().invoke(command, [*arguments, "--spec", str(spec)])
    assert result.exit_code == 2 and message in result.output
