"""group_parameters: the axis of each layer's weight, ties, printing, errors; Reshaped where an axis is not enough."""

import pytest
import torch
from torch import nn

from manifold_id import optim
from manifold_id.optim import Reshaped, group_parameters
from manifold_id.regularizers import L1, GroupLasso, NuclearNorm


def chosen(model, by, regularizer=None):
    groups = group_parameters(model, regularizer or GroupLasso(0.5, axis=0), by=by, verbose=False)
    return {name: group["regularizer"] for group in groups for name, _ in group["params"]}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv1d(2, 4, 3), nn.Conv2d(2, 4, 3), nn.Conv3d(2, 4, 3)
        self.grouped, self.depthwise = nn.Conv2d(6, 4, 3, groups=2), nn.Conv2d(4, 4, 3, groups=4)
        self.doubled = nn.Conv2d(4, 8, 3, groups=4)
        self.up, self.up_grouped = nn.ConvTranspose2d(6, 4, 3), nn.ConvTranspose2d(6, 4, 3, groups=2)
        self.norm, self.layer_norm = nn.BatchNorm2d(4), nn.LayerNorm(4)
        self.linear, self.table = nn.Linear(5, 3), nn.Embedding(7, 5)
        self.lstm, self.gru = nn.LSTM(5, 4, num_layers=2, bidirectional=True, proj_size=2), nn.GRU(5, 4)
        self.cell = nn.LSTMCell(5, 4)
        self.attention = nn.MultiheadAttention(8, 2)
        self.cross = nn.MultiheadAttention(8, 2, kdim=6, vdim=4)
        self.own = nn.Parameter(torch.ones(3, 3))


def reader_of_inputs(name, p, index):
    """The entries of weight p that multiply input `index`, as a boolean mask; written from the layers' formulas."""
    mask = torch.zeros_like(p, dtype=torch.bool)
    layer = name.split(".")[0]
    if layer == "grouped":  # output o of block b = o // 2 reads inputs 3 b + i
        block, i = divmod(index, 3)
        mask[2 * block : 2 * block + 2, i] = True
    elif layer == "depthwise":
        mask[index] = True
    elif layer == "doubled":
        mask[2 * index : 2 * index + 2] = True
    elif layer in ("up", "up_grouped", "table"):
        mask[index] = True
    else:
        mask[:, index] = True
    return mask


def writer_of_outputs(name, p, index):
    mask = torch.zeros_like(p, dtype=torch.bool)
    layer = name.split(".")[0]
    if layer == "up_grouped":  # output o = 2 b + j is written by inputs of block b
        block, j = divmod(index, 2)
        mask[3 * block : 3 * block + 3, j] = True
    elif layer in ("up", "table"):
        mask[:, index] = True
    elif layer in ("lstm", "gru", "cell") and "weight_hr" not in name:
        mask[index::4] = True  # hidden size 4: the same row of every gate
    else:
        mask[index] = True
    return mask


@pytest.mark.parametrize(
    ("by", "entries_of"), [("input_channel", reader_of_inputs), ("output_channel", writer_of_outputs)]
)
def test_groups_are_the_channels_of_each_layer(by, entries_of):
    model = Net()
    named = dict(model.named_parameters())
    for name, regularizer in chosen(model, by).items():
        p = named[name].detach().double()
        last = name.rsplit(".", 1)[-1]
        if "bias" in last or "norm" in name or name == "own":
            assert regularizer is None, name
            continue
        assert regularizer is not None, name
        atoms = len(regularizer.structure(p))
        total = torch.zeros_like(p)
        for i in range(atoms):
            mask = entries_of(name, p, i)
            total += mask
            codes = regularizer.structure(torch.where(mask, 1.0 + p.abs(), 0.0))
            assert codes.tolist() == [int(j == i) for j in range(atoms)], name
            expected = 0.5 * mask.sum() ** 0.5 * torch.where(mask, p, 0).norm()
            assert torch.allclose(regularizer.value(torch.where(mask, p, 0)), expected), name
        assert torch.equal(total, torch.ones_like(p)), name  # a partition


def test_neurons_are_those_of_fully_connected_layers():
    found = chosen(Net(), "neuron")
    assert found["linear.weight"] == GroupLasso(0.5, axis=1)
    assert found["table.weight"] == GroupLasso(0.5, axis=0)
    assert all(r is None for n, r in found.items() if n.startswith(("conv", "up", "grouped", "depthwise", "doubled")))


def test_a_function_chooses_axis_regularizer_or_nothing():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(2, 2))

    def by(module, name, p):
        if name == "bias":
            return None
        return 0 if module.in_features == 4 else (L1(0.1) if module.in_features == 3 else None)

    assert chosen(model, by) == {
        "0.weight": GroupLasso(0.5, axis=0),
        "0.bias": None,
        "1.weight": L1(0.1),
        "1.bias": None,
        "2.weight": None,
        "2.bias": None,
    }
    with pytest.raises(ValueError, match=r"axis 5 is out of range for 'weight' of shape \(3, 4\)"):
        chosen(model, lambda *_: 5)
    with pytest.raises(TypeError, match=r"by\(...\) returned 'rows' for 'weight'"):
        chosen(model, lambda *_: "rows")


