"""The pruning baselines: their masks, schedules and states."""

import io
import math

import pytest
import torch
from torch import nn

from manifold_id.regularizers import L1, GroupLasso, NuclearNorm
from nn_bench.baselines import SGD, MagnitudePruning, RigL

torch.set_num_threads(1)


def groups(regularizer, seed: int = 0) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    weights = [nn.Parameter(torch.randn(6, 10, generator=generator)) for _ in range(2)]
    return [{"params": weights, "regularizer": regularizer}, {"params": [nn.Parameter(torch.ones(3))]}]


def steps(optimizer, count: int, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for _ in range(count):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return params


@pytest.mark.parametrize(("regularizer", "atoms"), [(L1(1.0), 120), (GroupLasso(1.0, axis=1), 20)], ids=["l1", "group"])
def test_magnitude_pruning_follows_its_schedule(regularizer, atoms):
    optimizer = MagnitudePruning(groups(regularizer), lr=0.01, sparsity=0.6, every=5, until=0.5, total_steps=40)
    for step in range(1, 41):
        params = steps(optimizer, 1, seed=step)
        done = min(step - step % 5, 20)
        due = int(0.6 * (1 - (1 - done / 20) ** 3) * atoms)
        assert sum(int((regularizer.structure(p.detach()) == 0).sum()) for p in params[:2]) == due
    assert bool((params[2] != 0).all())


def test_magnitude_pruning_takes_the_smallest():
    weight = nn.Parameter(torch.tensor([[3.0, 0.1, -2.0, 0.2]]))
    given = [{"params": [weight], "regularizer": L1(1.0)}]
    optimizer = MagnitudePruning(given, lr=0.0, sparsity=0.5, every=1, until=1.0, total_steps=1)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert weight.tolist() == [[3.0, 0.0, -2.0, 0.0]]


def test_rigl_keeps_its_share_and_grows_where_the_gradient_is_largest():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 10))
    given = [{"params": [weight], "regularizer": L1(1.0)}]
    optimizer = RigL(given, lr=1e-3, momentum=0.0, weight_decay=0.0, sparsity=0.5, every=2, alpha=0.3, total_steps=100)
    assert int((weight == 0).sum()) == 40
    before = optimizer.masks[0].clone()
    weight.grad = torch.randn(8, 10)
    gradient = weight.grad.clone()
    optimizer.step()
    assert torch.equal(optimizer.masks[0], before)
    old = weight.detach().clone()
    optimizer.step()
    count = int(0.15 * (1 + math.cos(math.pi * 2 / 75)) * 40)
    grown = optimizer.masks[0] & ~before
    dropped = before & ~optimizer.masks[0]
    assert int(grown.sum()) == int(dropped.sum()) == count
    assert gradient.abs()[grown].min() >= gradient.abs()[~before & ~grown].max()
    assert old.abs()[dropped].max() <= old.abs()[before & ~dropped].min()
    torch.testing.assert_close(weight.detach()[grown], -1e-3 * gradient[grown])


@pytest.mark.parametrize("kind", [SGD, MagnitudePruning, RigL])
def test_states_go_through_a_file_without_pickled_objects(kind):
    torch.manual_seed(0)
    first = kind(groups(GroupLasso(1.0, axis=1)), lr=0.05)
    steps(first, 30)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = kind(groups(GroupLasso(1.0, axis=1)), lr=0.05)
    with torch.no_grad():
        for own, other in zip(first.param_groups, second.param_groups, strict=True):
            for p, q in zip(own["params"], other["params"], strict=True):
                q.copy_(p)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    for p, q in zip(steps(first, 90, seed=2), steps(second, 90, seed=2), strict=True):
        assert torch.equal(p, q)
    other = kind(groups(GroupLasso(2.0, axis=1)), lr=0.05)
    with pytest.raises(ValueError, match="was saved with regularizer"):
        other.load_state_dict(first.state_dict())


def test_hooks_of_others_run_once_a_step_and_see_the_masks():
    steps(SGD(groups(L1(1.0)), lr=0.1), 1)  # from now on torch wraps SGD.step
    optimizer = MagnitudePruning(groups(L1(1.0)), lr=0.1, sparsity=0.5, every=1, until=1.0, total_steps=1)
    seen = []
    optimizer.register_step_post_hook(
        lambda own, args, kwargs: seen.append(sum(int((p == 0).sum()) for p in own.masked))
    )
    steps(optimizer, 3)
    assert seen == [60, 60, 60]


def test_what_cannot_be_pruned_is_refused():
    with pytest.raises(ValueError, match="prunes entries"):
        MagnitudePruning(groups(NuclearNorm(1.0)))
    with pytest.raises(ValueError, match="needs param groups with a regularizer"):
        RigL([nn.Parameter(torch.ones(3))])
    with pytest.raises(ValueError, match="sparsity=1"):
        RigL(groups(L1(1.0)), sparsity=1)
