"""What a torch optimizer is expected to do, and one clear error for what ours do not."""

import pytest
import torch
from optim import model_zoo
from optim.model_zoo import OPTIMIZERS
from torch import nn

from manifold_id import optim
from manifold_id.regularizers import L1, GroupLasso
from manifold_id.tracking import ManifoldTracker

PLAIN = [name for name in OPTIMIZERS if name != "ProxSTORM"]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def batch(seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(16, 6, generator=random), torch.randint(3, (16,), generator=random)


def loss_of(model, seed=0):
    x, y = batch(seed)
    return nn.functional.cross_entropy(model(x), y)


@pytest.mark.parametrize("name", PLAIN)
def test_closures_run_with_gradients_and_return_the_loss(name):
    model, twin = network(), network()
    cls, options = OPTIMIZERS[name]
    by_closure, by_hand = cls(model.parameters(), **options), cls(twin.parameters(), **options)
    for _ in range(3):

        def closure():
            by_closure.zero_grad()
            loss = loss_of(model)
            loss.backward()
            return loss

        with torch.no_grad():
            returned = by_closure.step(closure)
        by_hand.zero_grad()
        expected = loss_of(twin)
        expected.backward()
        assert by_hand.step() is None
        assert torch.equal(returned, expected)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def test_storm_draws_the_same_dropout_masks_at_both_points():
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    optimizer = optim.ProxSTORM(model.parameters(), lr=0.01)
    draws = []

    def closure():
        optimizer.zero_grad()
        draws.append(torch.rand(1).item())
        loss = loss_of(model)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert len(draws) == 5
    assert draws[1] == draws[2] and draws[3] == draws[4]
    assert len(set(draws)) == 3
    with pytest.raises(ValueError, match="closure=None: ProxSTORM needs the gradient at two points"):
        optimizer.step()


def test_storm_leaves_the_parameters_alone_when_the_closure_fails():
    model = network()
    optimizer = optim.ProxSTORM(model.parameters(), lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    before = [p.detach().clone() for p in model.parameters()]

    def broken():
        raise RuntimeError("out of data")

    with pytest.raises(RuntimeError, match="out of data"):
        optimizer.step(broken)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_reduces_the_loss(name):
    model = network()
    cls, options = OPTIMIZERS[name]
    if name in ("RDA", "SDA"):
        optim.rda_init_(model, 2.0)
    optimizer = cls(model.parameters(), **{**options, "lr": 0.02})
    first = loss_of(model).item()

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    for _ in range(60):
        optimizer.step(closure)
    assert loss_of(model).item() < first


@pytest.mark.parametrize("name", PLAIN)
def test_added_groups_and_zero_grad(name):
    p, q = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(3, 2))
    cls, options = OPTIMIZERS[name]
    optimizer = cls([p], **options)
    own = {} if name == "SDA" else {"regularizer": L1(0.1)}
    optimizer.add_param_group({"params": [q], "lr": 0.01, **own})
    assert optimizer.param_groups[1]["lr"] == 0.01
    for x in (p, q):
        x.grad = torch.ones_like(x)
    optimizer.step()
    assert not torch.equal(p, q)
    optimizer.zero_grad()
    assert p.grad is None and q.grad is None
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        optimizer.add_param_group({"params": [p]})


@pytest.mark.parametrize("name", PLAIN)
def test_maximize_is_minimizing_the_negative(name):
    p, q = model_zoo.parameters(), model_zoo.parameters()
    cls, options = OPTIMIZERS[name]
    up, down = cls(p, maximize=True, **options), cls(q, **options)
    for t in range(5):
        for i, (a, b) in enumerate(zip(p, q, strict=True)):
            g = torch.randn(a.shape, generator=torch.Generator().manual_seed(10 * t + i), dtype=a.dtype)
            a.grad, b.grad = g, -g
        up.step()
        down.step()
    assert all(torch.equal(a, b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("name", PLAIN)
def test_a_step_that_the_gradient_scaler_skips_changes_nothing(name):
    model = network()
    cls, options = OPTIMIZERS[name]
    optimizer = cls(model.parameters(), **options)
    schedule = optim.StageSchedule(optimizer, [], momentum="sqrt" if "momentum" in optimizer.defaults else "constant")
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)

    def step(poison):
        optimizer.zero_grad()
        scaler.scale(loss_of(model)).backward()
        if poison:
            next(model.parameters()).grad[0, 0] = float("inf")
        scaler.step(optimizer)
        scaler.update()

    step(False)
    before = [p.detach().clone() for p in model.parameters()]
    numbers = [{k: v for k, v in s.items() if not torch.is_tensor(v)} for s in optimizer.state.values()]
    tensors = [v.clone() for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
    groups = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    growth = schedule.growth
    step(True)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert [{k: v for k, v in s.items() if not torch.is_tensor(v)} for s in optimizer.state.values()] == numbers
    after = [v for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
    assert all(torch.equal(a, b) for a, b in zip(after, tensors, strict=True))
    assert [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups] == groups
    assert schedule.growth == growth
    step(False)
    assert not torch.equal(next(model.parameters()), before[0])


def test_scaled_and_clipped_gradients_are_the_plain_ones():
    model, twin = network(), network()
    ours = optim.RMDA(model.parameters(), lr=0.1, momentum=0.5)
    plain = optim.RMDA(twin.parameters(), lr=0.1, momentum=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for _ in range(3):
        ours.zero_grad()
        scaler.scale(loss_of(model)).backward()
        scaler.unscale_(ours)
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        scaler.step(ours)
        scaler.update()
        plain.zero_grad()
        loss_of(twin).backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 0.1)
        plain.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=0, atol=1e-7)


def test_compiled_forward_pass():
    model, twin = network(), network()
    compiled = torch.compile(model, backend="aot_eager")
    a = optim.RMDA(model.parameters(), lr=0.1, momentum=0.5, regularizer=None)
    b = optim.RMDA(twin.parameters(), lr=0.1, momentum=0.5, regularizer=None)
    for t in range(3):
        for m, forward, o in ((model, compiled, a), (twin, twin, b)):
            o.zero_grad()
            x, y = batch(t)
            nn.functional.cross_entropy(forward(x), y).backward()
            o.step()
            assert all(torch.isfinite(p).all() for p in m.parameters())
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PLAIN)
def test_frozen_tied_and_unused_parameters(name):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
            self.second.weight = self.first.weight
            self.frozen, self.unused = nn.Linear(6, 3), nn.Linear(2, 2)
            self.frozen.requires_grad_(False)

        def forward(self, x):
            return self.frozen(self.second(self.first(x)))

    torch.manual_seed(0)
    model = Net()
    cls, options = OPTIMIZERS[name]
    optimizer = cls(model.parameters(), **options)
    frozen, unused = model.frozen.weight.detach().clone(), model.unused.weight.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    assert torch.equal(model.frozen.weight, frozen)
    assert torch.equal(model.unused.weight, unused)
    assert model.second.weight is model.first.weight
    assert optimizer.state[model.first.weight]["step"] == 2
    assert len(optimizer.state) == 3
    assert torch.equal(optimizer.proximal_point(model.unused.weight), unused)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_sparse_gradients_are_refused_before_anything_changes(name):
    embedding = nn.Embedding(5, 2, sparse=True)
    dense = nn.Parameter(torch.ones(2))
    cls, options = OPTIMIZERS[name]
    optimizer = cls([dense, embedding.weight], **options)

    def closure():
        optimizer.zero_grad()
        loss = (embedding(torch.tensor([1, 2])) * dense).sum()
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match="does not support sparse gradients: build the layer with sparse=False"):
        optimizer.step(closure)
    assert torch.equal(dense, torch.ones(2))
    assert not optimizer.state


ERRORS = [
    ({"lr": -0.1}, ValueError, "lr=-0.1 must be a finite number"),
    ({"lr": float("nan")}, ValueError, "lr=nan must be a finite number"),
    ({"lr": "fast"}, TypeError, "lr='fast' must be a real number"),
    ({"weight_decay": -1}, ValueError, "weight_decay=-1 must be"),
    ({"regularizer": 0.1}, TypeError, "regularizer=0.1 must be None or a Regularizer"),
    ({"foreach": 2}, TypeError, "foreach=2 must be True or False or None"),
    ({"maximize": None}, TypeError, "maximize=None must be True or False"),
    ({"regularizer": GroupLasso(0.1, axis=2)}, ValueError, "does not fit parameter 0: axis=2 is out of range"),
    (
        {"regularizer": GroupLasso(0.1, axis=1, weights=(1.0,))},
        ValueError,
        "does not fit parameter 0: weights has 1 entries",
    ),
]


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n != "SDA"])
@pytest.mark.parametrize(("options", "error", "text"), ERRORS, ids=[e[2] for e in ERRORS])
def test_arguments_out_of_range(name, options, error, text):
    with pytest.raises(error, match=text):
        OPTIMIZERS[name][0]([nn.Parameter(torch.ones(3, 2))], **options)
    with pytest.raises(error, match=text):
        OPTIMIZERS[name][0]([{"params": [nn.Parameter(torch.ones(3, 2))], **options}])


