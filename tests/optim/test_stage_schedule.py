"""StageSchedule: milestones, restarts, momentum rules, company of torch's schedulers, errors."""

import copy
import math
import pickle

import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR, LinearLR, MultiStepLR, SequentialLR

from manifold_id import optim
from manifold_id.methods import RMDA as PureRMDA
from manifold_id.methods import Stages


def new(cls=optim.RMDA, **options):
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    return p, cls([p], **options)


def walk(optimizer, p, schedulers, steps, per_epoch=1):
    """Return (lr, momentum, step within the stage) that each optimizer step used."""
    seen = []
    for _ in range(steps):
        for _ in range(per_epoch):
            p.grad = torch.full_like(p, 0.1)
            group = optimizer.param_groups[0]
            lr, momentum = group["lr"], group.get("momentum")
            optimizer.step()
            seen.append((lr, momentum, optimizer.state[p].get("step")))
        for s in schedulers:
            s.step()
    return seen


@pytest.mark.parametrize("rule", ["constant", "divide", "sqrt"])
@pytest.mark.parametrize("marks", [(), (3,), (2, 5)])
def test_agrees_with_the_pure_method_s_stages(rule, marks):
    stages = Stages(milestones=marks, factor=0.5, momentum=rule)
    p, optimizer = new(lr=0.2, momentum=0.3)
    schedule = optim.StageSchedule(optimizer, marks, factor=0.5, momentum=rule)
    for t, (lr, c, k) in enumerate(walk(optimizer, p, [schedule], 12), 1):
        stage = stages.at(t, 0.3)
        assert k == stage.k
        assert lr == pytest.approx(0.2 * float(stage.factor), rel=1e-14)
        assert c == pytest.approx(float(stage.momentum), rel=1e-14)


