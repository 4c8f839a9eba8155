"""State on disk: bit for bit, in the middle of a stage, without unpickling anything."""

import copy
import io
import pickle

import pytest
import torch
from optim import model_zoo
from optim.model_zoo import OPTIMIZERS

from manifold_id import optim
from manifold_id.regularizers import L1, GroupLasso


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_continues_bit_for_bit(name, dtype):
    params = model_zoo.parameters(dtype)
    optimizer = model_zoo.build(name, params)
    rule = "sqrt" if "momentum" in optimizer.defaults else "constant"
    schedule = optim.StageSchedule(optimizer, [4, 9], momentum=rule)
    warm = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)

    def advance(optimizer, params, schedule, warm, steps):
        for t in steps:
            model_zoo.feed(optimizer, params, t)
            schedule.step()
            warm.step()

    advance(optimizer, params, schedule, warm, range(12))  # three steps into the last stage
    saved = through_a_file(
        {
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "warm": warm.state_dict(),
            "params": [p.detach() for p in params],
        }
    )
    advance(optimizer, params, schedule, warm, range(12, 20))

    others = model_zoo.parameters(dtype, seed=9)
    other = model_zoo.build(name, others)
    again = optim.StageSchedule(other, [4, 9], momentum=rule)
    again_warm = torch.optim.lr_scheduler.ExponentialLR(other, 0.99)
    with torch.no_grad():
        for p, value in zip(others, saved["params"], strict=True):
            p.copy_(value)
    other.load_state_dict(saved["optimizer"])
    again.load_state_dict(saved["schedule"])
    again_warm.load_state_dict(saved["warm"])
    advance(other, others, again, again_warm, range(12, 20))
    for p, q in zip(params, others, strict=True):
        assert torch.equal(p, q)
        assert torch.equal(optimizer.proximal_point(p), other.proximal_point(q))
    assert [g["lr"] for g in optimizer.param_groups] == [g["lr"] for g in other.param_groups]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_loading_shares_no_memory(name):
    params, others = model_zoo.parameters(), model_zoo.parameters()
    optimizer, other = model_zoo.build(name, params), model_zoo.build(name, others)
    model_zoo.feed(optimizer, params, 5)
    state = optimizer.state_dict()
    frozen = copy.deepcopy(state)
    other.load_state_dict(state)
    model_zoo.feed(other, others, 6)
    for key, entries in frozen["state"].items():
        for field, value in entries.items():
            assert torch.equal(torch.as_tensor(state["state"][key][field]), torch.as_tensor(value))


def test_regularizers_are_written_as_text_and_must_match():
    p = torch.nn.Parameter(torch.ones(3, 4))
    optimizer = optim.RMDA([p], regularizer=GroupLasso(0.1, axis=1))
    state = optimizer.state_dict()
    assert state["param_groups"][0]["regularizer"] == repr(GroupLasso(0.1, axis=1))
    assert optimizer.param_groups[0]["regularizer"] == GroupLasso(0.1, axis=1)
    with pytest.raises(ValueError, match=r"was saved with regularizer GroupLasso\(lam=0.1.*the optimizer has L1"):
        optim.RMDA([p], regularizer=L1(0.1)).load_state_dict(state)
    with pytest.raises(ValueError, match="the optimizer has None"):
        optim.RMDA([p]).load_state_dict(state)


def test_copies_and_pickles_of_whole_optimizers():
    params = model_zoo.parameters()
    optimizer = model_zoo.build("RMDA", params)
    model_zoo.feed(optimizer, params, 5)
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        own = [p for group in twin.param_groups for p in group["params"]]
        for p, q in zip((p for g in optimizer.param_groups for p in g["params"]), own, strict=True):
            assert torch.equal(optimizer.proximal_point(p), twin.proximal_point(q))


def test_a_state_of_other_groups_is_refused():
    p, q = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optim.RMDA([p]).load_state_dict(optim.RMDA([{"params": [p]}, {"params": [q]}]).state_dict())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_of_another_shape_is_refused(name):
    params, others = [torch.nn.Parameter(torch.ones(4, 3))], [torch.nn.Parameter(torch.ones(5, 3))]
    cls, options = OPTIMIZERS[name]
    optimizer, other = cls(params, **options), cls(others, **options)
    model_zoo.feed(optimizer, params, 0)
    with pytest.raises(ValueError, match=r"of parameter 0 has shape \(4, 3\), the parameter \(5, 3\): load the state"):
        other.load_state_dict(optimizer.state_dict())
    model_zoo.feed(other, others, 0)  # nothing of it was taken
    others[0].data = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"shape \(5, 3\), the parameter \(2, 3\).*build a new optimizer"):
        model_zoo.feed(other, others, 1)


@pytest.mark.parametrize("way", [{}, {"foreach": True}, {"foreach": False}], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_another_order_of_memory_changes_nothing(name, way):
    """A parameter whose memory format changes in a run, and a state loaded into one of another format."""
    cls, options = OPTIMIZERS[name]
    psi = {} if name == "SDA" else {"regularizer": GroupLasso(0.05, axis=1)}
    start = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def new(memory_format):
        p = torch.nn.Parameter(start.clone().contiguous(memory_format=memory_format))
        return p, cls([p], **options, **psi, **way)

    p, straight = new(torch.contiguous_format)
    q, changed = new(torch.contiguous_format)
    r, loaded = new(torch.channels_last)
    for t in range(3):
        model_zoo.feed(straight, [p], t)
        model_zoo.feed(changed, [q], t)
    with torch.no_grad():
        r.copy_(p)
    loaded.load_state_dict(straight.state_dict())
    q.data = q.data.contiguous(memory_format=torch.channels_last)
    for t in range(3, 6):
        for optimizer, x in ((straight, p), (changed, q), (loaded, r)):
            model_zoo.feed(optimizer, [x], t)
    assert torch.allclose(p, q, rtol=0, atol=1e-14) and torch.allclose(p, r, rtol=0, atol=1e-14)
    assert torch.allclose(straight.proximal_point(p), changed.proximal_point(q), rtol=0, atol=1e-14)
