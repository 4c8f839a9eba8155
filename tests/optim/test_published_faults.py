"""Faults that users met in published implementations of these methods; each is refused or works here."""

import io
import math

import numpy as np
import pytest
import torch
from optim import reference_rules as rules
from torch import nn

from manifold_id import optim
from manifold_id.regularizers import L1, MCP, GroupLasso, NuclearNorm

DUAL = {"RMDA": (optim.RMDA, 0.1), "RAMDA": (optim.RAMDA, 0.01)}
METRIC = {"RAMDA": optim.RAMDA, "ProxAdamW": optim.ProxAdamW, "ProxSSI": optim.ProxSSI}
WAYS = ({"foreach": False}, {"foreach": True}, {})


def parameter(*shape, seed=0, dtype=torch.float32):
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype))


def steps(optimizer, params, count=1, scale=1.0):
    for t in range(count):
        for i, p in enumerate(params):
            g = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * t + i))
            p.grad = (scale * g).to(p.dtype)
        optimizer.step()


@pytest.mark.parametrize("axis", [0, 1, -3, 2])
@pytest.mark.parametrize("cls", [optim.RMDA, optim.RAMDA, optim.ProxSGD, optim.ProxAdamW])
def test_convolutions_in_any_direction(cls, axis):
    p = parameter(6, 4, 3, 3)
    optimizer = cls([p], lr=0.1, regularizer=GroupLasso(0.5, axis=axis))
    steps(optimizer, [p], 5)
    assert torch.isfinite(p).all()


@pytest.mark.parametrize("name", DUAL)
def test_restart_with_a_convolution(name):
    cls, lr = DUAL[name]
    p = parameter(4, 3, 3, 3)
    optimizer = cls([p], lr=lr, momentum=0.1, regularizer=GroupLasso(0.01, axis=1))
    schedule = optim.StageSchedule(optimizer, [2])
    for _ in range(4):
        steps(optimizer, [p])
        schedule.step()
    assert optimizer.state[p]["step"] == 2


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("name", METRIC)
def test_a_layer_all_of_whose_groups_are_off(name, way):
    p = parameter(5, 4)
    optimizer = METRIC[name]([p], regularizer=GroupLasso(1e4, axis=1), **way)
    steps(optimizer, [p], 3)
    assert torch.count_nonzero(optimizer.proximal_point(p)) == 0


@pytest.mark.parametrize("name", DUAL)
def test_restart_passes_over_frozen_and_unused_parameters(name):
    cls, lr = DUAL[name]
    used, frozen, unused = parameter(3, 2), parameter(3, 2, seed=1).requires_grad_(False), parameter(3, 2, seed=2)
    optimizer = cls([used, frozen, unused], lr=lr, regularizer=L1(0.1))
    optimizer.restart()
    steps(optimizer, [used])
    optimizer.restart()
    assert unused not in optimizer.state
    assert torch.equal(unused, parameter(3, 2, seed=2))
    assert torch.equal(optimizer.proximal_point(frozen), frozen)


def test_no_milestones():
    p = parameter(3)
    optimizer = optim.RMDA([p], lr=0.5, momentum=0.1)
    for rule in ("constant", "divide"):
        schedule = optim.StageSchedule(optimizer, [], momentum=rule)
        steps(optimizer, [p])
        schedule.step()
        assert optimizer.param_groups[0]["lr"] == 0.5
        assert optimizer.param_groups[0]["momentum"] == 0.1


def test_parameters_whose_memory_is_not_contiguous():
    for p in (
        nn.Parameter(torch.randn(6, 8).T),
        nn.Parameter(torch.randn(6, 8)[:, ::2]),
        nn.Parameter(torch.randn(1, 6).expand(1, 6)),
    ):
        for cls in (optim.RMDA, optim.RAMDA):
            optimizer = cls([p], regularizer=GroupLasso(0.1, axis=1))
            steps(optimizer, [p], 2)
            assert torch.isfinite(p).all()


