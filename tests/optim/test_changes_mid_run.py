"""What users do in the middle of a run: other precisions, copies, new regularizers, retraining, a late tracker."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from optim.model_zoo import OPTIMIZERS
from torch import nn
from torch.nn.utils import prune

from manifold_id import optim
from manifold_id.optim import RAMDA, RMDA, ProxAdamW, ProxSGD, ProxSSI, SparseRetraining, StageSchedule, rda_init_
from manifold_id.optim.foreach import proximal_points
from manifold_id.regularizers import L1, ElasticNet, GroupLasso, NuclearNorm
from manifold_id.tracking import ManifoldTracker


def step(optimizer, seed=0):
    """Take a step along noise, which pulls the first half of the rows away from zero."""
    random = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.randn(p.shape, generator=random, dtype=torch.float32).to(p.dtype)
            p.grad[: len(p) // 2] -= 3
    optimizer.step()


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"ProxSTORM"}))
def test_a_model_that_leaves_half_precision_goes_on_from_its_weights(name):
    cls, options = OPTIMIZERS[name]
    w = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    ours = cls([w], **options)
    for t in range(3):
        step(ours, t)
    w.data = w.data.float()
    single = nn.Parameter(w.detach().clone())
    other = cls([single], **options)
    other.load_state_dict(ours.state_dict())
    seen = [w.detach().clone()]
    for t in range(3, 6):
        step(ours, t)
        step(other, t)
        assert torch.equal(w, single) and torch.equal(ours.proximal_point(w), other.proximal_point(single))
        seen.append(w.detach().clone())
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(seen))


def sparse(cls=RMDA, **options):
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(6, 3))
    return w, cls([("w", w)], regularizer=GroupLasso(1.0, axis=0), **options)


@pytest.mark.parametrize("options", [{"momentum": 1.0}, {"momentum": 0.5}], ids=str)
def test_retraining_that_begins_after_the_tracker_is_seen_by_it(options):
    w, optimizer = sparse(**options)
    tracker = ManifoldTracker(optimizer, block=3)
    for t in range(10):
        step(optimizer, t)
    off = optimizer.proximal_structure(w) == 0
    assert 0 < off.sum() < 6
    SparseRetraining(optimizer)
    for t in range(10, 20):
        step(optimizer, t)
        for x, proximal in ((w, False), (optimizer.proximal_point(w), True)):
            alive = (x != 0).any(dim=1)
            assert not alive[off].any()
            trace = tracker.prox_trace if proximal else tracker.trace
            assert trace.structure_at(tracker.steps).tolist() == alive.int().tolist()
        assert optimizer.proximal_structure(w).tolist() == alive.int().tolist()


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies_of_tracker_and_retraining_go_on_with_their_optimizer(way):
    w, optimizer = sparse()
    for t in range(10):
        step(optimizer, t)
    tracker, mode = ManifoldTracker(optimizer), SparseRetraining(optimizer)
    zeros = w == 0
    assert zeros.any()
    w2, optimizer2, tracker2, mode2 = way((w, optimizer, tracker, mode))
    for t in range(10, 15):
        step(optimizer2, t)
    assert tracker2.steps == 5 and tracker.steps == 0
    assert (w2[zeros] == 0).all() and not torch.equal(w2, w)
    mode2.remove()
    tracker2.remove()
    optimizer2.param_groups[0]["regularizer"] = GroupLasso(0.0, axis=0)
    step(optimizer2)
    assert tracker2.steps == 5 and (w2[zeros] != 0).any()
    assert way(tracker2).steps == 5  # a removed one stays removed


def test_the_tracker_follows_a_new_lam_and_refuses_other_atoms():
    w = nn.Parameter(torch.ones(4, 3))
    optimizer = ProxSGD([w], lr=0.1, regularizer=GroupLasso(0.0, axis=1))
    tracker = ManifoldTracker(optimizer)
    step(optimizer)
    assert tracker.sparsity() == 0
    optimizer.param_groups[0]["regularizer"] = GroupLasso(100.0, axis=1)
    step(optimizer)
    assert not w.any() and tracker.sparsity() == 1
    optimizer.param_groups[0]["regularizer"] = GroupLasso(100.0, axis=0)
    with pytest.raises(ValueError, match="has other atoms than"):
        step(optimizer)


@pytest.mark.parametrize("cls", [RMDA, RAMDA])
def test_a_tracker_made_in_the_middle_starts_from_the_proximal_structure(cls):
    w, optimizer = sparse(cls, momentum=0.1)
    for t in range(20):
        step(optimizer, t)
    now = optimizer.proximal_structure(w).tolist()
    assert 0 < sum(now) < 6
    tracker = ManifoldTracker(optimizer)
    assert tracker.prox_trace.initial.tolist() == now and tracker.trace.initial.tolist() == [1] * 6


def test_a_tracker_asks_the_optimizer_for_the_structure_instead_of_solving_again(monkeypatch):
    w, optimizer = sparse(RAMDA, momentum=0.1)
    step(optimizer)
    tracker = ManifoldTracker(optimizer)
    monkeypatch.setattr(RAMDA, "_proximal_points", lambda *_: pytest.fail("solved again"))
    step(optimizer)
    assert tracker.prox_trace.structure_at(1).tolist() == optimizer.proximal_structure(w).tolist()


def test_a_tracker_refuses_the_state_of_other_atoms():
    states = {}
    for atoms in (3, 7):  # the bits of both fill one byte
        tracker = ManifoldTracker(ProxSGD([nn.Parameter(torch.ones(atoms, 2))], regularizer=GroupLasso(1.0, axis=0)))
        states[atoms] = tracker.state_dict()
    tracker.load_state_dict(states[7])
    with pytest.raises(ValueError, match="other tensors"):
        tracker.load_state_dict(states[3])


def test_a_tracker_refuses_what_is_no_regularizer_and_follows_empty_tensors():
    w = nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError, match=r"param group 0 has regularizer=0\.1"):
        ManifoldTracker(torch.optim.SGD([{"params": [w], "regularizer": 0.1}], lr=0.1))
    empty = nn.Parameter(torch.ones(0, 3))
    assert ManifoldTracker(ProxSGD([w, empty], regularizer=L1(0.1))).trace.atoms == 2


@pytest.mark.parametrize("cls", [ProxAdamW, ProxSSI])
@pytest.mark.parametrize("beta2", [0.999, 0.999999])
def test_adam_s_kernels_agree_with_the_loop_however_long_the_memory(cls, beta2):
    points = []
    for way in ({"foreach": False}, {"fused": True}):
        w = nn.Parameter(torch.zeros(64, dtype=torch.float32))
        optimizer = cls([w], lr=0.1, betas=(0.9, beta2), **way)
        for _ in range(3):
            w.grad = torch.linspace(0.5, 2, 64)
            optimizer.step()
        points.append(w.detach())
    torch.testing.assert_close(*points, rtol=2e-6, atol=0)


@pytest.mark.parametrize("way", [{"foreach": False}, {"foreach": True}, {"fused": True}], ids=str)
@pytest.mark.parametrize("cls", [RMDA, RAMDA, ProxSGD, ProxAdamW, ProxSSI])
@pytest.mark.parametrize("lam, weights", [(0.0, "sqrt_size"), (1.0, [0.0, 0.0, 0.0])])
def test_groups_without_a_penalty_stay_as_they_are_however_small(cls, way, lam, weights):
    w = nn.Parameter(torch.full((3, 4), 1e-25))
    optimizer = cls([w], regularizer=GroupLasso(lam, axis=0, weights=weights), **way)
    w.grad = torch.zeros_like(w)
    optimizer.step()
    torch.testing.assert_close(w.detach(), torch.full((3, 4), 1e-25), rtol=1e-5, atol=0)


def test_amsgrad_can_be_turned_off():
    w = nn.Parameter(torch.ones(3, dtype=torch.float64))
    ours = ProxAdamW([w], lr=0.1, amsgrad=True)
    w.grad = torch.full_like(w, 100.0)
    ours.step()
    ours.param_groups[0]["amsgrad"] = False
    v = nn.Parameter(w.detach().clone())
    other = ProxAdamW([v], lr=0.1)
    state = ours.state_dict()
    state["param_groups"][0]["amsgrad"] = False
    other.load_state_dict(state)
    del other.state[v]["largest"]
    for p, optimizer in ((w, ours), (v, other)):
        for _ in range(5):
            p.grad = torch.full_like(p, 1e-3)
            optimizer.step()
    assert torch.equal(w, v)


def test_a_state_of_another_method_is_refused():
    w = nn.Parameter(torch.ones(3))
    for saved, cls in ((RAMDA, RMDA), (ProxAdamW, RMDA), (ProxSGD, ProxAdamW)):
        with pytest.raises(ValueError, match=f"method='{saved.__name__}', the optimizer is {cls.__name__}"):
            cls([w]).load_state_dict(saved([w]).state_dict())


class Plain(L1):
    __repr__ = object.__repr__


def test_a_regularizer_without_a_repr_is_named_by_its_class_on_disk():
    w = nn.Parameter(torch.ones(3))
    state = RMDA([w], regularizer=Plain(0.1)).state_dict()
    RMDA([w], regularizer=Plain(0.1)).load_state_dict(state)
    with pytest.raises(ValueError, match="saved with regularizer Plain"):
        RMDA([w], regularizer=L1(0.1)).load_state_dict(state)


def test_a_parameter_that_was_only_looked_up_does_not_stop_a_restart():
    w = nn.Parameter(torch.ones(3))
    optimizer = optim.RDA([w])
    assert optimizer.state[w] == {}
    optimizer.restart()


def test_eps_of_ramda_stays_without_a_restart():
    optimizer = RAMDA([nn.Parameter(torch.ones(3))], eps=1e-4)
    schedule = StageSchedule(optimizer, [1], restart=False)
    step(optimizer)
    schedule.step()
    assert optimizer.param_groups[0]["eps"] == 1e-4


def test_groups_that_a_scheduler_has_marked_are_accepted_again():
    optimizer = RMDA([nn.Parameter(torch.ones(3))], momentum=0.5)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=5)
    RMDA(optimizer.param_groups)


def test_weights_that_are_computed_or_not_there_yet_are_refused_before_anything_is_drawn():
    for spoil, message in (
        (lambda layer: nn.utils.parametrizations.weight_norm(layer), "'1' is computed"),
        (lambda layer: prune.l1_unstructured(layer, "weight", 1), "'1' is computed"),
        (lambda layer: nn.LazyLinear(3), "'1' is lazy"),
    ):
        model = nn.Sequential(nn.Linear(2, 3), spoil(nn.Linear(3, 3)))
        before = model[0].weight.detach().clone()
        with pytest.raises(ValueError, match=message):
            rda_init_(model)
        assert torch.equal(model[0].weight, before)
    with pytest.raises(ValueError, match="lazy and has no shape yet"):
        optim.group_parameters(model, GroupLasso(0.1, axis=0), verbose=False)
    with pytest.raises(TypeError, match="must be a torch"):
        rda_init_("net")


def test_a_rule_may_return_a_numpy_integer_and_a_tied_weight_is_grouped_by_the_layer_that_is_known():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.alias = self.layer.weight

    groups = optim.group_parameters(Tied(), GroupLasso(0.1, axis=0), verbose=False)
    assert groups[0]["regularizer"].axis == 1 and groups[0]["params"][0][0] == "alias"
    groups = optim.group_parameters(
        nn.Linear(3, 2),
        GroupLasso(0.1, axis=0),
        by=lambda m, n, p: np.int64(0) if n == "weight" else None,
        verbose=False,
    )
    assert groups[0]["regularizer"].axis == 0


@pytest.mark.parametrize("regularizer", [L1(0.3), ElasticNet(0.3, 0.5), NuclearNorm(0.3)], ids=repr)
def test_lists_need_one_prox_for_all_tensors_of_a_shape(regularizer, monkeypatch):
    random = torch.Generator().manual_seed(0)
    ys = [torch.randn(4, 3, generator=random, dtype=torch.float64) for _ in range(5)]
    expected = [regularizer.prox(y, 0.7) for y in ys]
    calls = []
    plain = type(regularizer).prox
    monkeypatch.setattr(type(regularizer), "prox", lambda *a: calls.append(1) or plain(*a))
    points = proximal_points(regularizer, [y.clone() for y in ys], 0.7, None)
    assert len(calls) == 1
    for z, other in zip(points, expected, strict=True):
        torch.testing.assert_close(z, other, rtol=1e-13, atol=1e-14)


def test_gradients_with_the_negative_bit_are_read_as_they_are():
    for way in ({}, {"foreach": False}):
        w, v = nn.Parameter(torch.ones(20000)), nn.Parameter(torch.ones(20000))
        w.grad = torch._neg_view(torch.full((20000,), -0.5))
        v.grad = torch.full((20000,), 0.5)
        RMDA([w], **way).step()
        RMDA([v], **way).step()
        assert torch.equal(w, v)