OWN_ERRORS = [
    (optim.RMDA, {"momentum": 0}, ValueError, r"momentum=0 must be a finite number in \(0, 1\]"),
    (optim.RMDA, {"momentum": 1.5}, ValueError, "momentum=1.5"),
    (optim.RAMDA, {"momentum": -0.1}, ValueError, "momentum=-0.1"),
    (optim.RAMDA, {"eps": 0}, ValueError, "eps=0"),
    (optim.ProxSGD, {"momentum": 0.0}, ValueError, "momentum=0.0"),
    (optim.ProxAdamW, {"betas": (0.9, 1.0)}, ValueError, r"betas\[1\]=1.0 must be below 1"),
    (optim.ProxAdamW, {"betas": 0.9}, ValueError, r"betas=0.9 must be two numbers in \[0, 1\)"),
    (optim.ProxAdamW, {"amsgrad": "yes"}, TypeError, "amsgrad='yes' must be True or False"),
    (optim.ProxSSI, {"eps": -1}, ValueError, "eps=-1"),
    (optim.YangProxSGD, {"rho": 3}, ValueError, "rho=3"),
    (optim.NormalMapSGD, {"prox_step": 0}, ValueError, "prox_step=0"),
    (optim.RDA, {"lr": 1.0, "gamma": 1.0}, ValueError, "lr=1.0 and gamma=1.0 are both given"),
    (optim.RDA, {"gamma": 0}, ValueError, "gamma=0 must be"),
    (optim.RMDA, {"foreach": True, "fused": True}, ValueError, "exclude each other"),
    (optim.YangProxSGD, {"foreach": "no"}, TypeError, "foreach='no'"),
]


