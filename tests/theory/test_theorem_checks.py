"""Every theorem holds on its instances, and every control fails, at the quick size."""

import numpy as np
import pytest

from convex_bench.theorems import MODULES, QUICK, load_check

SEEDS = (0,)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("seed", SEEDS)
def test_theorem_holds(name, seed):
    verdict = load_check(name).check(QUICK, seed)
    assert verdict.status == "holds", verdict.summary
    assert verdict.samples > 0
    assert verdict.criterion
    assert verdict.assumptions and all(assumption.met for assumption in verdict.assumptions)
    assert any(np.isfinite([power.below, power.above]).any() for power in verdict.power)  # rejects some wrong constant
    for power in verdict.power:
        assert not power.below > power.stated and not power.above < power.stated, power


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("seed", SEEDS)
def test_control_fails(name, seed):
    verdict = load_check(name).control(QUICK, seed)
    assert verdict.status == "fails", verdict.summary


@pytest.mark.parametrize("name", MODULES)
def test_theorem_is_described_under_its_own_name(name):
    theorem = load_check(name).theorem
    assert theorem.name == name
    assert all(getattr(theorem, part) for part in ("title", "statement", "latex", "source", "measured", "control"))
