"""A compressed network has the outputs of the one it comes from."""

import click.testing
import pytest
import torch
from small_networks import config
from torch import nn

from nn_bench import commands
from nn_bench.checkpoint import save_weights
from nn_bench.compress import compress, load_compressed
from nn_bench.models import build_model
from nn_bench.training import train

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


@pytest.mark.parametrize(
    ("name", "share"),
    [("mlp", 0.6), ("lenet5", 0.6), ("lenet5-small", 0.6), ("vgg16-bn", 0.6), ("resnet18", 0.8), ("transformer", 0.95)],
)
def test_outputs_are_equal_and_weights_fewer(name, share, tmp_path):
    torch.manual_seed(0)
    model = sparse(build_model(name, (3, 32, 32), 10), 0.5)
    small = compress(model)
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(small(x), model(x), rtol=1e-10, atol=1e-12)
    save_weights(small, tmp_path / "small.safetensors")
    loaded = load_compressed(build_model(name, (3, 32, 32), 10), tmp_path / "small.safetensors").eval()
    assert torch.equal(loaded(x), small(x)) and str(loaded) == str(small)
    count = [sum(p.numel() for p in m.parameters()) for m in (model, small)]
    assert count[1] < share * count[0]


def test_units_that_are_always_zero_go_and_constant_ones_move_into_the_next_bias():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        model[0].weight[:2] = 0
        model[0].bias.copy_(torch.tensor([0.0, 0.7, 0.1]))
    small = compress(model)
    assert small[0].out_features == small[2].in_features == 1
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(small(x), model(x), rtol=1e-13, atol=1e-14)
    assert not torch.equal(small[2].bias, model[2].bias)


def test_a_constant_stays_before_a_layer_without_bias():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False)).double()
    with torch.no_grad():
        model[0].weight[:2] = 0
        model[0].bias.copy_(torch.tensor([0.0, 0.7, 0.1]))
    small, x = compress(model), torch.randn(5, 4, dtype=torch.float64)
    assert small[0].out_features == 2
    torch.testing.assert_close(small(x), model(x), rtol=1e-13, atol=1e-14)


def constant(model: nn.Module, share: float, seed: int = 0) -> nn.Module:
    """Make a share of the units of every inner layer constants other than zero: without weights, or without scale."""
    generator = torch.Generator().manual_seed(seed)
    sparse(model, 0.0, seed)
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.BatchNorm2d))]
    for layer in (layer for layer in layers[:-1] if layer.bias is not None):
        if isinstance(layer, nn.BatchNorm2d):
            layer.bias.data.abs_()  # or ReLU makes the constant zero
        off = torch.rand(len(layer.weight), generator=generator) < share
        layer.weight.data[off] = 0
    return model


@pytest.mark.parametrize("name", ["mlp", "lenet5", "lenet5-small", "vgg16-bn", "transformer"])
def test_constant_units_go_where_the_next_layer_can_take_them(name, tmp_path):
    torch.manual_seed(0)
    model = constant(build_model(name, (3, 32, 32), 10), 0.4)
    small = compress(model)
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(small(x), model(x), rtol=1e-10, atol=1e-12)
    pairs = zip(small.modules(), model.modules(), strict=True)
    smaller = [a.weight.shape[0] < b.weight.shape[0] for a, b in pairs if isinstance(b, (nn.Linear, nn.Conv2d))]
    if name == "vgg16-bn":  # its convolutions are padded: only the last one feeds the linear layer
        assert smaller == [False] * 12 + [True, False]
    elif name != "transformer":  # of which the feed-forward part alone is a chain
        assert smaller == [True] * (len(smaller) - 1) + [False]
    assert any(smaller)
    save_weights(small, tmp_path / "small.safetensors")
    loaded = load_compressed(build_model(name, (3, 32, 32), 10), tmp_path / "small.safetensors").eval()
    assert torch.equal(loaded(x), small(x))


@pytest.mark.parametrize(
    ("pool", "goes"),
    [
        (nn.MaxPool2d(3, 2, padding=1), True),  # pads by -infinity
        (nn.AvgPool2d(2), True),
        (nn.AvgPool2d(3, 2, padding=1), False),
        (nn.AvgPool2d(2, divisor_override=3), False),
    ],
)
def test_constants_go_through_pooling_that_keeps_them(pool, goes):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), pool, nn.Dropout(), nn.Flatten(), nn.LazyLinear(2))
    x = torch.randn(4, 1, 9, 9, dtype=torch.float64)
    model.double().eval()(x)
    model[0].weight.data[1] = 0
    small = compress(model)
    assert small[0].out_channels == 3 - goes
    torch.testing.assert_close(small(x), model(x), rtol=1e-13, atol=1e-14)


def test_a_shift_after_a_dead_channel_keeps_it_before_a_padded_layer():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1)
    ).double()
    with torch.no_grad():
        model[0].weight[0] = 0
        model[1].bias[0] = 0.5
    assert compress(model)[0].out_channels == 2
    model[3].padding = (0, 0)
    small, x = compress(model), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    assert small[0].out_channels == 1
    torch.testing.assert_close(small.eval()(x), model.eval()(x), rtol=1e-13, atol=1e-14)
    model[3].padding = (1, 1)
    with torch.no_grad():
        model[1].bias[0] = 0
    small = compress(model)
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


class Branches(nn.Module):
    """Two chains, the second of which sees the middle of the first."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4))
        self.outer = nn.Linear(4, 2)

    def forward(self, x):
        return self.outer(self.inner(x) + x.sum(dim=1, keepdim=True))


def test_only_units_inside_a_chain_are_removed():
    model = Branches().double()
    with torch.no_grad():
        model.inner[2].weight[:, 1] = 0
        model.inner[2].weight[3] = 0
        model.inner[2].bias[3] = 0
        model.outer.weight[:, 0] = 0
    small, x = compress(model), torch.randn(5, 3, dtype=torch.float64)
    assert small.inner[0].out_features == 3 and small.inner[2].out_features == 4 == small.outer.in_features
    torch.testing.assert_close(small(x), model(x))


def test_models_without_inner_units_and_shared_weights_are_refused():
    with pytest.raises(ValueError, match="no two layers in a row"):
        compress(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no two layers in a row"):
        compress(nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 2, 3)))
    tied = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    tied[4].weight = tied[0].weight
    with pytest.raises(ValueError, match="shares its weight"):
        compress(tied)


def test_the_command_measures_both_networks_and_writes_the_small_one(tmp_path):
    settings = config(model="mlp", epochs=3, lr=0.3, lam=5e-3, data="digits")
    result = train(settings, tmp_path / "run")
    assert result.group_sparsity > 0.2
    done = click.testing.CliRunner().invoke(commands.compress, [str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    whole, small = (line.split() for line in done.output.splitlines()[:2])
    assert int(small[1].replace(",", "")) < int(whole[1].replace(",", "")) and whole[3:] == small[3:]
    again = load_compressed(build_model("mlp", (1, 28, 28), 10), tmp_path / "run" / "compressed.safetensors")
    assert sum(p.numel() for p in again.parameters()) == int(small[1].replace(",", ""))
    failed = click.testing.CliRunner().invoke(commands.compress, [str(tmp_path)])
    assert "no finished run" in str(failed.exception)