def test_the_optimizer_under_a_schedule_is_the_pure_method():
    stages = Stages(milestones=(4, 9), factor=0.1, momentum="divide")
    method = PureRMDA(lr=0.3, momentum=0.05, stages=stages)
    p, optimizer = new(lr=0.3, momentum=0.05)
    schedule = optim.StageSchedule(optimizer, (4, 9), momentum="divide")
    from manifold_id.regularizers import L1

    optimizer.param_groups[0]["regularizer"] = L1(0.01)
    state = method.init(p.detach().clone())
    for t in range(15):
        g = torch.randn(3, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
        state = method.update(lambda w, g=g: g, state, L1(0.01))
        p.grad = g.clone()
        optimizer.step()
        assert torch.allclose(p, state.w, rtol=0, atol=1e-13)
        schedule.step()


def test_milestones_in_epochs_of_many_steps():
    p, optimizer = new(lr=1.0, momentum=0.1)
    schedule = optim.StageSchedule(optimizer, [2, 3], momentum="sqrt")
    seen = walk(optimizer, p, [schedule], 5, per_epoch=4)
    assert [k for _, _, k in seen] == [*range(1, 9), *range(1, 5), *range(1, 9)]
    assert [c for _, c, _ in seen] == pytest.approx([0.1] * 12 + [0.1 * math.sqrt(j) for j in range(1, 9)])
    assert [lr for lr, _, _ in seen] == pytest.approx([1.0] * 8 + [0.1] * 4 + [0.01] * 8)


def test_growth_stops_at_one():
    p, optimizer = new(lr=0.1, momentum=0.5)
    optim.StageSchedule(optimizer, momentum="sqrt")
    assert [c for _, c, _ in walk(optimizer, p, [], 6)] == pytest.approx([0.5, 0.5**0.5, 0.75**0.5, 1, 1, 1])


def test_without_restart_the_sums_go_on():
    p, optimizer = new(lr=0.1)
    schedule = optim.StageSchedule(optimizer, [3], restart=False)
    assert [k for _, _, k in walk(optimizer, p, [schedule], 6)] == [1, 2, 3, 4, 5, 6]


def test_restart_moves_nothing_and_anchors_the_current_point():
    for cls in (optim.RMDA, optim.RAMDA):
        p, optimizer = new(cls, lr=0.1, momentum=0.3)
        walk(optimizer, p, [], 5)
        before = p.detach().clone()
        optimizer.restart()
        assert torch.equal(p, before)
        assert torch.equal(optimizer.state[p]["anchor"], before)
        assert not optimizer.state[p]["total"].any()
        assert torch.equal(optimizer.proximal_point(p), before)
        assert optimizer.gradient_estimate(p) is None
        p.grad = torch.zeros_like(p)
        optimizer.step()
        assert torch.allclose(p, before, rtol=0, atol=1e-15)
    p, optimizer = new(optim.RDA, lr=0.1)
    walk(optimizer, p, [], 5)
    before = p.detach().clone()
    optimizer.restart()
    assert torch.equal(p, before)
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert torch.allclose(p, torch.full_like(p, -0.1), atol=1e-16)


@pytest.mark.parametrize("cls", [optim.ProxSGD, optim.ProxAdamW, optim.NormalMapSGD, torch.optim.SGD])
def test_other_optimizers_get_the_steps_of_multisteplr(cls):
    p, optimizer = new(cls, lr=0.1)
    q, plain = new(cls, lr=0.1)
    ours = walk(optimizer, p, [optim.StageSchedule(optimizer, [2, 4])], 6)
    theirs = walk(plain, q, [MultiStepLR(plain, [2, 4], 0.1)], 6)
    assert [x[0] for x in ours] == [x[0] for x in theirs]
    assert torch.equal(p, q)
    assert "eps" not in optimizer.param_groups[0] or optimizer.param_groups[0]["eps"] == 1e-8


def test_beside_torch_s_schedulers():
    p, optimizer = new(lr=1.0)
    stage = optim.StageSchedule(optimizer, [4])
    warm = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    lrs = [x[0] for x in walk(optimizer, p, [warm, stage], 6)]
    assert lrs == pytest.approx([0.5, 0.75, 1, 1, 0.1, 0.1])

    p, optimizer = new(lr=1.0)
    both = ChainedScheduler([CosineAnnealingLR(optimizer, T_max=10), optim.StageSchedule(optimizer, [5])])
    lrs = [x[0] for x in walk(optimizer, p, [both], 10)]
    cosine = [(1 + math.cos(math.pi * t / 10)) / 2 for t in range(10)]
    assert lrs == pytest.approx([c * (0.1 if t >= 5 else 1) for t, c in enumerate(cosine)])

    p, optimizer = new(lr=1.0, momentum=0.5)
    parts = [LinearLR(optimizer, start_factor=0.1, total_iters=3), optim.StageSchedule(optimizer, [2])]
    seen = walk(optimizer, p, [SequentialLR(optimizer, parts, milestones=[3])], 8)
    assert [x[0] for x in seen[3:]] == pytest.approx([1, 1, 0.1, 0.1, 0.1])
    assert [x[2] for x in seen] == [1, 2, 3, 4, 5, 1, 2, 3]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_together_with_its_optimizer_goes_on_growing(copied):
    p, optimizer = new(lr=1.0, momentum=0.1)
    schedule = optim.StageSchedule(optimizer, [2], momentum="sqrt")
    walk(optimizer, p, [schedule], 3)
    twin, twin_schedule = copied((optimizer, schedule))
    q = twin.param_groups[0]["params"][0]
    assert walk(twin, q, [twin_schedule], 4) == walk(optimizer, p, [schedule], 4)
    assert torch.equal(p, q)


def test_a_group_added_later_has_its_own_base():
    p, optimizer = new(lr=1.0, momentum=0.1)
    optim.StageSchedule(optimizer, momentum="sqrt")
    q = torch.nn.Parameter(torch.ones(2))
    walk(optimizer, p, [], 3)
    optimizer.add_param_group({"params": [q], "momentum": 0.05})
    walk(optimizer, p, [], 1)
    assert [g["momentum"] for g in optimizer.param_groups] == pytest.approx([0.1 * 5**0.5, 0.05 * 5**0.5])


ERRORS = [
    ({"milestones": [0]}, ValueError, "milestones=0 must be at least 1"),
    ({"milestones": [3, 2]}, ValueError, r"milestones=\[3, 2\] must increase"),
    ({"milestones": [1.5]}, TypeError, "milestones=1.5 must be an integer"),
    ({"factor": 0}, ValueError, "factor=0 must be"),
    ({"factor": 2}, ValueError, "factor=2 must be"),
    ({"restart": 1}, TypeError, "restart=1 must be True or False"),
    ({"momentum": "square"}, ValueError, "momentum='square' is not known: "),
]


@pytest.mark.parametrize(("options", "error", "text"), ERRORS, ids=[e[2] for e in ERRORS])
def test_arguments_out_of_range(options, error, text):
    _, optimizer = new()
    with pytest.raises(error, match=text):
        optim.StageSchedule(optimizer, **options)


def test_a_momentum_rule_needs_a_momentum():
    _, optimizer = new(optim.ProxAdamW)
    with pytest.raises(ValueError, match="ProxAdamW has no weight c, use 'constant'"):
        optim.StageSchedule(optimizer, [1], momentum="sqrt")