def test_nuclear_norm_of_a_convolution():
    p = parameter(4, 3, 2, 2)
    as_matrix = optim.Reshaped(NuclearNorm(1.5), (4, 12))
    optimizer = optim.RMDA([p], lr=0.1, regularizer=as_matrix)
    steps(optimizer, [p], 30, scale=0.1)
    singular = torch.linalg.svdvals(p.detach().reshape(4, 12))
    assert (singular > 1e-5).sum() < 4
    with pytest.raises(
        NotImplementedError, match=r"RAMDA needs the prox in a diagonal metric.*RMDA and ProxSGD do without"
    ):
        optim.RAMDA([parameter(4, 3)], regularizer=MCP(0.5, axis=1))
    with pytest.raises(ValueError, match="does not fit parameter 0"):
        optim.RMDA([parameter(4)], regularizer=NuclearNorm(0.5))


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize(
    "cls",
    [
        optim.RMDA,
        optim.RAMDA,
        optim.RDA,
        optim.ProxSGD,
        optim.YangProxSGD,
        optim.ProxAdamW,
        optim.ProxSSI,
        optim.NormalMapSGD,
    ],
)
def test_no_nan_at_a_zero_group_and_step_zero(cls, way):
    way = {} if cls in (optim.RDA, optim.YangProxSGD, optim.NormalMapSGD) and "fused" in way else way
    p = nn.Parameter(torch.zeros(4, 3))
    with torch.no_grad():
        p[:, 1] = 1
    optimizer = cls([p], lr=0.0, regularizer=GroupLasso(0.1, axis=1), **way)
    for g in (torch.zeros(4, 3), torch.ones(4, 3)):
        p.grad = g
        optimizer.step()
        assert torch.isfinite(p).all()
        assert torch.isfinite(optimizer.proximal_point(p)).all()
    if cls not in (optim.RDA, optim.YangProxSGD, optim.NormalMapSGD):  # whose prox does not vanish with lr
        assert torch.equal(p[:, 1], torch.ones(4))
    optimizer.param_groups[0]["lr"] = 0.1
    steps(optimizer, [p], 3)
    assert torch.isfinite(p).all()


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("c", [0.1, 0.5])
def test_a_group_that_stays_off_becomes_exactly_zero(c, way):
    p = nn.Parameter(torch.ones(20, 3))
    optimizer = optim.RMDA([p], lr=0.1, momentum=c, regularizer=GroupLasso(1.0, axis=1), **way)
    first = None
    for t in range(900):
        p.grad = torch.zeros_like(p)
        p.grad[:, 0] = 5 * (p.detach()[:, 0] - 2)
        optimizer.step()
        if first is None and not optimizer.proximal_point(p)[:, 1:].any():
            first = t
        if t % 32 == 0:  # never slow: no denormals survive the flush
            assert not ((p != 0) & (p.abs() < torch.finfo(p.dtype).tiny)).any()
    assert first < 50  # the proximal point is off at once, the average follows to an exact zero
    assert torch.count_nonzero(p[:, 1:]) == 0


def test_each_group_keeps_its_own_base_momentum():
    p, q = parameter(3), parameter(3)
    optimizer = optim.RMDA([{"params": [p], "momentum": 0.1}, {"params": [q], "momentum": 0.3}])
    schedule = optim.StageSchedule(optimizer, [1], momentum="sqrt")
    steps(optimizer, [p, q])
    schedule.step()
    seen = []
    for _ in range(12):
        seen.append([group["momentum"] for group in optimizer.param_groups])
        steps(optimizer, [p, q])
    assert np.allclose(seen, [[min(0.1 * math.sqrt(j), 1), min(0.3 * math.sqrt(j), 1)] for j in range(1, 13)])
    assert seen[-1][1] == 1


def test_a_gradient_that_first_appears_late_starts_from_its_own_step_one():
    early, late = parameter(3, dtype=torch.float64), parameter(3, dtype=torch.float64)
    optimizer = optim.RMDA([early, late], lr=0.1)
    for _ in range(10):
        early.grad = torch.ones_like(early)
        optimizer.step()
    before = late.detach().clone()
    late.grad = torch.ones_like(late)
    optimizer.step()
    assert torch.allclose(late, before - 0.1, atol=1e-15)


def test_half_precision_loses_no_small_steps():
    p = nn.Parameter(torch.ones(8, dtype=torch.bfloat16))
    optimizer = optim.RMDA([p], lr=1e-3, momentum=0.01)
    for _ in range(800):
        p.grad = torch.full_like(p, 1e-3)
        optimizer.step()
    assert optimizer.state[p]["total"].dtype == torch.float32
    q = nn.Parameter(torch.ones(8, dtype=torch.float64))
    exact = optim.RMDA([q], lr=1e-3, momentum=0.01)
    for _ in range(800):
        q.grad = torch.full_like(q, float(torch.tensor(1e-3, dtype=torch.bfloat16)))
        exact.step()
    roundings = 800 * torch.finfo(torch.float32).eps / 4  # of numbers just below 1, half a unit each
    assert torch.allclose(optimizer.state[p]["exact"].double(), q, rtol=0, atol=roundings)
    assert q[0] < 1 - 1e-4  # one step is far below bfloat16's resolution


