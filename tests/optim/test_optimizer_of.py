"""A method is its own optimizer: the accelerated ones are held to it, and a user's own does all that they do."""

import copy
from dataclasses import dataclass, fields

import pytest
import torch
from torch import nn

from manifold_id import methods
from manifold_id.methods import Method, State
from manifold_id.optim import FAST, group_parameters, optimizer_of, plain_optimizer_of
from manifold_id.regularizers import L1, MCP, GroupLasso
from manifold_id.tracking import ManifoldTracker

OPTIONS = {
    methods.RMDA: {"lr": 0.05, "momentum": 0.3},
    methods.RAMDA: {"lr": 0.01, "momentum": 0.3},
    methods.ProxSGD: {"lr": 0.05, "momentum": 0.2},
    methods.ProxAdamW: {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True},
    methods.ProxSSI: {"lr": 0.01, "weight_decay": 0.1},
    methods.NormalMapSGD: {"lr": 0.1, "prox_step": 0.5},
}


@dataclass(frozen=True)
class Averaged(Method):
    """A user's own: proximal SGD that shows the running mean of its iterates."""

    lr: float = 0.1
    keep: float = 0.5

    def __post_init__(self):
        if not 0 < self.keep < 1:
            raise ValueError(f"keep={self.keep!r} must be in (0, 1)")

    def init(self, w0):
        return State(0, w0, w0, 0 * w0)

    def update(self, oracle, state, regularizer):
        g = oracle(state.w)
        z = regularizer.prox(state.w - self.lr * g, self.lr)
        return State(state.t + 1, self.keep * state.w + (1 - self.keep) * z, z, g)


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


def train(model, optimizer, steps=40, start=0):
    for step in range(start, start + steps):
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(step)).to(model[0].weight.dtype)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x).float(), (x[:, 0] > 0).long()).backward()
        optimizer.step()


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("method", OPTIONS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("psi", [GroupLasso(0.2, axis=1), L1(0.05)], ids=["group", "l1"])
def test_accelerated_optimizers_take_the_methods_own_steps(method, psi):
    runs = []
    for kind, more in ((FAST[method], {"foreach": False}), (plain_optimizer_of(method), {})):
        model = network(torch.float64)
        optimizer = kind(group_parameters(model, psi, by="input_channel"), **OPTIONS[method], **more)
        train(model, optimizer)
        runs.append((weights(model), torch.cat([optimizer.proximal_point(p).flatten() for p in model.parameters()])))
    for fast, plain in zip(*runs, strict=True):
        assert torch.equal(fast, plain)
    assert (runs[0][1] == 0).any()


def test_the_table_names_each_method_once_and_the_rest_are_plain():
    assert set(OPTIONS) <= set(FAST) and all(FAST[m].__name__ == m.__name__ for m in FAST)
    assert optimizer_of(methods.RMDA) is FAST[methods.RMDA]
    assert optimizer_of(Averaged) is plain_optimizer_of(Averaged) is optimizer_of(Averaged)


def test_a_users_method_trains_is_tracked_and_resumes_bit_for_bit():
    def make(model):
        return optimizer_of(Averaged)(group_parameters(model, GroupLasso(0.05), by="input_channel"), lr=0.3, keep=0.2)

    whole = network()
    optimizer = make(whole)
    tracker = ManifoldTracker(optimizer)
    train(whole, optimizer, 60)
    assert tracker.trace.steps == 60
    assert torch.equal(optimizer.gradient_estimate(whole[0].weight), whole[0].weight.grad)
    codes = optimizer.proximal_structure(whole[0].weight)
    assert codes.tolist() == (optimizer.proximal_point(whole[0].weight) != 0).any(dim=0).tolist()
    half = network()
    first = make(half)
    train(half, first, 25)
    saved = copy.deepcopy((half.state_dict(), first.state_dict()))
    again = network()
    second = make(again)
    again.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    train(again, second, 35, start=25)
    assert torch.equal(weights(whole), weights(again))


def test_groups_schedulers_half_precision_and_joint_groups():
    model = network(torch.bfloat16)
    optimizer = optimizer_of(Averaged)(
        [
            {"params": [model[0].weight, model[0].bias], "regularizer": GroupLasso(0.01, axis=0), "joint": (0, 0)},
            {"params": [model[2].weight, model[2].bias], "lr": 0.0, "keep": 0.9},
        ],
        lr=0.2,
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    before = model[2].weight.clone()
    train(model, optimizer, 20)
    assert torch.equal(model[2].weight, before)  # lr = 0
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.1 and optimizer.param_groups[1]["keep"] == 0.9
    exact = optimizer.state[model[0].weight]["exact"]
    assert exact.dtype == torch.float32 and torch.equal(exact.to(torch.bfloat16), model[0].weight)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda p: optimizer_of(3), TypeError, "method=3 must be a class of methods"),
        (lambda p: optimizer_of(Method), TypeError, "must be a class of methods: a frozen dataclass"),
        (lambda p: plain_optimizer_of(methods.RDA), TypeError, "RDA has no field 'lr'"),
        (lambda p: optimizer_of(Averaged)([p], keep=2.0), ValueError, r"keep=2.0 must be in \(0, 1\)"),
        (lambda p: optimizer_of(Averaged)([p], kep=0.5), TypeError, "Averaged has no 'kep': it takes lr, keep"),
        (lambda p: optimizer_of(Averaged)([{"params": [p], "keeep": 1}]), ValueError, "did you mean 'keep'"),
        (lambda p: plain_optimizer_of(methods.ProxSAGA)([p], lr=0.1), NotImplementedError, "ProxSAGA asks for"),
        (lambda p: plain_optimizer_of(methods.RAMDA)([p], regularizer=MCP(0.1, axis=1)), NotImplementedError, "metric"),
    ],
)
def test_what_cannot_be_an_optimizer_says_so_before_the_first_step(act, error, message):
    with pytest.raises(error, match=message):
        act(nn.Parameter(torch.ones(3, 2)))


def test_arguments_are_the_fields_of_the_method():
    import inspect

    names = list(inspect.signature(optimizer_of(Averaged)).parameters)
    assert names[:2] == ["params", "regularizer"] and {f.name for f in fields(Averaged)} <= set(names)
