"""A compressed network has the outputs of the one it comes from."""

import pytest
import torch
from torch import nn

from nn_bench.compress import compress
from nn_bench.models import build_model

torch.set_num_threads(1)


def sparse(model: nn.Module, share: float, seed: int = 0) -> nn.Module:
    """Zero a share of the input channels of every weight, and give norm layers statistics."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            off = torch.rand(layer.weight.shape[1], generator=generator) < share
            layer.weight.data[:, off] = 0
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
            layer.weight.data.uniform_(0.5, 2, generator=generator)
            layer.bias.data.normal_(generator=generator)
    return model.double().eval()


@pytest.mark.parametrize("name", ["mlp", "lenet5", "lenet5-small", "vgg16-bn"])
def test_outputs_are_equal_and_weights_fewer(name):
    torch.manual_seed(0)
    model = sparse(build_model(name, (3, 32, 32), 10), 0.5)
    small = compress(model)
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(small(x), model(x), rtol=1e-10, atol=1e-12)
    count = [sum(p.numel() for p in m.parameters()) for m in (model, small)]
    assert count[1] < 0.6 * count[0]


def test_units_that_are_always_zero_go_but_constant_ones_stay():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        model[0].weight[:2] = 0
        model[0].bias.copy_(torch.tensor([0.0, 0.7, 0.1]))
    small = compress(model)
    assert small[0].out_features == small[2].in_features == 2
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(small(x), model(x))


def test_a_shift_after_a_dead_channel_keeps_it():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 3)).double()
    with torch.no_grad():
        model[0].weight[0] = 0
        model[1].bias[0] = 0.5
    assert compress(model)[0].out_channels == 2
    with torch.no_grad():
        model[1].bias[0] = 0
    small, x = compress(model), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    assert small[0].out_channels == 1
    torch.testing.assert_close(small.eval()(x), model.eval()(x))


def test_removal_goes_on_backwards_and_leaves_one_unit():
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[4].weight.zero_()
    small = compress(model)
    assert small[2].out_features == 1
    x = torch.randn(4, 3)
    torch.testing.assert_close(small(x), model(x))


def test_other_models_are_refused():
    with pytest.raises(TypeError, match=r"must be an nn\.Sequential"):
        compress(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="compress knows chains"):
        compress(nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)))
