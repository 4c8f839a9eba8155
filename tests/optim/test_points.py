"""A network at the proximal point, and an average of weights that is on the manifold."""

import pytest
import torch
from torch import nn

from manifold_id.optim import RMDA, ManifoldAverage, at_proximal_point, group_parameters
from manifold_id.regularizers import GroupLasso


def trained(steps, average=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    groups = group_parameters(model, GroupLasso(0.1), by="unit", example_input=torch.ones(2, 6).double(), verbose=False)
    optimizer = RMDA(groups, lr=0.1, momentum=0.3)
    follower = average(optimizer) if average else None
    x = torch.randn(40, 6, dtype=torch.float64)
    y = x[:, :1].relu()
    points = []
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        points.append([optimizer.proximal_point(p) for group in optimizer.param_groups for p in group["params"]])
        if follower:
            follower.update()
    return model, optimizer, follower, points


def test_the_average_is_the_sum_by_hand_and_has_the_zeros_of_the_proximal_point():
    _, optimizer, average, points = trained(60, lambda o: ManifoldAverage(o, decay=0.9))
    plain = points[0]
    for later in points[1:]:
        plain = [0.9 * a + 0.1 * z for a, z in zip(plain, later, strict=True)]
    weights = average.weights()
    weight, z = weights[0], points[-1][0]
    assert (z == 0).any() and (plain[0][z == 0] != 0).any()  # a plain average is off the manifold
    assert torch.equal(weight == 0, z == 0)
    torch.testing.assert_close(weight[z != 0], plain[0][z != 0], rtol=1e-12, atol=0)
    torch.testing.assert_close(weights[-1], plain[-1], rtol=1e-12, atol=0)  # without a regularizer
    assert optimizer.param_groups[-1]["regularizer"] is None


def test_it_is_applied_for_a_while_and_saved():
    model, optimizer, average, _ = trained(20, ManifoldAverage)
    before = [p.detach().clone() for p in model.parameters()]
    inside = []
    with pytest.raises(KeyError), average.applied():
        inside = [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]
        raise KeyError
    assert all(torch.equal(a, b) for a, b in zip(inside, average.weights(), strict=True))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    again = ManifoldAverage(optimizer)
    with pytest.raises(RuntimeError, match="update"):
        again.weights()
    again.load_state_dict(average.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.weights(), average.weights(), strict=True))
    with pytest.raises(ValueError, match="shapes"):
        again.load_state_dict({"averages": [torch.ones(2)]})
    with pytest.raises(ValueError, match="decay"):
        ManifoldAverage(optimizer, decay=1.0)
    with pytest.raises(TypeError, match="optimizer"):
        ManifoldAverage(model)


def test_at_the_proximal_point_and_back():
    model, optimizer, _, points = trained(20)
    before = [p.detach().clone() for p in model.parameters()]
    with at_proximal_point(optimizer):
        for group, z in zip(optimizer.param_groups[:1], points[-1], strict=False):
            assert torch.equal(group["params"][0], z)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
