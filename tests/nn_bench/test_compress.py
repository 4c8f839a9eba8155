"""A compressed network has the outputs of the one it comes from."""

import warnings

import click.testing
import pytest
import torch
from random_networks import Net, check_sizes
from small_networks import config
from torch import nn
from torch.nn import functional as F

from nn_bench import commands
from nn_bench.checkpoint import save_weights
from nn_bench.compress import CompressionError, compress, compression, load_compressed, removable, report, smaller
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
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    small = compress(model, x)
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
    x = torch.randn(5, 4, dtype=torch.float64)
    small = compress(model, x)
    assert small[0].out_features == small[2].in_features == 1
    torch.testing.assert_close(small(x), model(x), rtol=1e-13, atol=1e-14)
    assert not torch.equal(small[2].bias, model[2].bias)


def test_a_constant_stays_before_a_layer_without_bias():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False)).double()
    with torch.no_grad():
        model[0].weight[:2] = 0
        model[0].bias.copy_(torch.tensor([0.0, 0.7, 0.1]))
    x = torch.randn(5, 4, dtype=torch.float64)
    done = compression(model, x)
    small = done.model
    assert small[0].out_features == 2
    assert list(done.kept) == [("0.weight", "2 reads the constant 0.7 from it and no bias can take it")]
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
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    small = compress(model, x)
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


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    ("pool", "even"),
    [
        (nn.MaxPool2d(3, 2, padding=1), True),  # pads by -infinity
        (nn.AvgPool2d(2), True),
        (nn.AvgPool2d(3, 2, padding=1), False),  # smaller at the borders
        (nn.AvgPool2d(2, divisor_override=3), True),
    ],
)
def test_constants_go_through_pooling(pool, even, flat):
    last = [nn.Flatten(), nn.LazyLinear(2)] if flat else [nn.Conv2d(3, 2, 2)]
    goes = even or flat  # a linear layer takes another constant from each place
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), pool, nn.Dropout(), *last)
    x = torch.randn(4, 1, 9, 9, dtype=torch.float64)
    model.double().eval()(x)
    model[0].weight.data[1] = 0
    small = compress(model, x)
    assert small[0].out_channels == 3 - goes
    torch.testing.assert_close(small(x), model(x), rtol=1e-13, atol=1e-14)


def test_a_shift_after_a_dead_channel_keeps_it_before_a_padded_layer():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1)
    ).double()
    with torch.no_grad():
        model[0].weight[0] = 0
        model[1].bias[0] = 0.5
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    assert compress(model, x)[0].out_channels == 2
    model[3].padding = (0, 0)
    small = compress(model, x)
    assert small[0].out_channels == 1
    torch.testing.assert_close(small.eval()(x), model.eval()(x), rtol=1e-13, atol=1e-14)
    model[3].padding = (1, 1)
    with torch.no_grad():
        model[1].bias[0] = 0
    small = compress(model.train(), x)
    assert small[0].out_channels == 1 and small.training and small[1].training
    torch.testing.assert_close(small.eval()(x), model.eval()(x))


def test_removal_goes_on_backwards_and_leaves_one_unit():
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[4].weight.zero_()
    x = torch.randn(4, 3)
    small = compress(model, x)
    assert small[2].out_features == 1
    torch.testing.assert_close(small(x), model(x))


class Branches(nn.Module):
    """Two chains, the second of which sees the middle of the first."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4))
        self.outer = nn.Linear(4, 2)

    def forward(self, x):
        return self.outer(self.inner(x) + x.sum(dim=1, keepdim=True))


def test_what_several_branches_share_goes_too():
    model = Branches().double()
    with torch.no_grad():
        model.inner[2].weight[:, 1] = 0
        model.inner[2].weight[3] = 0  # but for the branch beside it this would be a zero unit
        model.inner[2].bias[3] = 0
        model.outer.weight[:, 0] = 0
    x = torch.randn(5, 3, dtype=torch.float64)
    done = compression(model, x)
    small = done.model
    assert small.inner[0].out_features == 3 == small.inner[2].out_features == small.outer.in_features
    torch.testing.assert_close(small(x), model(x))
    assert list(done.kept) == [("inner.2.weight", "outer reads a value from it")]


def test_outputs_inputs_and_tied_layers_stay():
    x = torch.randn(4, 2)
    alone = nn.Linear(2, 2)
    tied = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    tied[4].weight = tied[0].weight
    with torch.no_grad():
        for layer in (alone, tied[4]):
            layer.weight[0] = 0
            layer.bias[0] = 0
    for model, name in ((alone, "weight"), (tied, "0.weight")):
        done = compression(model, x)
        assert done.removed == 0 and torch.equal(done.model(x), model(x))
        assert (name, "an output of the network") in done.kept or name == "0.weight"
    with pytest.raises(TypeError, match="example_input"):
        compress(alone, 3)
    with pytest.raises(TypeError, match="model=int"):
        compress(3, x)


class Inner(nn.Module):
    """An inner value of the Sequential is an output of its own."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        h = self.net[0](x)
        return self.net[1:](h).mean() + h.abs().sum()