@pytest.mark.parametrize(("cls", "options", "error", "text"), OWN_ERRORS, ids=[e[3] for e in OWN_ERRORS])
def test_own_arguments_out_of_range(cls, options, error, text):
    with pytest.raises(error, match=text):
        cls([nn.Parameter(torch.ones(3, 2))], **options)


def test_groups_are_checked_as_they_come():
    p = nn.Parameter(torch.ones(3, 2))
    optimizer = optim.RMDA([p])
    with pytest.raises(ValueError, match="unknown entry 'regulariser': did you mean 'regularizer'"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "regulariser": L1(0.1)})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "name": "head"})
    with pytest.raises(ValueError, match="SDA has none, use RDA"):
        optim.SDA([{"params": [p], "regularizer": L1(0.1)}])
    with pytest.raises(ValueError, match="fused=True: RMDA has no compiled kernel for parameter 0"):
        optim.RMDA([p], regularizer=GroupLasso(0.1, groups=2), fused=True)
    p.grad = torch.ones_like(p)
    optimizer.param_groups[0]["momentum"] = 0.0
    with pytest.raises(ValueError, match=r"momentum=0\.0"):
        optimizer.step()
    assert torch.equal(p, torch.ones(3, 2))
    with pytest.raises(ValueError, match="not a parameter of this optimizer"):
        optimizer.proximal_point(nn.Parameter(torch.ones(1)))
    with pytest.raises(NotImplementedError, match="NormalMapSGD keeps no estimate"):
        optim.NormalMapSGD([p]).gradient_estimate(p)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_complex_and_integer_parameters(name):
    cls = OPTIMIZERS[name][0]
    with pytest.raises(TypeError, match=r"parameter 0 is complex .*optimize its real and imaginary parts"):
        cls([nn.Parameter(torch.ones(2, dtype=torch.complex64))])
    with pytest.raises(TypeError, match=r"parameter 'table' has dtype torch\.int64: only floating-point"):
        cls([("table", torch.ones(2, dtype=torch.int64))])


