"""Arrays as users bring them: integers give what floats give, and nothing that is not finite comes out as structure."""

import numpy as np
import pytest
import torch
from regularizers_cases import CASES

from manifold_id.regularizers import L0, MCP, SCAD, Box, LHalf, LInfBall, Simplex, SparseGroupLasso, TotalVariation

SPECIAL = [
    (Box(-0.5, 1.5), (4,)),
    (LInfBall(1.5), (4,)),
    (Simplex(1.5), (4,)),
    (TotalVariation(0.5), (4,)),
    (TotalVariation(0.5, 0.25), (4,)),
    (SparseGroupLasso(0.5, groups=2), (4,)),
]
ALL = [(case.regularizer, case.shape) for case in CASES] + SPECIAL
NAMES = [repr(regularizer)[:60] for regularizer, _ in ALL]


@pytest.mark.parametrize(("regularizer", "shape"), ALL, ids=NAMES)
def test_integers_give_what_floats_give(regularizer, shape):
    rng = np.random.default_rng(0)
    w, g = rng.integers(-3, 4, shape), rng.integers(-3, 4, shape)
    for kind in (np.int64, np.int8):
        for name, arguments in (("value", ()), ("prox", (1,)), ("residual", (g,)), ("margin", (g,))):
            got = getattr(regularizer, name)(w.astype(kind), *arguments)
            want = getattr(regularizer, name)(w.astype(float), *[np.asarray(a, dtype=float) for a in arguments])
            np.testing.assert_array_equal(got, want, err_msg=name)
    got = regularizer.prox(torch.from_numpy(w), 1.0)
    np.testing.assert_allclose(got, regularizer.prox(w.astype(float), 1.0), rtol=2e-6, atol=1e-6)


def test_known_values_of_integers():
    w = np.array([3, 2, 0, 1])
    np.testing.assert_allclose(TotalVariation(0.5).prox(w, 1.0), [2.5, 2.0, 0.75, 0.75])
    np.testing.assert_allclose(Box(-0.5, 1.5).prox(w, 1.0), [1.5, 1.5, 0.0, 1.0])


@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize(("regularizer", "shape"), ALL, ids=NAMES)
def test_nan_stays_and_infinity_is_no_zero(regularizer, shape, to):
    for bad in (np.nan, np.inf):
        for place in range(int(np.prod(shape))):
            w = np.random.default_rng(1).normal(size=shape)
            w.reshape(-1)[place] = bad
            with np.errstate(invalid="ignore"):  # inf / inf warns, and is NaN
                out = np.asarray(regularizer.prox(to(w.copy()), 0.3)).reshape(-1)
            if isinstance(regularizer, Box) and bad == np.inf:
                assert out[place] == regularizer.upper  # the projection of +inf
            else:
                assert not np.isfinite(out[place])


def test_values_of_nan_are_nan_and_the_square_root_has_a_gradient_at_zero():
    for regularizer in (MCP(0.6, 2.0), SCAD(0.5, 2.5), L0(0.6), LHalf(0.6)):
        assert np.isnan(regularizer.value(np.array([1.0, np.nan])))
    w = torch.tensor([0.0, 4.0], requires_grad=True)
    LHalf(0.6).value(w).backward()
    np.testing.assert_allclose(w.grad, [0.0, 0.15])