@pytest.mark.parametrize("name", ["RMDA", "RAMDA"])
def test_state_loads_without_unpickling(name):
    cls, lr = DUAL[name]
    p = parameter(4, 3)
    optimizer = cls([p], lr=lr, regularizer=GroupLasso(0.1, axis=1, weights=(1.0, 2.0, 0.0)))
    steps(optimizer, [p], 2)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    cls([p], lr=lr, regularizer=GroupLasso(0.1, axis=1, weights=(1.0, 2.0, 0.0))).load_state_dict(
        torch.load(file, weights_only=True)
    )


@pytest.mark.parametrize("cls", [optim.RMDA, optim.RAMDA, optim.RDA, optim.ProxSGD, optim.NormalMapSGD])
def test_weight_decay_is_the_gradient_of_a_ridge(cls):
    p, q = parameter(4, 3, dtype=torch.float64), parameter(4, 3, dtype=torch.float64)
    decayed = cls([p], lr=0.1, weight_decay=0.3, regularizer=L1(0.01))
    plain = cls([q], lr=0.1, regularizer=L1(0.01))
    for t in range(20):
        g = torch.randn(4, 3, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
        p.grad, q.grad = g.clone(), g + 0.3 * q.detach()
        decayed.step()
        plain.step()
    assert torch.allclose(p, q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("condition", [1e2, 1e6])
def test_the_subproblem_of_ramda_is_solved_to_optimality(condition, way):
    """The inclusion -V - D (z - W0) in alpha d psi(z), group by group, in float64."""
    w = parameter(6, 8, 3, dtype=torch.float64)
    optimizer = optim.RAMDA([w], lr=0.1, regularizer=GroupLasso(0.02, axis=1), **way)
    scale = torch.logspace(0, -math.log10(condition) / 2, 6, dtype=torch.float64).reshape(6, 1, 1)
    for t in range(30):
        w.grad = torch.randn(6, 8, 3, generator=torch.Generator().manual_seed(t), dtype=torch.float64) * scale
        w.grad[:, ::3] *= 1e-3
        optimizer.step()
    state = optimizer.state[w]
    z = w.detach()
    d = state["squares"].pow(1 / 3) + 1e-6
    force = -state["total"] - d * (z - state["anchor"])
    limit = state["weight"] * 0.02 * math.sqrt(18)
    off = ~z.ne(0).any(2).any(0)
    assert 0 < off.sum() < 8
    for i in range(8):
        if off[i]:
            assert force[:, i].norm() <= limit * (1 + 1e-12)
        else:
            assert (force[:, i] - limit * z[:, i] / z[:, i].norm()).norm() <= 1e-11 * limit


def test_the_reported_structure_is_the_regularized_group_s():
    p = parameter(5, 6, 3, 3)
    psi = GroupLasso(0.3, axis=1)
    optimizer = optim.ProxSGD([p], lr=0.3, regularizer=psi)
    steps(optimizer, [p], 10, scale=0.1)
    off = [i for i in range(6) if not p.detach()[:, i].any()]
    assert off
    assert [i for i, code in enumerate(psi.structure(p.detach()).tolist()) if code == 0] == off


def test_the_transcription_itself_solves_the_metric_prox():
    """Guard of the oracle: optimality of the transcription's own bisection."""
    rng = np.random.default_rng(0)
    y, d = rng.normal(size=(3, 7)), rng.uniform(0.1, 10, size=(3, 7))
    x = rules.Groups(0.4, 0).prox_metric(y, 1.0, d)
    limit = 0.4 * math.sqrt(7)
    for i in range(3):
        force = d[i] * (y[i] - x[i])
        if x[i].any():
            assert np.abs(force - limit * x[i] / np.linalg.norm(x[i])).max() < 1e-12
        else:
            assert np.linalg.norm(force) <= limit


def test_groups_may_span_a_filter_its_bias_and_its_batch_normalization():
    """Fault: groups could not span tensors, so that a channel's scale and shift outlived its filter."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4, 2))
    optimizer = optim.RMDA(optim.group_parameters(model, GroupLasso(0.1), by="unit", verbose=False), lr=0.1)
    x, y = torch.randn(32, 1, 4, 4), torch.arange(32) % 2
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    gone = ~model[0].weight.detach().flatten(1).any(1)
    assert gone.any()
    for p in (model[0].bias, model[1].weight, model[1].bias):
        assert not p[gone].any()
