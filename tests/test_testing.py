"""The public checks pass on everything that is built in, and fail for the reason that they name."""

from dataclasses import dataclass

import numpy as np
import pytest
from regularizers_cases import CASES

from manifold_id.methods import METHODS, RMDA, Method, ProxSGD, State
from manifold_id.regularizers import L1, Box, LInfBall, LInfNorm, Simplex, SparseGroupLasso, TotalVariation
from manifold_id.testing import check_method, check_regularizer

OTHERS = [
    (Box(-0.5, 1.0), (6,)),
    (LInfBall(0.8), (6,)),
    (LInfNorm(0.8), (6,)),
    (Simplex(1.5), (6,)),
    (TotalVariation(0.4), (7,)),
    (TotalVariation(0.4, l1=0.2), (7,)),
    (SparseGroupLasso(0.4, groups=3), (9,)),
]
SETTINGS = {
    "ProxSVRG": {"lr": 0.02, "epoch": 24},
    "ProxSAGA": {"lr": 0.02},
    "ProxSTORM": {"lipschitz": 20.0},
    "ProxGradient": {"lr": 0.02},
    "FISTA": {"lr": 0.02},
    "SDA": {"gamma": 20.0},
    "RDA": {"gamma": 20.0},
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_built_in_products_pass(case):
    check_regularizer(case.regularizer, case.shape)


@pytest.mark.parametrize(("regularizer", "shape"), OTHERS, ids=repr)
def test_other_built_in_regularizers_pass(regularizer, shape):
    check_regularizer(regularizer, shape)


@pytest.mark.parametrize("name", METHODS)
def test_built_in_methods_pass(name):
    check_method(METHODS[name](**SETTINGS.get(name, {})))


@dataclass(frozen=True, repr=False)
class Wrong(L1):
    """L1 with one thing wrong."""

    what: str = ""

    def prox(self, w, step):
        if self.what == "one per cent":
            return super().prox(w, 1.01 * step)
        if self.what == "nan":
            return np.nan_to_num(super().prox(w, step))
        if self.what == "float64":
            return np.asarray(super().prox(w, step), dtype=np.float64)
        if self.what == "writes":
            w[0] = 0.0
        return super().prox(w, step)

    def structure(self, w):
        return super().structure(w).astype(np.int64) if self.what == "int64" else super().structure(w)

    def residual(self, w, g):
        return 0 * super().residual(w, g) if self.what == "residual" else super().residual(w, g)

    def dimension(self, codes, shape=None):
        return super().dimension(codes, shape) + (self.what == "dimension")

    def lambda_max(self, g):
        return super().lambda_max(g) * (1.2 if self.what == "lambda_max" else 1.0)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("", None),
        ("one per cent", "has the cost|residual at a prox"),
        ("nan", "turns NaN into"),
        ("float64", "returns float64"),
        ("writes", "changes its argument"),
        ("int64", "dtype int64, not int8"),
        ("residual", "does not see a gradient"),
        ("dimension", "tangent space has dimension"),
        ("lambda_max", "stationary at 0.9 lambda_max"),
    ],
)
def test_a_wrong_regularizer_is_told(what, message):
    if message is None:
        return check_regularizer(Wrong(0.3), (6,))
    with pytest.raises(AssertionError, match=message):
        check_regularizer(Wrong(0.3, what=what), (6,))


@dataclass(frozen=True)
class WrongMethod(Method):
    """Proximal SGD with one thing wrong."""

    lr: float = 0.05
    what: str = ""

    def init(self, w0):
        return w0 if self.what == "no state" else State(0, w0, w0, 0 * w0)

    def update(self, oracle, state, regularizer):
        g = oracle(state.w)
        w = regularizer.prox(state.w + (self.lr if self.what == "uphill" else -self.lr) * g, self.lr)
        if self.what == "in place":
            state.d[:] = g
        if self.what == "no torch":
            w = np.array(w) if isinstance(w, np.ndarray) else 1.1 * w
        return State(state.t + (self.what != "no count"), w, w, g)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no state", "init returns ndarray"),
        ("no count", "must return a State with t = 1"),
        ("in place", "changes the state"),
        ("uphill", "steps took F from"),
        ("no torch", "torch is .* from NumPy"),
    ],
)
def test_a_wrong_method_is_told(what, message):
    check_method(WrongMethod())
    with pytest.raises(AssertionError, match=message):
        check_method(WrongMethod(what=what))


def test_what_is_no_method_or_thawed_is_told():
    class Thawed(ProxSGD):
        pass

    check_method(Thawed(lr=0.05))  # a subclass is the dataclass that it derives from
    with pytest.raises(AssertionError, match="must derive from Method"):
        check_method(RMDA)