@pytest.mark.parametrize(
    ("cls", "estimate"),
    [
        (
            optim.RMDA,
            lambda g: sum((t + 1) ** 0.5 * x for t, x in enumerate(g)) / sum((t + 1) ** 0.5 for t in range(len(g))),
        ),
        (optim.RDA, lambda g: sum(g) / len(g)),
        (optim.ProxSGD, lambda g: g[-1]),
    ],
)
def test_estimates_of_the_gradient(cls, estimate):
    p = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = cls([p], lr=0.1)
    assert optimizer.gradient_estimate(p) is None
    seen = []
    for t in range(4):
        seen.append(torch.randn(3, generator=torch.Generator().manual_seed(t), dtype=torch.float64))
        p.grad = seen[-1].clone()
        optimizer.step()
    assert torch.allclose(optimizer.gradient_estimate(p), estimate(seen))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_compiled_step_is_the_plain_step_bit_for_bit(name):
    torch._dynamo.reset()
    ours, twins = model_zoo.parameters(torch.float32), model_zoo.parameters(torch.float32)
    compiled, plain = model_zoo.build(name, ours), model_zoo.build(name, twins)
    compiled.step = torch.compile(compiled.step, backend="aot_eager")
    for t in range(5):
        model_zoo.feed(compiled, ours, t)
        model_zoo.feed(plain, twins, t)
    for p, q in zip(ours, twins, strict=True):
        assert torch.equal(p, q)


def test_a_compiled_step_over_groups_that_span_tensors_is_the_plain_step():
    torch._dynamo.reset()
    points = []
    for compile_it in (True, False):
        model = network()
        groups = optim.group_parameters(model, GroupLasso(0.01, axis=0), by="unit", verbose=False)
        optimizer = optim.RMDA(groups, lr=0.1, momentum=0.5)
        tracker = ManifoldTracker(optimizer)
        step = torch.compile(optimizer.step, backend="aot_eager") if compile_it else optimizer.step
        for seed in range(3):
            optimizer.zero_grad()
            loss_of(model, seed).backward()
            step()
        assert tracker.steps == 3
        points.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(p, q) for p, q in zip(*points, strict=True))


@pytest.mark.parametrize("name", ["RMDA", "RAMDA", "ProxSGD"])
@pytest.mark.parametrize("cycle", ["OneCycleLR", "CyclicLR"])
def test_a_momentum_of_the_opposite_meaning_is_not_cycled(name, cycle):
    params = [nn.Parameter(torch.ones(3))]
    arguments = {"OneCycleLR": {"max_lr": 1.0, "total_steps": 9}, "CyclicLR": {"base_lr": 0.1, "max_lr": 1.0}}[cycle]
    scheduler = getattr(torch.optim.lr_scheduler, cycle)
    optimizer = OPTIMIZERS[name][0](params, lr=0.1, momentum=0.5)
    scheduler(optimizer, **arguments)
    params[0].grad = torch.ones(3)
    with pytest.raises(ValueError, match="cycle_momentum=False"):
        optimizer.step()
    assert torch.equal(params[0].detach(), torch.ones(3))
    optimizer = OPTIMIZERS[name][0](params, lr=0.1, momentum=0.5)
    scheduler(optimizer, **arguments, cycle_momentum=False)
    optimizer.step()
    assert optimizer.param_groups[0]["momentum"] == 0.5
    assert not torch.equal(params[0].detach(), torch.ones(3))


def test_a_module_in_place_of_its_parameters_is_refused():
    with pytest.raises(TypeError, match=r"params is a Sequential: pass its parameters"):
        optim.RMDA(network(), lr=0.1)
