"""group_parameters(by="unit", example_input=x): what is one unit, what is left and why, and units that become zero."""

import io

import pytest
import torch
from random_networks import Net
from torch import nn
from torch.nn import functional as F

from manifold_id.optim import RAMDA, RMDA, ProxSGD, Reshaped, group_parameters
from manifold_id.optim.joint import join, row_sizes, split
from manifold_id.regularizers import GroupLasso
from manifold_id.tracking import ManifoldTracker
from nn_bench.compress import compression

PSI = GroupLasso(0.1)


def units(model, x, psi=PSI):
    """Return {(names): (joint, number of units)} and {name: why it is left}."""
    groups = group_parameters(model, psi, by="unit", example_input=x, verbose=False)
    found = {}
    for group in groups[:-1]:
        params = [p for _, p in group["params"]]
        count = len(row_sizes([p.shape for p in params], group["joint"]))
        found[tuple(name for name, _ in group["params"])] = group["joint"], count
    return found, {e.name: e.why for e in groups.entries if e.regularizer is None}


class Odd(nn.Module):
    """Registered in another order than used, the head first."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 3)
        self.bn1, self.bn2 = nn.BatchNorm2d(6), nn.BatchNorm2d(8)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.head(F.relu(self.bn2(self.conv2(x))).mean((2, 3)))


def test_the_order_of_registration_does_not_matter():
    found, left = units(Odd(), torch.randn(2, 1, 8, 8))
    assert set(found) == {
        ("conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"),
        ("conv2.weight", "conv2.bias", "bn2.weight", "bn2.bias"),
    }
    assert left == dict.fromkeys(["head.weight", "head.bias"], "an output of the network")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(5, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.b(self.a(x).relu())).sum((2, 3)))


def test_a_residual_stream_is_one_family():
    found, _ = units(Residual(), torch.randn(2, 2, 6, 6))
    assert {names: count for names, (_, count) in found.items()} == {
        ("stem.weight", "stem.bias", "b.weight", "b.bias"): 4,
        ("a.weight", "a.bias"): 5,
    }


def test_lstm_units_span_their_gates_and_heads_their_rows():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.rnn = nn.Embedding(9, 4), nn.LSTM(4, 3, batch_first=True)
            self.out, self.att = nn.Linear(3, 6), nn.MultiheadAttention(6, 2, batch_first=True)
            self.head = nn.Linear(6, 2)

        def forward(self, i):
            x = self.out(self.rnn(self.embed(i))[0])
            return self.head(self.att(x, x, x, need_weights=False)[0].sum(1))

    found, _ = units(Words(), torch.randint(0, 9, (2, 5)))
    gates = (0, (0, 1, 2) * 4)
    lstm = tuple(f"rnn.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    heads = (0, (0, 0, 0, 1, 1, 1) * 3)
    assert found["embed.weight",] == ((1,), 4)
    assert found[lstm] == ((gates,) * 4, 3)
    assert found["att.in_proj_weight", "att.in_proj_bias"] == ((heads,) * 2, 2)
    assert found["out.weight", "out.bias"][1] == 6


class Mixed(nn.Module):
    """Kinds of convolutions, a norm over two branches, and weight normalization."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Conv1d(2, 4, 1), nn.Conv1d(2, 3, 1), nn.BatchNorm1d(7)
        self.up, self.deep = nn.ConvTranspose1d(7, 6, 2), nn.Conv1d(6, 12, 3, groups=6)
        self.last = torch.nn.utils.parametrizations.weight_norm(nn.Linear(12, 5))
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        x = self.norm(torch.cat([self.a(x), self.b(x)], dim=1))
        x = self.deep(self.up(x).relu()).sum(2)
        return self.head(self.last(x).relu())


