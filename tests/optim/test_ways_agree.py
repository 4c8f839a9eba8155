"""Lists of tensors and compiled kernels against the exact loop; solvers against bisection; memory layouts; dtypes."""

import numpy as np
import pytest
import torch
from optim import model_zoo, reference_rules
from optim.model_zoo import OPTIMIZERS

from manifold_id import optim
from manifold_id.optim import foreach, fused, kernels
from manifold_id.optim.layout import is_dense, layout
from manifold_id.regularizers import MCP, ElasticNet, GroupLasso, NuclearNorm


def played(name, steps=40, dtype=torch.float64, threads=None, **more):
    params = model_zoo.parameters(dtype)
    optimizer = model_zoo.build(name, params, **more)
    for t in range(steps):
        model_zoo.feed(optimizer, params, t)
    points = [p.detach() for p in params] + [optimizer.proximal_point(p) for p in params]
    return torch.cat([x.reshape(-1).double() for x in points])


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"maximize": True}], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_ways_give_the_loop_s_point(name, options, monkeypatch):
    loop = played(name, foreach=False, **options)
    assert torch.isfinite(loop).all()
    for way, small in (({"foreach": True}, None), ({}, None), ({}, 0)):
        if small is not None:  # kernels for the small tensors too
            monkeypatch.setattr(fused, "_SMALL", small)
        other = played(name, **way, **options)
        assert (other - loop).abs().max() <= 1e-12 * (1 + loop.abs().max())
        assert torch.equal(other == 0, loop == 0)


@pytest.mark.parametrize("name", ["RMDA", "RAMDA", "ProxSGD", "ProxAdamW", "ProxSSI"])
def test_compiled_kernels_forbidden_or_required(name):
    assert torch.allclose(played(name, fused=False), played(name), rtol=0, atol=1e-12)
    params = [torch.nn.Parameter(torch.ones(4, 3))]
    cls, options = OPTIMIZERS[name]
    optimizer = cls(params, regularizer=GroupLasso(0.1, axis=0), fused=True, **options)
    params[0].grad = torch.ones(4, 3)
    before = params[0]._version
    optimizer.step()
    assert params[0]._version > before  # autograd sees the change


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_follows_float64(name):
    exact, single = played(name), played(name, dtype=torch.float32)
    assert (exact - single).abs().max() < 1e-3 * (1 + exact.abs().max())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_half_precision_parameters_are_rounded_float32_iterates(name, dtype):
    half, single = model_zoo.parameters(dtype), model_zoo.parameters(dtype)
    for p in single:
        p.data = p.data.float()
    ours, exact = model_zoo.build(name, half), model_zoo.build(name, single)
    random = torch.Generator().manual_seed(0)
    for _ in range(30):
        grads = [torch.randn(p.shape, generator=random).to(dtype) for p in half]

        def give(params, grads=grads):
            for p, g in zip(params, grads, strict=True):
                p.grad = g.to(p.dtype)
            return 0.0

        if name == "ProxSTORM":
            ours.step(lambda: give(half))
            exact.step(lambda: give(single))
        else:
            give(half)
            give(single)
            ours.step()
            exact.step()
    for p, q in zip(half, single, strict=True):
        assert torch.equal(p, q.to(dtype))
        tensors = [x for x in ours.state[p].values() if isinstance(x, torch.Tensor)]
        assert tensors
        assert all(x.dtype == torch.float32 for x in tensors)


def test_a_half_precision_parameter_changed_from_outside_is_respected():
    p = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = optim.ProxSGD([p], lr=1e-4)
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert torch.equal(p, torch.ones_like(p))  # the step is below bfloat16's resolution, not lost:
    assert torch.allclose(optimizer.state[p]["exact"], torch.full((4,), 1 - 1e-4))
    with torch.no_grad():
        p[1] = 5
    optimizer.step()
    assert torch.allclose(optimizer.state[p]["exact"], torch.tensor([1 - 2e-4, 5 - 1e-4, 1 - 2e-4, 1 - 2e-4]))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_no_bit(threads):
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, threads + 1):
            torch.set_num_threads(count)
            p = torch.nn.Parameter(torch.randn(600, 300, generator=torch.Generator().manual_seed(0)))
            q = torch.nn.Parameter(torch.randn(500, 40, 3, 3, generator=torch.Generator().manual_seed(1)))
            optimizer = optim.RAMDA([p, q], lr=0.1, momentum=0.5, regularizer=GroupLasso(0.01, axis=1))
            for t in range(3):
                for x in (p, q):
                    x.grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(t))
                optimizer.step()
            results.append((p.detach().clone(), q.detach().clone()))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("spread", [0, 3, 8])
