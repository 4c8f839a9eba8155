"""All verified theorems by name; one line each."""

from __future__ import annotations

from importlib import import_module

from convex_bench.theorems.check import Check
from manifold_id.validation import unknown_name

MODULES: dict[str, str] = {  # the name on the command line, and the module that holds its CHECK
    "one-step-certificate": "one_step",
    "dual-averaging-inclusion": "dual_averaging",
    "variance-reduction": "variance_reduction",
    "rmda-identification": "identification",
    "rmda-plateau": "plateau",
    "last-false-positive": "concentration",
    "predicted-identification": "prediction",
    "prox-sgd-dichotomy": "dichotomy",
    "active-set-complexity": "active_set",
    "mirror-sandwich": "sandwich",
    "two-certificates": "certificates",
    "local-linear-rate": "local_rate",
    "regret-bound": "regret",
    "rda-for-networks": "sparse_cnn",
    "identification-time": "identification_time",
    "stabilized-storm": "stabilized_storm",
    "rda-local-phase": "wrong_support",
    "normal-map": "normal_map",
    "face-covariance": "asymptotic_normality",
    "partial-smoothness": "partial_smoothness",
    "ramda-inexact": "inexact",
    "ramda-optimizer": "ramda",
    "prox-sgd-distance": "step_distance",
    "coordinate-descent": "coordinate_descent",
    "away-step-frank-wolfe": "frank_wolfe",
    "normal-map-mcp": "weakly_convex",
    "riemannian-newton": "riemannian_newton",
}


def load_check(name: str) -> Check:
    """Return one check, importing its module; raises ValueError with the nearest name if there is none."""
    if name not in MODULES:
        raise unknown_name("theorem", name, MODULES)
    check = import_module(f"convex_bench.theorems.{MODULES[name]}").CHECK
    assert isinstance(check, Check)
    return check


def all_checks() -> dict[str, Check]:
    """Return every check by name, in the order of the table."""
    return {name: load_check(name) for name in MODULES}