def test_concatenation_depthwise_transposed_and_weight_norm():
    found, left = units(Mixed(), torch.randn(2, 2, 5))
    branches = ((0, (0, 1, 2, 3)), (0, (0, 1, 2, 3)), (0, (4, 5, 6)), (0, (4, 5, 6)), 0, 0)
    assert found["a.weight", "a.bias", "b.weight", "b.bias", "norm.weight", "norm.bias"] == (branches, 7)
    pairs = (0, tuple(i // 2 for i in range(12)))
    assert found["up.weight", "up.bias", "deep.weight", "deep.bias"] == ((1, 0, pairs, pairs), 6)
    assert found["last.bias", "last.parametrizations.weight.original0"][1] == 5
    assert "magnitude" in left["last.parametrizations.weight.original1"]


def test_ragged_rows_are_gathered_and_scattered_back():
    xs = [torch.arange(12.0).reshape(4, 3), torch.arange(5.0), torch.arange(6.0).reshape(2, 3)]
    joint = ((0, (1, 0, 1, 0)), (0, (0, 0, 1, 2, 1)), 1)
    rows = join(xs, joint)
    assert row_sizes([x.shape for x in xs], joint).tolist() == [10, 10, 3]
    assert rows[2].tolist() == [3.0, 2.0, 5.0] + [0.0] * 7
    assert rows[1].tolist() == [0.0, 1.0, 2.0, 6.0, 7.0, 8.0, 2.0, 4.0, 1.0, 4.0]
    for x, y in zip(xs, split(rows, xs, joint), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("cls", [RMDA, ProxSGD, RAMDA])
def test_ragged_groups_are_the_prox_of_each_unit_alone(cls):
    """Oracle: each unit as one flat parameter of its own."""
    torch.manual_seed(0)
    xs = [nn.Parameter(torch.randn(4, 3).double()), nn.Parameter(torch.randn(5).double())]
    joint = ((0, (1, 0, 1, 0)), (0, (0, 0, 1, 2, 1)))
    sizes = row_sizes([x.shape for x in xs], joint).tolist()
    weights = tuple(n**0.5 for n in sizes)
    rows = Reshaped(GroupLasso(0.3, axis=0, weights=weights), (3, max(sizes)))
    ours = cls([{"params": xs, "joint": joint, "regularizer": rows}], lr=0.1)
    flat = [nn.Parameter(row[:n].clone()) for row, n in zip(join([x.detach() for x in xs], joint), sizes, strict=True)]
    psi = [GroupLasso(0.3, groups=(tuple(range(n)),)) for n in sizes]
    oracle = cls([{"params": [p], "regularizer": own} for p, own in zip(flat, psi, strict=True)], lr=0.1)
    tracker = ManifoldTracker(ours)
    seen = set()
    for t in range(50):
        g = torch.randn(3, max(sizes), generator=torch.Generator().manual_seed(t), dtype=torch.float64)
        now = join([x.detach() for x in xs], joint)
        g = 0.5 * g + now - torch.tensor([1.0, 0, 0], dtype=torch.float64)[:, None]
        for x, part in zip(xs, split(g, xs, joint), strict=True):
            x.grad = part
        for p, row, n in zip(flat, g, sizes, strict=True):
            p.grad = row[:n].clone()
        ours.step()
        oracle.step()
        after = join([x.detach() for x in xs], joint)
        for row, p, n in zip(after, flat, sizes, strict=True):
            torch.testing.assert_close(row[:n], p.detach(), rtol=0, atol=1e-12)
        seen.add(tuple((after != 0).any(dim=1).tolist()))
    assert len(seen) > 1 and tracker.trace.atoms == 3


def test_a_saved_state_with_ragged_groups_is_plain_data():
    x = torch.randn(2, 2, 5)

    def build():
        torch.manual_seed(0)
        model = Mixed()
        return model, RMDA(group_parameters(model, PSI, by="unit", example_input=x, verbose=False), lr=0.1)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()

    (model, optimizer), (other, again) = build(), build()
    step(model, optimizer)
    step(other, again)
    stream = io.BytesIO()
    torch.save(optimizer.state_dict(), stream)
    stream.seek(0)
    again.load_state_dict(torch.load(stream, weights_only=True))
    step(model, optimizer)
    step(other, again)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("seed", [1, 3, 4, 17, 20])
def test_units_pulled_to_zero_are_removed(seed):
    """Two of three units get no gradient but the penalty's: they become zero, and compression removes them."""
    model = Net(seed)
    groups = group_parameters(
        model, GroupLasso(5.0, weights=None), by="unit", example_input=model.example, verbose=False
    )
    optimizer = RMDA(groups, lr=0.1)
    dead = 0
    for group in groups[:-1]:
        params = group["params"]
        pull = torch.zeros_like(join([p.detach() for p in params], group["joint"]))
        pull[::3] = -100
        for p, g in zip(params, split(pull, params, group["joint"]), strict=True):
            p.grad = g
        dead += len(pull) - len(pull[::3])
    for _ in range(20):
        optimizer.step()
    done = compression(model, model.example)
    assert done.removed >= dead - sum(done.kept.values())
    assert all("no bias can take it" in why or "kept where all" in why for _, why in done.kept), done.table()


def test_without_an_example_only_what_is_certain():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2)
            self.body = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 4))

    groups = group_parameters(Net(), PSI, by="unit", verbose=False)
    assert [name for name, _ in groups[0]["params"]] == ["body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"]
    assert len(groups) == 2
    why = {e.name: e.why for e in groups.entries if e.regularizer is None}
    assert set(why) == {"head.weight", "head.bias", "body.3.weight", "body.3.bias"}
    assert all("give example_input" in reason for reason in why.values())
    assert "give example_input" in groups.table()
    with pytest.raises(ValueError, match="example_input"):
        group_parameters(Odd(), PSI, by="unit")


def test_a_model_that_branches_on_values_is_refused_by_name(capfd):
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3)

        def forward(self, x):
            return self.a(x) if x.sum() > 0 else x

    with pytest.raises(ValueError, match=r"Branch can't be followed.*branches on no values"):
        group_parameters(Branch(), PSI, by="unit", example_input=torch.ones(2, 3))
    assert capfd.readouterr().err == ""  # one clear error, without torch's graphs beside it