def test_regularizers_without_groups_go_to_the_weights_they_fit():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(3, 2))
    assert chosen(model, "input_channel", L1(0.1)) == {
        "0.weight": L1(0.1),
        "0.bias": None,
        "1.weight": L1(0.1),
        "1.bias": None,
    }
    assert [n for n, r in chosen(model, "input_channel", NuclearNorm(0.1)).items() if r] == ["1.weight"]


def test_tied_weights_are_grouped_once_and_named_twice():
    model = nn.Module()
    model.table, model.head = nn.Embedding(7, 5), nn.Linear(5, 7)
    model.head.weight = model.table.weight
    groups = group_parameters(model, GroupLasso(0.5, axis=1), verbose=False)
    names = [n for g in groups for n, _ in g["params"]]
    assert names == ["table.weight", "head.bias"]
    assert groups[0]["regularizer"] == GroupLasso(0.5, axis=0)
    assert groups.entries[0].also == ("head.weight",)
    assert "table.weight = head.weight" in groups.table()
    optim.RMDA(groups, lr=0.1)


def test_it_prints_what_it_grouped(capsys):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 2))
    group_parameters(model, GroupLasso(0.5, axis=1))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0].split() == ["0.weight", "Conv2d", "(3,", "2,", "3,", "3)", "2", "groups", "along", "axis", "1"]
    assert lines[2].endswith("not regularized")


@pytest.mark.parametrize("name", ["RMDA", "RAMDA", "ProxAdamW"])
def test_a_network_of_all_layers_trains(name):
    torch.manual_seed(0)
    model = Net()
    optimizer = optim.OPTIMIZERS[name](group_parameters(model, GroupLasso(0.01, axis=0), verbose=False), lr=0.1)
    for _ in range(3):
        for p in model.parameters():
            p.grad = torch.randn_like(p) * 0.1
        optimizer.step()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert optimizer.param_groups[0]["param_names"][0] == "own"


def test_errors():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="by='input_chanel' is not known: did you mean 'input_channel'"):
        group_parameters(model, GroupLasso(0.1, axis=0), by="input_chanel")
    with pytest.raises(TypeError, match=r"regularizer=0\.1 must be a Regularizer"):
        group_parameters(model, 0.1)
    with pytest.raises(TypeError, match=r"model=list must be a torch\.nn\.Module"):
        group_parameters([model], L1(0.1))
    with pytest.raises(ValueError, match="finds no weight to regularize in LayerNorm"):
        group_parameters(nn.LayerNorm(3), L1(0.1))


def test_reshaped_is_the_inner_regularizer_on_the_reshaped_tensor():
    inner = GroupLasso(0.3, axis=1, event_ndim=3)
    psi = Reshaped(inner, (2, 2, 3, 4))
    assert eval(repr(psi)) == psi
    w = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    g, d = torch.cos(w), 1 + w.abs()
    shape = (2, 2, 3, 4)
    z = psi.prox(w, 0.5)
    assert torch.equal(z, inner.prox(w.reshape(shape), 0.5).reshape(w.shape))
    assert torch.equal(
        psi.prox_metric(w, 0.5, d), inner.prox_metric(w.reshape(shape), 0.5, d.reshape(shape)).reshape(w.shape)
    )
    assert psi.value(w) == pytest.approx(float(inner.value(w.reshape(shape)).sum()))
    codes = psi.structure(z)
    assert codes.shape == (6,)
    assert psi.residual(w, g).shape == psi.margin(w, g).shape == (6,)
    v = torch.sin(w)
    tangent = psi.tangent(codes, v)
    assert torch.equal(psi.tangent(codes, tangent), tangent)
    assert torch.equal(tangent.reshape(2, 2, 3, 4).ne(0).any(3).any(1).reshape(-1), codes > 0)
    assert int(psi.dimension(codes)) == 8 * int((codes > 0).sum())
    assert psi.with_lam(0.9).regularizer.lam == 0.9
    assert psi.lambda_max(g) > 0
    with pytest.raises(
        ValueError, match=r"shape=\(2, 2, 3, 4\) does not fit a tensor of shape \(3, 4\): the sizes differ"
    ):
        psi.prox(torch.ones(3, 4), 1.0)
    with pytest.raises(TypeError, match="must be a Regularizer"):
        Reshaped(0.1, (2, 2))
    with pytest.raises(ValueError, match="shape=0 must be at least 1"):
        Reshaped(L1(0.1), (2, 0))


def test_the_table_counts_the_groups_of_every_layer():
    layers = nn.ModuleList([nn.Conv2d(8, 12, 3, groups=4), nn.LSTM(5, 6), nn.ConvTranspose2d(4, 6, 3, groups=2)])
    for by in ("input_channel", "output_channel"):
        groups = group_parameters(layers, GroupLasso(0.1, axis=0), by=by, verbose=False)
        chosen = [e for e in groups.entries if e.regularizer is not None]
        for e in chosen:
            assert e.atoms.startswith(f"{e.regularizer.structure(torch.ones(e.shape)).numel()} groups along axis")
    assert [e.atoms for e in chosen][::2] == ["12 groups along axis 0", "6 groups along axis 1, read as (4, 6, 6)"]
    assert chosen[3].atoms == "6 groups along axis 1 of 2 blocks (2, 3, 3, 3)"