def test_an_inner_value_that_is_used_elsewhere_keeps_its_unit():
    model, x = Inner(), torch.randn(5, 6)
    with torch.no_grad():
        model.net[2].weight[:, ::2] = 0
    assert compression(model, x).removed == 0
    with torch.no_grad():
        model.net[0].weight[0] = 0
        model.net[0].bias[0] = 0
    done = compression(model, x)
    assert done.removed == 1
    torch.testing.assert_close(done.model(x), model(x))


class Scaled(nn.Module):
    """A constant that depends on the size of the batch."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(torch.sigmoid(self.a(x)) * x.shape[0])


def test_what_depends_on_the_batch_is_no_constant():
    model, x = Scaled(), torch.randn(2, 3)
    with torch.no_grad():
        model.a.weight[0] = 0
    done, other = compression(model, x), torch.randn(7, 3)
    assert done.removed == 0
    torch.testing.assert_close(done.model(other), model(other))


class Opaque(nn.Module):
    """Sorts its channels: an operation without a rule keeps what it touches; the rest goes."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.c(self.b(self.a(x).relu()).sort(dim=1).values)


def test_what_is_not_followed_stays_and_is_named():
    model, x = Opaque(), torch.randn(4, 3)
    with torch.no_grad():
        for layer in (model.a, model.b):
            layer.weight[:2] = 0
            layer.bias[:2] = 0
    done = compression(model, x)
    assert done.model.a.out_features == 4 and done.model.b.out_features == 6
    assert dict(done.kept) == {("b.weight", "sort over it in Opaque.forward"): 2}
    assert "b.weight: 2 zero slices stay: sort" in done.table()


class Functional(nn.Module):
    """LeNet as in tutorials, its sizes written into forward."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.f1, self.f2 = nn.Linear(16 * 16, 20), nn.Linear(20, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = F.max_pool2d(F.relu(self.c2(x)), 2)
        return self.f2(F.relu(self.f1(x.view(-1, 256))))


def test_sizes_in_the_code_give_the_traced_graph():
    model, x = Functional(), torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        model.c2.weight[:5] = 0
        model.f1.weight[3:13] = 0
    done = compression(model, x)
    shapes = {name: tuple(p.shape) for name, p in done.model.named_parameters()}
    assert done.form == "graph" and shapes["f1.weight"] == (10, 11 * 16) and shapes["c2.weight"][0] == 11
    other = torch.randn(7, 1, 28, 28)  # of another batch size
    torch.testing.assert_close(done.model(other), model(other))


def test_a_wrong_removal_is_raised_and_names_the_layer(monkeypatch):
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.randn(5, 4)

    def careless(flow):
        removal = removable.removable(flow)
        removal.removed = {0}
        return removal

    monkeypatch.setattr(smaller, "removable", careless)
    with pytest.raises(CompressionError, match=r"differs by .* in 2 \(linear_1\)"):
        compress(model, x)


SEEDS = [*range(20), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, 200))]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_lose_all_zero_units_and_nothing_else(seed):
    model = Net(seed).eval()
    done = compression(model, model.example)
    with torch.no_grad():
        assert (done.model(model.example) - model(model.example)).abs().max() <= 1e-5
    check_sizes(model, done.model)


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


def test_the_report_measures_both_networks_layer_by_layer():
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(5, 6)
    with torch.no_grad():
        model[0].weight[:4] = 0
    small = compress(model, x)
    done = report(model, small, x)
    assert (done.before.parameters, done.after.parameters) == (6 * 8 + 8 + 8 * 3 + 3, 6 * 4 + 4 + 4 * 3 + 3)
    assert (done.before.flops, done.after.flops) == (2 * 5 * (6 * 8 + 8 * 3), 2 * 5 * (6 * 4 + 4 * 3))
    assert done.after.bytes < done.before.bytes and done.after.seconds > 0
    assert done.after.layers == {"0": 28, "2": 15}
    lines = done.table().splitlines()
    assert lines[1].split() == ["parameters", "83", "43", "51.8%"] and lines[-1].split() == ["2", "27", "15", "55.6%"]


def test_both_forms_are_saved_loaded_and_exported(tmp_path):
    x, other = torch.randn(2, 1, 28, 28), torch.randn(5, 1, 28, 28)
    model = Functional().eval()
    with torch.no_grad():
        model.c2.weight[3:13] = 0
    path = compression(model, x).save(tmp_path / "small.safetensors")
    assert path.suffix == ".pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.testing.assert_close(torch.export.load(path).module()(other), model(other))

    def build():
        return nn.Sequential(nn.Conv2d(1, 6, 3), nn.GroupNorm(3, 6, affine=False), nn.ReLU(), nn.Conv2d(6, 2, 1)).eval()

    model = build()
    with torch.no_grad():
        model[0].weight[2:4] = 0
        model[0].bias[2:4] = 0
    done = compression(model, x)
    assert done.form == "module" and done.model[1].num_groups == 2
    loaded = load_compressed(build(), done.save(tmp_path / "other.safetensors"))
    assert loaded[1].num_groups == 2 and torch.equal(loaded(other), done.model(other))
    torch.testing.assert_close(torch.export.export(loaded, (x,)).module()(x), model(x))
