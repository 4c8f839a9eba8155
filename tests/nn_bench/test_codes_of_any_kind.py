"""Every int8 code of a regularizer's structure is recorded as it is."""

import numpy as np
import pytest
import torch
from torch import nn

from manifold_id.regularizers import L1
from manifold_id.tracking import ManifoldTracker


class Levels(L1):
    """L1 whose codes are the rounded entries."""

    def structure(self, w):
        return w.round().to(torch.int8)


CODES = [[0, 1, -1], [-2, 127, -128], [-2, 5, 0], [3, 5, 1]]


@pytest.mark.parametrize("block", [1, 2, 64])
def test_an_optimizers_tracker_keeps_every_code(block):
    w = nn.Parameter(torch.tensor(CODES[0], dtype=torch.float32))
    optimizer = torch.optim.SGD([{"params": [w], "regularizer": Levels(0.1)}], lr=1.0)
    tracker = ManifoldTracker(optimizer, block=block)
    for codes in CODES[1:]:
        w.grad = w.detach() - torch.tensor(codes, dtype=torch.float32)
        optimizer.step()
    assert [tracker.trace.structure_at(t).tolist() for t in range(4)] == CODES
    other = ManifoldTracker(optimizer, block=block)
    other.load_state_dict(tracker.state_dict())
    np.testing.assert_array_equal(other.trace.new, tracker.trace.new)


def test_a_tracker_of_points_keeps_every_code():
    tracker = ManifoldTracker(Levels(0.1))
    for t, codes in enumerate(CODES):
        tracker.update(t, torch.tensor(codes, dtype=torch.float32))
    assert [tracker.trace.structure_at(t).tolist() for t in range(4)] == CODES
