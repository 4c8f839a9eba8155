"""New regularizers from others: they stand the public checks, and are what they say in numbers and to the solver."""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import pytest

from convex_bench import Problem, Study, solve
from manifold_id.methods import RDA
from manifold_id.regularizers import L1, MCP, Box, GroupLasso, LInfNorm, NonnegativeL1, NuclearNorm, TotalVariation
from manifold_id.regularizers.calculus import Blocks, Scaled, Tilted, Translated, conjugate_prox
from manifold_id.testing import check_regularizer

A = np.linspace(-0.4, 0.6, 6)
GROUPED = GroupLasso(0.3, groups=3)
CASES = [
    (Tilted(L1(0.4), A), 6),
    (Tilted(GROUPED, A), 6),
    (Translated(L1(0.4), A), 6),
    (Translated(GROUPED, A), 6),
    (Scaled(L1(0.4), 2.5), 6),
    (Scaled(TotalVariation(0.3), 0.5), 6),
    (Scaled(MCP(0.4, 3.0), 0.5), 6),
    (Blocks([(L1(0.4), 3), (GROUPED, 6), (Box(-0.5, 1.0), 2)]), 11),
    (Tilted(Translated(Scaled(GROUPED, 2.0), A), A), 6),
]


@pytest.mark.parametrize(("psi", "size"), CASES, ids=lambda c: repr(c)[:40])
def test_they_stand_the_public_checks(psi, size):
    check_regularizer(psi, (size,))


def test_values_are_the_formulas():
    w = np.array([0.5, -1.0, 0.0, 2.0, 0.3, -0.2])
    assert Tilted(L1(0.4), A).value(w) == pytest.approx(0.4 * np.abs(w).sum() + A @ w)
    assert Translated(L1(0.4), A).value(w) == pytest.approx(0.4 * np.abs(w - A).sum())
    assert Scaled(L1(0.4), 2.5).value(w) == pytest.approx(np.abs(w).sum())
    blocks = Blocks([(L1(0.4), 2), (L1(1.0), 4)])
    assert blocks.value(np.stack([w, 2 * w])).tolist() == pytest.approx([0.6 + 2.5, 1.2 + 5.0])
    assert Translated(L1(0.4), A).structure(A).tolist() == [0] * 6


def test_moreaus_identity():
    w = np.random.default_rng(0).standard_normal(6)
    np.testing.assert_allclose(conjugate_prox(L1(0.4), w, 0.7), np.clip(w, -0.4, 0.4), atol=1e-15)
    x = cp.Variable(6)
    support = cp.sum(cp.maximum(-0.5 * x, 1.0 * x))  # the conjugate of the box [-0.5, 1]
    cp.Problem(cp.Minimize(support + cp.sum_squares(x - w) / 1.4)).solve(solver="CLARABEL")
    np.testing.assert_allclose(conjugate_prox(Box(-0.5, 1.0), w, 0.7), x.value, atol=1e-6)
    with pytest.raises(ValueError, match="not convex"):
        conjugate_prox(MCP(0.4), w, 0.7)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Tilted(3, A), TypeError, "psi=3 must be a Regularizer"),
        (lambda: Tilted(L1(0.1), [[1.0]]), ValueError, "slope must be a vector"),
        (lambda: Translated(L1(0.1), [np.nan]), ValueError, "shift must be a vector of finite numbers"),
        (lambda: Translated(TotalVariation(0.1), A), TypeError, "equal in w - b are not in w"),
        (lambda: Scaled(L1(0.1), 0.0), ValueError, "factor=0.0"),
        (lambda: Blocks([]), ValueError, "parts is empty"),
        (lambda: Blocks([L1(0.1)]), TypeError, "must be pairs"),
        (lambda: Blocks([(NuclearNorm(0.1), 4)]), TypeError, "must be a Regularizer of vectors"),
        (lambda: Tilted(L1(0.1), A).prox(np.ones(5), 1.0), ValueError, "last axis must have 6 entries"),
        (lambda: Blocks([(L1(0.1), 3)]).prox(np.ones(5), 1.0), ValueError, "last axis must have 3 entries"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_problems_are_solved_to_a_certificate_and_studied(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 6))
    y = X @ [1.0, 0, 0, -1.0, 0, 0] + 0.1 * rng.standard_normal(80)
    for psi in (Translated(L1(0.2), A), Tilted(L1(0.2), 0.1 * A), Blocks([(L1(0.2), 3), (NonnegativeL1(0.2), 3)])):
        problem = Problem(X, y, "squared", psi)
        solution = solve(problem)
        assert solution.status == "certified", (psi, solution.reason)
        for _ in range(50):
            assert problem.value(solution.w) <= problem.value(solution.w + 1e-3 * rng.standard_normal(6))
        frame = Study({"own": problem}, {"RDA": RDA(gamma=5.0)}, seeds=2, steps=500).run(tmp_path).frame()
        assert (frame["suboptimality"] < 0.5).all()


def test_norms_of_atoms_are_distances_to_kinks_and_unknown_ones_prove_nothing():
    w = np.array([0.5, -1.0, 0.0, 2.0, 0.3, -0.2])
    np.testing.assert_allclose(Translated(L1(0.4), A).atom_norms(w), np.abs(w - A))
    assert LInfNorm(0.5).atom_norms(w).tolist() == pytest.approx([1.5, 1.0, 2.0, 0.0, 1.7, 1.8])
    assert Box(-1.0, 3.0).atom_norms(w).tolist() == pytest.approx([1.5, 0.0, 1.0, 1.0, 1.3, 0.8])

    @dataclass(frozen=True)
    class Unknown(Scaled):
        def atom_norms(self, w):
            return super().atom_norms(w) * np.nan

    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 6))
    y = X @ [1.0, 0, 0, -1.0, 0, 0] + 0.1 * rng.standard_normal(80)
    solutions = [solve(Problem(X, y, "squared", kind(L1(0.2), 1.0))) for kind in (Scaled, Unknown)]
    assert [s.status for s in solutions] == ["certified", "degenerate"]
    assert "atom_norms" in solutions[1].reason
    assert solutions[0].proved.all() and not solutions[1].proved[solutions[1].codes > 0].any()