@pytest.mark.parametrize("share", [1e-9, 1e-3, 0.5, 0.999, 1.001, 10])
def test_secular_equation_in_wild_metrics(spread, share):
    """d over up to 16 decades; t from almost nothing to beyond the zero test."""
    rng = np.random.default_rng(int(spread * 100 + share * 10))
    y, d = rng.normal(size=(9, 5, 4)), 10.0 ** rng.uniform(-spread, spread, size=(9, 5, 4))
    t = share * np.sqrt(((d * y) ** 2).sum((0, 2)))
    exact = np.empty_like(y)
    for i in range(5):
        psi = reference_rules.Groups(t[i] / 6, 0)  # sqrt(36) = 6
        exact[:, i] = psi.prox_metric(y[None, :, i], 1.0, d[None, :, i])[0]
    compiled, metric = y.reshape(-1).copy(), d.reshape(-1).copy()
    kernels.shrink_groups_metric(compiled, metric, t.copy(), 4, 1e-15)
    listed = [torch.from_numpy(y.copy())]
    weights = tuple(t.tolist())
    listed = foreach.proximal_points(GroupLasso(1.0, axis=1, weights=weights), listed, 1.0, [torch.from_numpy(d)])
    for solution in (compiled.reshape(y.shape), listed[0].numpy()):
        assert np.abs(solution - exact).max() <= 1e-12 * np.abs(y).max()
        assert np.array_equal(solution == 0, exact == 0)


def test_secular_equation_in_float32():
    rng = np.random.default_rng(5)
    y, d = rng.normal(size=(64, 8, 9)), 10.0 ** rng.uniform(-3, 3, size=(64, 8, 9))
    t = np.linspace(0.01, 1.1, 8) * np.sqrt(((d * y) ** 2).sum((0, 2)))
    exact, single = y.reshape(-1).copy(), y.reshape(-1).astype(np.float32)
    kernels.shrink_groups_metric(exact, d.reshape(-1).copy(), t.copy(), 9, 1e-15)
    kernels.shrink_groups_metric(single, d.reshape(-1).astype(np.float32), t.astype(np.float32), 9, 1e-7)
    assert np.abs(exact - single).max() < 2e-5
    assert np.array_equal(exact == 0, single == 0)


def test_cube_root_of_the_float32_kernel():
    u = np.concatenate([[0.0, 1e-45, 1e-38], 10.0 ** np.linspace(-34, 34, 2000)]).astype(np.float32)
    zero = np.zeros_like(u)
    squares, y, d = u.copy(), np.empty_like(u), np.empty_like(u)
    kernels.ramda_center_float32(
        zero.copy(), squares, zero, zero, y, d, 0, len(u), len(u), np.float32(0), np.float32(1e-30)
    )
    exact = np.cbrt(u.astype(np.float64))
    assert np.abs(d[3:] / exact[3:] - 1).max() < 1e-6
    assert np.abs(d - exact)[:3].max() < 1e-12  # below 1e-36 the root may be taken as 0
    assert d[0] == np.float32(1e-30)


def test_layouts_of_memory():
    x = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    for t in (x, x.to(memory_format=torch.channels_last), x.permute(3, 1, 0, 2), x[:, :, :1], x[:1]):
        if not is_dense(t):
            continue
        for axis in range(4):
            view = layout(t, axis).view(t)
            for i in range(t.shape[axis]):
                assert torch.equal(view[:, i].reshape(-1).sort()[0], t.select(axis, i).reshape(-1).sort()[0])
    assert not is_dense(x[:, ::2])
    assert not is_dense(x.expand(2, 3, 4, 5)[:, :, :, :1].expand(2, 3, 4, 5))


@pytest.mark.parametrize(
    "regularizer", [ElasticNet(0.1, 0.2, axis=1), MCP(0.1, gamma=20.0, axis=0), GroupLasso(0.1, groups=3)]
)
def test_other_regularizers_go_through_their_own_prox(regularizer):
    results = []
    for way in ({"foreach": False}, {"foreach": True}, {}):
        p = torch.nn.Parameter(torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
        optimizer = optim.RMDA([p], lr=0.1, momentum=0.5, regularizer=regularizer, **way)
        for t in range(20):
            p.grad = torch.randn(4, 6, generator=torch.Generator().manual_seed(t), dtype=torch.float64) * 0.1
            optimizer.step()
        results.append(p.detach().clone())
    assert torch.allclose(results[0], results[1], rtol=0, atol=1e-13)
    assert torch.allclose(results[0], results[2], rtol=0, atol=1e-13)


@pytest.mark.parametrize("way", [{"foreach": False}, {"foreach": True}, {}], ids=str)
@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n != "SDA"])
def test_the_structure_of_the_proximal_point_is_known_without_forming_it(name, way):
    params = model_zoo.parameters()
    optimizer = model_zoo.build(name, params, **way)
    seen = set()
    for t in range(25):
        model_zoo.feed(optimizer, params, t)
        for p in params[:4]:
            psi = optimizer._group_of(p)["regularizer"]
            codes = optimizer.proximal_structure(p)
            assert codes.dtype == torch.int8
            assert torch.equal(codes, psi.structure(optimizer.proximal_point(p)).reshape(-1))
            seen.add(bool(codes.all()))
    if name in ("RMDA", "RAMDA"):
        assert seen == {True, False}
        optimizer.restart()
        assert all(optimizer.proximal_structure(p).all() == p.ne(0).all() for p in params[:1])
    with pytest.raises(ValueError, match="p has no regularizer"):
        optimizer.proximal_structure(params[4])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["RMDA", "RDA", "ProxSGD", "ProxAdamW", "ProxSSI", "RAMDA"])
