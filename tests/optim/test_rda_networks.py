"""RDA on networks: the random start, why it is needed, dual averaging as decayed SGD, sparse retraining."""

import math

import pytest
import torch
from torch import nn

from manifold_id import optim
from manifold_id.regularizers import L1


def mlp(bias=False):
    return nn.Sequential(nn.Linear(6, 16, bias=bias), nn.ReLU(), nn.Linear(16, 3, bias=bias))


def loss_of(model):
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(32, 6, generator=random), torch.randint(3, (32,), generator=random)
    return nn.functional.cross_entropy(model(x), y)


def train(model, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()


def zero(model):
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    return model


def test_from_zero_weights_nothing_moves():
    model = zero(mlp())
    train(model, optim.RDA(model.parameters(), lr=1.0), 3)
    assert all(torch.count_nonzero(p) == 0 for p in model.parameters())
    biased = zero(mlp(bias=True))
    train(biased, optim.RDA(biased.parameters(), lr=1.0), 3)  # only the output bias learns: class priors
    assert torch.count_nonzero(biased[2].bias) == 3
    assert all(torch.count_nonzero(p) == 0 for p in (biased[0].weight, biased[0].bias, biased[2].weight))


@pytest.mark.parametrize("lam", [0.002, 0.02])
def test_a_larger_start_lets_more_weights_survive_the_first_step(lam):
    survivors = []
    for s in (0.3, 1.0, 3.0):
        model = optim.rda_init_(mlp(), s, generator=torch.Generator().manual_seed(0))
        train(model, optim.RDA(model.parameters(), lr=1.0, regularizer=L1(lam)), 1)
        survivors.append(sum(int(torch.count_nonzero(p)) for p in model.parameters()))
    assert survivors[0] < survivors[1] < survivors[2]


def test_dual_averaging_is_sgd_with_decay():
    """Lemma 1 of Jia et al.: w_{t+1} = sqrt((t-1)/t) w_t - g_t / (gamma sqrt t) for t >= 2; not for t = 1."""
    p = nn.Parameter(torch.full((5,), 3.0, dtype=torch.float64))
    optimizer = optim.SDA([p], gamma=2.0)
    for t in range(1, 200):
        w = p.detach().clone()
        p.grad = torch.randn(5, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
        optimizer.step()
        expected = math.sqrt((t - 1) / t) * w - p.grad / (2.0 * math.sqrt(t))
        assert torch.allclose(p, expected, rtol=0, atol=1e-13)
        if t == 1:
            assert not torch.allclose(p, w - p.grad / 2.0, atol=1.0)


@pytest.mark.parametrize(
    ("bound", "width"),
    [
        ("s*sqrt(3/k)", lambda k: 2 * math.sqrt(3 / k)),
        ("sqrt(3*s/k)", lambda k: math.sqrt(6 / k)),
        ("s/sqrt(k)", lambda k: 2 / math.sqrt(k)),
    ],
)
def test_the_start_is_uniform_with_the_chosen_bound(bound, width):
    layers = {
        nn.Linear(50, 400): 50,
        nn.Conv2d(6, 400, 3): 54,
        nn.Conv2d(6, 400, 3, groups=2): 27,
        nn.ConvTranspose1d(6, 400, 5, groups=2): 15,
    }
    for layer, k in layers.items():
        norm = nn.BatchNorm1d(3)
        assert optim.rda_init_(nn.Sequential(layer, norm), 2.0, bound, torch.Generator().manual_seed(0))[0] is layer
        for p in (layer.weight, layer.bias):
            top = p.detach().abs().max().item()
            assert 0.97 * width(k) < top <= width(k)
        assert layer.weight.detach().std().item() == pytest.approx(width(k) / math.sqrt(3), rel=0.05)
        assert torch.equal(norm.weight, torch.ones(3))


def test_errors_of_the_start():
    with pytest.raises(ValueError, match="s=0 must be"):
        optim.rda_init_(mlp(), 0)
    with pytest.raises(ValueError, match="bound='s' is not known"):
        optim.rda_init_(mlp(), 1, "s")
    with pytest.raises(ValueError, match="module=ReLU has no convolution or linear layer"):
        optim.rda_init_(nn.ReLU())


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("cls", [optim.RDA, optim.RMDA, optim.ProxSGD])
def test_sparse_retraining_keeps_every_zero(cls, restart):
    model = optim.rda_init_(mlp(bias=True), 3.0, generator=torch.Generator().manual_seed(0))
    weights = [model[0].weight, model[2].weight]
    biases = [model[0].bias, model[2].bias]
    optimizer = cls([{"params": weights, "regularizer": L1(0.01)}, {"params": biases}], lr=0.2)
    train(model, optimizer, 20)
    with torch.no_grad():
        weights[0][3] = 0  # a false zero: permanent
        biases[0][3] = 0  # not structure: free
    first = model[0].weight.detach() != 0
    mode = optim.SparseRetraining(optimizer, restart=restart)
    counts = []
    for _ in range(20):
        train(model, optimizer, 1)
        counts.append(sum(int(torch.count_nonzero(p)) for p in weights))
        assert not (weights[0][~first]).any()
    assert counts == sorted(counts, reverse=True)
    assert not weights[0][3].any()
    state = mode.state_dict()
    mode.remove()
    train(model, optimizer, 30)
    again = optim.SparseRetraining(optimizer)
    again.load_state_dict(state)
    train(model, optimizer, 1)
    assert not weights[0][3].any()
    with pytest.raises(ValueError, match="other shapes"):
        again.load_state_dict({"masks": [torch.ones(2)]})
    with pytest.raises(ValueError, match="no param group with a regularizer"):
        optim.SparseRetraining(cls([nn.Parameter(torch.ones(2))]))
    with pytest.raises(TypeError, match="optimizer=None must be a torch optimizer"):
        optim.SparseRetraining(None)


def test_sparse_retraining_of_half_precision_weights():
    p = nn.Parameter(torch.tensor([0.0, 1.0, 2.0], dtype=torch.bfloat16))
    optimizer = optim.RMDA([p], lr=0.1, momentum=0.5, regularizer=L1(1e-3))
    optim.SparseRetraining(optimizer)
    for _ in range(5):
        p.grad = torch.full_like(p, 0.5)
        optimizer.step()
        assert p[0] == 0
        assert p[2] < 2
