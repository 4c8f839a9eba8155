"""Groups that span tensors: the same as one tensor with the joined rows; by="unit"; what is refused."""

import copy
import io

import numpy as np
import pytest
import torch
from optim.model_zoo import OPTIMIZERS
from torch import nn

from manifold_id import optim
from manifold_id.optim import RMDA, ProxSGD, Reshaped, SparseRetraining, group_parameters
from manifold_id.optim.joint import join, split
from manifold_id.regularizers import L1, MCP, GroupLasso, SparseGroupLasso
from manifold_id.tracking import ManifoldTracker

AXES = (1, 0, -1)
SHAPES = ((2, 6, 3), (6,), (5, 6))
METHODS = [name for name in OPTIMIZERS if name != "SDA"]  # which has no regularizer
PSI = GroupLasso(0.4, axis=0)


def tensors(dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)) for shape in SHAPES]


def joint_group(params, regularizer=PSI, **more):
    return [{"params": params, "joint": AXES, "regularizer": regularizer, **more}]


def build(name, params, **more):
    cls, options = OPTIMIZERS[name]
    return cls(params, **options, **more)


def noise(joined, t):
    """The gradient of a few active and many inactive rows."""
    g = torch.randn(joined.shape, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
    return joined + 0.3 * g - torch.tensor([2.0, 1.0, 0, 0, 0, 0], dtype=torch.float64)[:, None]


def same(a, b):
    return all(np.array_equal(getattr(a, key), getattr(b, key)) for key in ("initial", "step", "atom", "new", "steps"))


def take_step(optimizer, gradients, params):
    def closure():
        for p, g in zip(params, gradients([p.detach() for p in params]), strict=True):
            p.grad = g
        return torch.zeros(())

    optimizer.step(closure)


@pytest.mark.parametrize("way", [{"foreach": False}, {"foreach": True}, {}], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_a_joint_group_is_one_tensor_with_the_joined_rows(name, way):
    """Oracle: the same optimizer's exact loop on the joined matrix, whose groups are its rows."""
    params = tensors()
    alone = nn.Parameter(join([p.detach() for p in params], AXES))
    ours = build(name, joint_group(params), **way)
    oracle = build(name, [alone], regularizer=PSI, foreach=False)
    trackers = ManifoldTracker(ours), ManifoldTracker(oracle)
    changed = False
    for t in range(60):
        take_step(oracle, lambda ws, t=t: [noise(ws[0], t)], [alone])
        take_step(ours, lambda ws, t=t: split(noise(join(ws, AXES), t), ws, AXES), params)
        joined = join([p.detach() for p in params], AXES)
        assert torch.allclose(joined, alone, rtol=0, atol=1e-12)
        assert torch.equal(joined == 0, alone == 0)
        points = [ours.proximal_point(p) for p in params]
        assert torch.allclose(join(points, AXES), oracle.proximal_point(alone), rtol=0, atol=1e-12)
        for p in params:
            assert torch.equal(ours.proximal_structure(p), oracle.proximal_structure(alone))
        changed |= bool((oracle.proximal_structure(alone) == 0).any())
    assert changed
    assert same(trackers[0].trace, trackers[1].trace) and same(trackers[0].prox_trace, trackers[1].prox_trace)
    assert [(layer.name, layer.stop) for layer in trackers[0].layers] == [("0.0", 6)]


@pytest.mark.parametrize("psi", [MCP(0.4, axis=0), SparseGroupLasso(0.4, axis=0)], ids=repr)
def test_other_regularizers_with_groups(psi):
    params = tensors()
    alone = nn.Parameter(join([p.detach() for p in params], AXES))
    ours, oracle = ProxSGD(joint_group(params, psi), lr=0.1), ProxSGD([alone], lr=0.1, regularizer=psi)
    trackers = ManifoldTracker(ours), ManifoldTracker(oracle)
    for t in range(40):
        take_step(oracle, lambda ws, t=t: [noise(ws[0], t)], [alone])
        take_step(ours, lambda ws, t=t: split(noise(join(ws, AXES), t), ws, AXES), params)
    assert torch.allclose(join([p.detach() for p in params], AXES), alone, rtol=0, atol=1e-12)
    assert not alone.all()
    assert same(trackers[0].trace, trackers[1].trace)


def test_split_undoes_join():
    xs = [p.detach() for p in tensors()]
    joined = join(xs, AXES)
    assert joined.shape == (6, 2 * 3 + 1 + 5)
    assert torch.equal(joined[4], torch.cat([xs[0][:, 4].reshape(-1), xs[1][4:5], xs[2][:, 4]]))
    for x, y in zip(xs, split(joined, xs, AXES), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("name", ["RMDA", "RAMDA", "ProxSGD"])
def test_a_saved_state_goes_on_bit_for_bit(name):
    def run(optimizer, params, first, last):
        for t in range(first, last):
            take_step(optimizer, lambda ws, t=t: split(noise(join(ws, AXES), t), ws, AXES), params)

    params = tensors()
    optimizer = build(name, joint_group(params))
    run(optimizer, params, 0, 7)
    stream = io.BytesIO()
    torch.save(optimizer.state_dict(), stream)
    stream.seek(0)
    others = [nn.Parameter(p.detach().clone()) for p in params]
    again = build(name, joint_group(others))
    again.load_state_dict(torch.load(stream))
    twin = copy.deepcopy(optimizer)
    copies = twin.param_groups[0]["params"]
    for other, points in ((optimizer, params), (again, others), (twin, copies)):
        run(other, points, 7, 15)
    for p, q, r in zip(params, others, copies, strict=True):
        assert torch.equal(p, q) and torch.equal(p, r)
    plain = build(name, [{"params": others, "regularizer": PSI}])
    with pytest.raises(ValueError, match="joint"):
        plain.load_state_dict(optimizer.state_dict())


def test_weights_in_half_precision_beside_a_norm_in_single():
    params = [nn.Parameter(torch.ones(4, 3, dtype=torch.bfloat16)), nn.Parameter(torch.ones(4))]
    optimizer = RMDA([{"params": params, "joint": (0, 0), "regularizer": GroupLasso(0.5, axis=0)}], lr=0.1)
    for _ in range(100):
        for p in params:
            p.grad = torch.zeros_like(p)
            p.grad[:2] -= 2
        optimizer.step()
    for p in params:
        assert p[:2].all() and not p[2:].any()


def test_retraining_keeps_the_zeros_of_joint_groups():
    params = tensors()
    optimizer = RMDA(joint_group(params), lr=0.1, momentum=0.5)
    for t in range(40):
        take_step(optimizer, lambda ws, t=t: split(noise(join(ws, AXES), t), ws, AXES), params)
    before = optimizer.proximal_structure(params[0])
    assert 0 < before.sum() < 6
    SparseRetraining(optimizer)
    for t in range(40):
        take_step(
            optimizer, lambda ws, t=t: [5 + noise(torch.zeros(6, 1).double(), t).mean() + 0 * w for w in ws], params
        )
    rows = join([p.detach() for p in params], AXES)
    assert not rows[before == 0].any()
    assert torch.equal(optimizer.proximal_structure(params[2]), (rows != 0).any(1).to(torch.int8))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.plain, self.after = nn.Conv2d(4, 5, 3, bias=False), nn.LayerNorm(5)
        self.up, self.wide = nn.ConvTranspose2d(5, 6, 3), nn.GroupNorm(2, 6)
        self.inner = nn.Sequential(nn.Linear(6, 7), nn.BatchNorm1d(7, affine=False))
        self.head = nn.Linear(7, 3)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        x = self.after(self.plain(x).movedim(1, -1)).movedim(-1, 1)
        return self.head(self.inner(self.wide(self.up(x)).amax((2, 3))))


EXAMPLE = torch.zeros(2, 1, 8, 8)


def test_units_are_weights_bias_and_channel_norm(capsys):
    groups = group_parameters(Net(), GroupLasso(0.2, weights=None), by="unit", example_input=EXAMPLE)
    made = [([name for name, _ in g["params"]], g.get("joint"), g["regularizer"]) for g in groups]
    rows = GroupLasso(0.2, weights=None, axis=0)
    pairs = (0, (0, 0, 0, 1, 1, 1))  # the channels of one group of the norm go together
    assert made[:-1] == [
        (["conv.weight", "conv.bias", "norm.weight", "norm.bias"], (0, 0, 0, 0), rows),
        (
            ["up.weight", "up.bias", "wide.weight", "wide.bias"],
            ((1, pairs[1]), pairs, pairs, pairs),
            Reshaped(rows, (2, 3 * (5 * 9 + 3))),
        ),
        (["inner.0.weight", "inner.0.bias"], (0, 0), rows),
    ]
    left = ["plain.weight", "after.weight", "after.bias", "head.weight", "head.bias"]
    assert made[-1] == (left, None, None)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("4 groups along axis 0") and "layer normalization over it in after" in printed[4]
    assert any(line.startswith("up.weight") and line.endswith("2 groups along axis 1") for line in printed)
    assert printed[-1].endswith("not regularized: an output of the network")
    assert len(printed) == sum(1 for _ in Net().parameters())


def test_units_of_tied_and_frozen_layers():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    model[1].weight = model[0].weight
    model[2].bias.requires_grad_(False)
    groups = group_parameters(model, GroupLasso(0.1), by="unit", verbose=False)
    assert [[name for name, _ in g["params"]] for g in groups] == [
        ["2.weight"], ["0.weight", "0.bias", "1.bias", "2.bias", "3.weight", "3.bias"],
    ]  # fmt: skip
    traced = group_parameters(model, GroupLasso(0.1), by="unit", verbose=False, example_input=torch.ones(2, 3))
    assert [[name for name, _ in g["params"]] for g in traced] == [[name for name, _ in g["params"]] for g in groups]
    optimizer = RMDA(groups, lr=0.1)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()


def test_a_network_trained_by_units_loses_whole_units():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 1)).double()
    optimizer = RMDA(group_parameters(model, GroupLasso(0.02), by="unit", verbose=False), lr=0.1)
    x = torch.randn(64, 4, dtype=torch.float64)
    y = x[:, :1].relu() - x[:, 1:2].relu()
    for _ in range(400):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    dead = ~model[0].weight.detach().any(1)
    assert 0 < dead.sum() < 12
    for p in (model[0].bias, model[1].weight, model[1].bias):
        assert torch.equal(p.detach() == 0, dead)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint": (1, 0)}, "one axis for each"),
        ({"joint": 0}, "one axis for each"),
        ({"joint": (0, 0, 1)}, "different numbers of slices"),
        ({"joint": (1, 0, 2)}, "at most 1"),
        ({"regularizer": GroupLasso(0.1, axis=1)}, "axis=0"),
        ({"regularizer": L1(0.1)}, "axis=0"),
        ({"regularizer": None}, "axis=0"),
        ({"fused": True}, "fused=None"),
        ({"regularizer": GroupLasso(0.1, axis=0, weights=(1.0, 2.0))}, "does not fit"),
    ],
    ids=str,
)
def test_what_is_refused(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        RMDA([joint_group(tensors())[0] | change])


def test_one_precision_and_a_misspelling():
    params = tensors()
    params[1] = nn.Parameter(params[1].detach().float())
    with pytest.raises(ValueError, match="one precision"):
        RMDA(joint_group(params))
    with pytest.raises(ValueError, match="did you mean 'joint'"):
        RMDA([{"params": tensors(), "jont": AXES, "regularizer": PSI}])
    with pytest.raises(TypeError, match="integer"):
        RMDA([{"params": tensors(), "joint": (0.0, 0, 1), "regularizer": PSI}])


def test_a_part_without_gradient_is_named_before_anything_changes():
    params = tensors()
    other = nn.Parameter(torch.ones(2))
    optimizer = RMDA([{"params": [other]}, *joint_group(params)])
    for p in (other, *params[:2]):
        p.grad = torch.ones_like(p)
    before = [p.detach().clone() for p in (other, *params)]
    with pytest.raises(RuntimeError, match="joint"):
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip((other, *params), before, strict=True))
    for p in params:
        p.grad = None
    optimizer.step()  # a group that no gradient reaches at all is left alone
    assert torch.equal(params[0], before[1]) and not torch.equal(other, before[0])


def test_units_need_groups_and_two_layers():
    with pytest.raises(ValueError, match="regularizer with groups"):
        group_parameters(Net(), L1(0.1), by="unit")
    with pytest.raises(ValueError, match="two layers"):
        group_parameters(nn.Linear(2, 2), GroupLasso(0.1), by="unit")


def test_the_option_is_of_groups_alone():
    assert optim.RMDA(tensors()).param_groups[0]["joint"] is None
