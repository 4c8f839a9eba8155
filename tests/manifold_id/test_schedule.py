"""Stages by hand: the step within the stage, the factor of the step size and the momentum weight; FISTA's momentum."""

import numpy as np
import pytest

from manifold_id.methods.prox_gradient import next_theta
from manifold_id.methods.schedule import Stages

STEPS = np.array([1, 10, 11, 14, 20, 21])


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        ("constant", [0.1] * 6),
        ("divide", [0.1, 0.1, 0.2, 0.2, 0.2, 0.4]),
        ("sqrt", [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
    ],
)
def test_stages_begin_after_their_milestones(rule, weights):
    stage = Stages((10, 20), factor=0.5, momentum=rule).at(STEPS, 0.1)
    assert stage.k.tolist() == [1, 10, 1, 4, 10, 1]
    assert stage.factor.tolist() == [1, 1, 0.5, 0.5, 0.5, 0.25]
    assert stage.momentum == pytest.approx(weights)


def test_the_momentum_weight_grows_like_the_root_of_the_last_stages_steps_up_to_one():
    assert Stages((10,), momentum="sqrt").at(np.array([10, 14, 200]), 0.1).momentum == pytest.approx([0.1, 0.2, 1.0])


def test_fistas_momentum_has_the_published_first_terms():
    theta = [1.0]
    for _ in range(3):
        theta.append(next_theta(theta[-1]))
    assert theta == pytest.approx([1, (1 + 5**0.5) / 2, 2.193527, 2.749791], abs=1e-6)