def test_a_gradient_that_is_not_finite_switches_nothing_off(name, bad, monkeypatch):
    monkeypatch.setattr(fused, "_SMALL", 0)
    cls, options = OPTIMIZERS[name]
    for way in ({"foreach": False}, {"foreach": True, "fused": False}, {"foreach": True}):
        p = torch.nn.Parameter(torch.ones(4, 3))
        optimizer = cls([p], regularizer=GroupLasso(1e-3, axis=1), **way, **options)
        p.grad = torch.ones(4, 3)
        p.grad[2, 1] = bad
        optimizer.step()
        x = optimizer.proximal_point(p)
        assert not torch.isfinite(x[2, 1]), way
        assert optimizer.proximal_structure(p)[1] == 1, way
        assert torch.isfinite(x[:, ::2]).all(), way
        if bad != bad:
            assert torch.isnan(x[:, 1]).all(), way


@pytest.mark.parametrize("kind", ["RMDA", "RDA", "ProxSGD", "NormalMapSGD"])
def test_an_infinite_gradient_of_a_matrix_is_no_matrix_of_rank_zero(kind):
    p = torch.nn.Parameter(torch.ones(5, 4))
    optimizer = getattr(optim, kind)([p], lr=0.1, regularizer=NuclearNorm(1e-3))
    p.grad = torch.zeros(5, 4)
    p.grad[1, 2] = float("inf")
    optimizer.step()
    assert torch.isnan(p).all()


def test_unpenalized_slices_are_always_active():
    for way in ({"foreach": False}, {"foreach": True}, {}):
        p = torch.nn.Parameter(torch.zeros(4, 3))
        optimizer = optim.RMDA([p], regularizer=GroupLasso(0.1, axis=1, weights=(0.0, 1.0, 1.0)), **way)
        p.grad = torch.zeros(4, 3)
        optimizer.step()
        assert optimizer.proximal_structure(p).tolist() == [1, 0, 0]


@pytest.mark.parametrize("way", [{"foreach": False}, {"foreach": True}, {}], ids=str)
@pytest.mark.parametrize("axis", [2, -3])
def test_a_regularizer_assigned_later_must_fit(way, axis):
    p = torch.nn.Parameter(torch.ones(4, 3))
    optimizer = optim.RMDA([p], regularizer=GroupLasso(0.1, axis=1), **way)
    optimizer.param_groups[0]["regularizer"] = GroupLasso(0.1, axis=axis)
    p.grad = torch.ones(4, 3)
    with pytest.raises(ValueError, match=rf"axis={axis} is out of range for a tensor of shape \(4, 3\)"):
        optimizer.step()
    assert torch.equal(p, torch.ones(4, 3))


@pytest.mark.parametrize("way", ["RMDA", "ProxSGD", "point", "point in a metric"])
def test_norms_of_tall_groups_in_single_precision(way):
    """300,000 rows, the threshold at 0.99 of the norm: an error of the sum is a hundredfold error of the result."""
    random = torch.Generator().manual_seed(0)
    y, d = (1 + torch.rand(300_000, 2, generator=random, dtype=torch.float64) for _ in range(2))
    norms = ((y * d) if "metric" in way else y).norm(dim=0)
    psi = GroupLasso(1.0, axis=1, weights=tuple((0.99 * norms).tolist()))
    exact = psi.prox_metric(y, 1.0, d) if "metric" in way else psi.prox(y, 1.0)
    if way in ("RMDA", "ProxSGD"):
        z = torch.nn.Parameter(y.float())
        z.grad = torch.zeros_like(z)
        vars(optim)[way]([z], lr=1.0, regularizer=psi, fused=True).step()
    else:
        z = fused.shrink(psi, y.float(), 1.0, d.float() if "metric" in way else None)
    assert (z.detach() - exact).norm() <= 1e-5 * exact.norm()
