"""Every optimizer, in each of its implementations, follows the published update on recorded gradients to 1e-12."""

import math

import numpy as np
import pytest
import torch
from optim import reference_rules as rules

from manifold_id import optim
from manifold_id.regularizers import L1, GroupLasso, NuclearNorm

STEPS = 45
WAYS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "default": {}}
PENALTIES = {
    "none": (None, rules.NoPenalty(), list(rules.SHAPES)),
    "l1": (L1(0.2), rules.Lasso(0.2), list(rules.SHAPES)),
    "input channels": (GroupLasso(0.15, axis=1), rules.Groups(0.15, 1), ["conv", "linear"]),
    "output channels": (GroupLasso(0.15, axis=0), rules.Groups(0.15, 0), ["conv", "linear", "bias"]),
    "nuclear": (NuclearNorm(0.3), rules.Nuclear(0.3), ["linear"]),
}
METHODS = {
    "RMDA": (optim.RMDA, {"lr": 0.3, "momentum": 1.0}, rules.rmda, {"lr": 0.3, "c": 1.0}),
    "RMDA averaged": (optim.RMDA, {"lr": 0.3, "momentum": 0.1}, rules.rmda, {"lr": 0.3, "c": 0.1}),
    "RDA": (optim.RDA, {"gamma": 2.0}, rules.rda, {"gamma": 2.0}),
    "ProxSGD": (optim.ProxSGD, {"lr": 0.2, "momentum": 1.0}, rules.prox_sgd, {"lr": 0.2, "c": 1.0}),
    "ProxSGD momentum": (optim.ProxSGD, {"lr": 0.2, "momentum": 0.1}, rules.prox_sgd, {"lr": 0.2, "c": 0.1}),
    "NormalMapSGD": (optim.NormalMapSGD, {"lr": 0.4}, rules.normal_map, {"lr": 0.4}),
}
METRIC = {
    "RAMDA": (optim.RAMDA, {"lr": 0.1, "momentum": 1.0}, rules.ramda, {"lr": 0.1, "c": 1.0}),
    "RAMDA averaged": (
        optim.RAMDA,
        {"lr": 0.1, "momentum": 0.2, "eps": 1e-3},
        rules.ramda,
        {"lr": 0.1, "c": 0.2, "eps": 1e-3},
    ),
    "ProxAdamW": (
        optim.ProxAdamW,
        {"lr": 0.02, "weight_decay": 0.1},
        rules.prox_adamw,
        {"lr": 0.02, "weight_decay": 0.1},
    ),
    "ProxAdamW amsgrad": (
        optim.ProxAdamW,
        {"lr": 0.02, "amsgrad": True, "betas": (0.8, 0.9)},
        rules.prox_adamw,
        {"lr": 0.02, "amsgrad": True, "betas": (0.8, 0.9)},
    ),
    "ProxSSI": (optim.ProxSSI, {"lr": 0.02, "weight_decay": 0.1}, rules.prox_ssi, {"lr": 0.02, "weight_decay": 0.1}),
    "YangProxSGD": (optim.YangProxSGD, {"lr": 0.5}, rules.yang, {"eps": 0.5}),
}
CASES = [(m, p) for m in METHODS for p in PENALTIES] + [(m, p) for m in METRIC for p in PENALTIES if p != "nuclear"]


def recorded(names, seed=0):
    """Initial points and gradients; the gradients of every third column stay small, so that groups are off."""
    rng = np.random.default_rng(seed)
    start, grads = {}, {}
    for name in names:
        shape = rules.SHAPES[name]
        start[name] = rng.normal(size=shape) * 0.5
        grads[name] = rng.normal(size=(STEPS, *shape)) + rng.normal(size=shape)
        grads[name][:, ..., ::3] *= 1e-2
        if len(shape) > 1:
            grads[name][:, :, 1] *= 1e-2
    return start, grads


def play(optimizer, params, grads, after=lambda t: None, steps=STEPS):
    """Feed the gradients; yield (parameters, proximal points) after each step."""
    for t in range(steps):
        for name, p in params.items():
            p.grad = torch.from_numpy(grads[name][t].copy())
        optimizer.step()
        yield (
            {n: p.detach().numpy().copy() for n, p in params.items()},
            {n: optimizer.proximal_point(p).numpy() for n, p in params.items()},
        )
        after(t + 1)


def compare(ours, references, tolerance=1e-12):
    for t, (points, proximal) in enumerate(ours):
        for name, reference in references.items():
            w, z = next(reference)
            scale = 1 + np.abs(w).max()
            assert np.abs(points[name] - w).max() <= tolerance * scale, (name, t)
            assert np.abs(proximal[name] - z).max() <= tolerance * scale, (name, t)
            assert np.array_equal(proximal[name] == 0, z == 0), (name, t)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("method", "penalty"), CASES)
def test_follows_the_published_update(method, penalty, way):
    cls, options, rule, settings = {**METHODS, **METRIC}[method]
    regularizer, psi, names = PENALTIES[penalty]
    start, grads = recorded(names)
    params = {n: torch.nn.Parameter(torch.from_numpy(start[n].copy())) for n in names}
    optimizer = cls(params.values(), regularizer=regularizer, **options, **WAYS[way])
    references = {n: rule(start[n], grads[n], psi, **settings) for n in names}
    compare(play(optimizer, params, grads), references)


