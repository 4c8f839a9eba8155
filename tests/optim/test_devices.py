"""Steps that never wait for a device; the same results, states and traces on every device that there is.

A tensor on the device "meta" has no values, so that whatever would fetch one from a device fails there.
"""

import io

import numpy as np
import pytest
import torch
from optim.model_zoo import OPTIMIZERS
from torch import nn

from manifold_id.optim import RMDA, ProxSGD, group_parameters, tracking
from manifold_id.regularizers import L1, Box, GroupLasso
from manifold_id.tracking import ManifoldTracker

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))
DEVICES = ("cpu", CUDA)
METRIC = ("RAMDA", "YangProxSGD", "ProxAdamW", "ProxAdamW amsgrad", "ProxSSI")  # Newton's method looks at its progress
PLAIN = [name for name in OPTIMIZERS if name not in (*METRIC, "SDA")]


def network(device, dtype=torch.float64):
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4, 5), nn.ReLU()
    return nn.Sequential(*layers, nn.Linear(5, 3)).to(dtype).to(device)


def groups(model):
    """Groups along axes, across tensors, and entries."""
    joint = group_parameters(model[:2], GroupLasso(0.05), by="output_channel", verbose=False)[0]["regularizer"]
    return [
        {"params": [model[0].weight, model[1].weight], "joint": (0, 0), "regularizer": joint},
        {"params": [model[4].weight], "regularizer": GroupLasso(0.05, axis=1)},
        {"params": [model[6].weight], "regularizer": L1(0.05)},
        {"params": [model[0].bias, model[1].bias, model[4].bias, model[6].bias]},
    ]


def made(name, model, **more):
    cls, options = OPTIMIZERS[name]
    return cls(groups(model), **options, **more)


def feed(optimizer, t):
    """One step with gradients that depend on t and the point, drawn on the CPU."""

    def closure():
        random = torch.Generator().manual_seed(t)
        for group in optimizer.param_groups:
            for p in group["params"]:
                noise = torch.randn(p.shape, generator=random, dtype=torch.float64)
                p.grad = noise.to(p.device, p.dtype) + 0.1 * p.detach()
        return 0.0

    optimizer.step(closure)


@pytest.mark.parametrize("name", PLAIN)
def test_a_step_never_waits_for_the_device(name):
    optimizer = made(name, network("meta"))
    for _ in range(33):  # the 32nd also flushes what has become tiny
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.zeros_like(p)
        optimizer.step(lambda: 0.0)


def test_a_metric_is_what_the_device_is_asked_for():
    """Control: Newton's method does look, and the meta device notices."""
    with pytest.raises(RuntimeError, match="meta"):
        feed(made("RAMDA", network("meta")), 0)


@pytest.mark.parametrize("momentum", [1.0, 0.3])
@pytest.mark.parametrize("cls", [RMDA, ProxSGD])
def test_the_tracker_fetches_once_in_a_block_and_never_else(cls, momentum, monkeypatch):
    fetched = []

    def host(rows):
        fetched.append(tuple(rows.shape))
        return np.zeros((1 if rows.ndim == 1 else len(rows), rows.shape[-1]), np.uint8)

    monkeypatch.setattr(tracking, "_host", host)
    model = network("meta")
    optimizer = cls([*groups(model)[:2], {"params": [model[6].weight], "regularizer": Box(-1, 1)}], momentum=momentum)
    ManifoldTracker(optimizer, block=4)
    fetched.clear()
    for step in range(1, 13):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.zeros_like(p)
        optimizer.step()
        logs = 2 if cls is RMDA and momentum < 1 else 1  # one for the proximal point where it is another
        assert len(fetched) == logs * (step // 4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "SDA"])
def test_every_device_gives_the_exact_loop_s_points(name, device):
    model, oracle = network(device), network("cpu")
    ours, theirs = made(name, model), made(name, oracle, foreach=False)
    trackers = ManifoldTracker(ours), ManifoldTracker(theirs)
    for t in range(40):
        feed(ours, t)
        feed(theirs, t)
    for p, q in zip(model.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(p.detach().cpu(), q.detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(ours.proximal_point(p).cpu(), theirs.proximal_point(q), rtol=0, atol=1e-12)
        assert torch.equal(p.cpu() == 0, q == 0)
    for proximal in (False, True):
        mine, other = (tracker._both()[proximal] for tracker in trackers)
        for key in ("initial", "step", "atom", "new"):
            np.testing.assert_array_equal(getattr(mine, key), getattr(other, key))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "SDA"])
def test_a_state_goes_to_the_cpu_and_back_bit_for_bit(name, device):
    model = network(device, torch.float32)
    optimizer = made(name, model)
    for t in range(5):
        feed(optimizer, t)
    stream = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, stream)
    there = network("cpu", torch.float32)
    on_cpu = made(name, there)
    stream.seek(0)
    saved = torch.load(stream, map_location="cpu", weights_only=True)
    there.load_state_dict(saved["model"])
    on_cpu.load_state_dict(saved["optimizer"])
    back = network(device, torch.float32)
    again = made(name, back)
    back.load_state_dict(there.state_dict())
    again.load_state_dict(on_cpu.state_dict())
    for p, q in zip(model.parameters(), back.parameters(), strict=True):
        state, other = optimizer.state[p], again.state[q]
        assert state.keys() == other.keys()
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                assert value.device == other[key].device and torch.equal(value, other[key])
            else:
                assert value == other[key]
    for t in range(5, 12):
        feed(optimizer, t)
        feed(again, t)
    for p, q in zip(model.parameters(), back.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("device", DEVICES)
def test_bits_are_packed_as_numpy_packs_them(device):
    bits = torch.rand(1001, generator=torch.Generator().manual_seed(0)) < 0.5
    for pack in (tracking._pack, tracking._pack_there):
        np.testing.assert_array_equal(pack(bits.to(device)).cpu().numpy(), np.packbits(bits.numpy()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", PLAIN)
def test_a_tracked_step_on_a_gpu_never_synchronizes(name):
    model = network("cuda")
    optimizer = made(name, model)
    ManifoldTracker(optimizer)
    gradients = {p: torch.randn_like(p) for group in optimizer.param_groups for p in group["params"]}
    try:
        for t in range(40):
            for p, g in gradients.items():
                p.grad = g
            torch.cuda.set_sync_debug_mode("error" if t > 2 else "default")
            optimizer.step(lambda: 0.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