def test_the_recorded_gradients_switch_groups_off_and_on():
    start, grads = recorded(["conv", "linear"])
    for name in start:
        patterns = {
            tuple(np.abs(z).sum(axis=tuple(a for a in range(z.ndim) if a != 1)) > 0)
            for _, z in rules.rmda(start[name], grads[name], rules.Groups(0.15, 1), lr=0.3)
        }
        assert len(patterns) > 1, name
        assert any(not all(p) and any(p) for p in patterns), name


@pytest.mark.parametrize("way", WAYS)
def test_sda_is_dual_averaging_without_penalty(way):
    start, grads = recorded(rules.SHAPES)
    params = {n: torch.nn.Parameter(torch.from_numpy(start[n].copy())) for n in start}
    optimizer = optim.SDA(params.values(), gamma=0.7, foreach=WAYS[way].get("foreach"))
    references = {n: rules.rda(start[n], grads[n], rules.NoPenalty(), gamma=0.7) for n in start}
    compare(play(optimizer, params, grads), references)


def stages_by_rule_a(t, marks=(12, 30), lr=0.3, c=0.05, factor=0.1):
    stage = sum(t > m for m in marks)
    for _ in range(stage):
        lr, c = lr * factor, min(c / factor, 1)
    return t == 1 or t - 1 in marks, lr, c


def stages_by_rule_b(t, marks=(12, 30), lr=0.3, c=0.3, factor=0.1):
    stage = sum(t > m for m in marks)
    if stage == len(marks):
        c = min(c * math.sqrt(t - marks[-1]), 1)
    return t == 1 or t - 1 in marks, lr * factor**stage, c


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("penalty", ["l1", "input channels", "nuclear"])
@pytest.mark.parametrize(
    ("momentum", "c", "stages"), [("divide", 0.05, stages_by_rule_a), ("sqrt", 0.3, stages_by_rule_b)]
)
def test_rmda_with_restarts_and_momentum_growth(penalty, momentum, c, stages, way):
    regularizer, psi, names = PENALTIES[penalty]
    start, grads = recorded(names, seed=1)
    params = {n: torch.nn.Parameter(torch.from_numpy(start[n].copy())) for n in names}
    optimizer = optim.RMDA(params.values(), lr=0.3, momentum=c, regularizer=regularizer, **WAYS[way])
    schedule = optim.StageSchedule(optimizer, [12, 30], factor=0.1, momentum=momentum)
    references = {n: rules.rmda(start[n], grads[n], psi, stages=stages) for n in names}
    steps = play(optimizer, params, grads, after=lambda t: schedule.step())
    for t, (points, _) in enumerate(steps):  # right after a restart the proximal point is the anchor
        for name in names:
            w, _ = next(references[name])
            assert np.abs(points[name] - w).max() <= 1e-12 * (1 + np.abs(w).max()), (name, t)


@pytest.mark.parametrize("way", WAYS)
def test_ramda_with_restarts_scales_eps_as_its_authors_do(way):
    names = ["conv", "linear"]
    start, grads = recorded(names, seed=2)
    params = {n: torch.nn.Parameter(torch.from_numpy(start[n].copy())) for n in names}
    optimizer = optim.RAMDA(
        params.values(), lr=0.1, momentum=0.3, eps=1e-2, regularizer=GroupLasso(0.15, axis=1), **WAYS[way]
    )
    schedule = optim.StageSchedule(optimizer, [12, 30], momentum="sqrt")

    def stages(t):
        return *stages_by_rule_b(t, lr=0.1), 1e-2 * 0.1 ** sum(t > m for m in (12, 30))

    references = {n: rules.ramda(start[n], grads[n], rules.Groups(0.15, 1), stages=stages) for n in names}
    for t, (points, _) in enumerate(play(optimizer, params, grads, after=lambda t: schedule.step())):
        for name in names:
            w, _ = next(references[name])
            assert np.abs(points[name] - w).max() <= 1e-12 * (1 + np.abs(w).max()), (name, t)


@pytest.mark.parametrize("foreach", [False, True, None])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_storm_asks_for_both_points_of_one_minibatch(penalty, foreach):
    regularizer, psi, names = PENALTIES[penalty]
    start, grads = recorded(names, seed=3)
    params = {n: torch.nn.Parameter(torch.from_numpy(start[n].copy())) for n in names}
    optimizer = optim.ProxSTORM(params.values(), lr=0.1, regularizer=regularizer, foreach=foreach)
    curvature = {n: 1 + np.arange(start[n].size).reshape(start[n].shape) % 3 for n in names}

    def oracle(name):
        return lambda t, w: grads[name][t - 1] * (1 + 0.1 * np.tanh(w)) + curvature[name] * w

    references = {n: rules.storm(start[n], oracle(n), STEPS, psi, lr=0.1) for n in names}
    calls = []
    for t in range(1, STEPS + 1):

        def closure(t=t):
            calls.append(t)
            for n, p in params.items():
                p.grad = torch.from_numpy(oracle(n)(t, p.detach().numpy()))
            return float(t)

        assert optimizer.step(closure) == t
        for name in names:
            w, _ = next(references[name])
            assert np.abs(params[name].detach().numpy() - w).max() <= 1e-12 * (1 + np.abs(w).max()), (name, t)
    assert len(calls) == 2 * STEPS - 1
