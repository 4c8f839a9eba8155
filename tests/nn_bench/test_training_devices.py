"""Training on every device that there is: precisions, determinism, resuming, data that do not fit."""

import math

import pytest
import torch
from small_networks import config, images

from nn_bench.images import Images
from nn_bench.training import train

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))
DEVICES = ("cpu", CUDA)
PICTURES = {"model": "lenet5-small", "lr": 0.1, "options": {"momentum": 0.3}, "augment": True, "epochs": 3}


def pictures(rows=96):
    return images(rows, side=16)


def weights(result):
    return [p.detach().cpu() for p in result.model.parameters()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_double_precision_gives_the_result_of_the_cpu(device, channels_last):
    settings = config(**PICTURES, precision="float64")
    there = train(settings.changed(device=device, channels_last=channels_last), images=pictures())
    here = train(settings, images=pictures())
    for p, q in zip(weights(there), weights(here), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-9)
    assert there.group_sparsity == here.group_sparsity
    assert there.trace.last_change == here.trace.last_change


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("method", "precision"),
    [("RMDA", "float32"), ("RMDA", "bfloat16"), ("RMDA", "float16"), ("RAMDA", "bfloat16"), ("ProxSGD", "float16")],
)
def test_every_precision_learns_and_repeats_bit_for_bit(device, precision, method):
    lr = 0.01 if method == "RAMDA" else 0.1
    settings = config(
        **PICTURES | {"epochs": 15, "lr": lr, "lam": 1e-4}, method=method, device=device, precision=precision
    )
    first, again = (train(settings, images=pictures()) for _ in range(2))
    assert first.accuracy > 0.5
    for p, q in zip(weights(first), weights(again), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("device", DEVICES)
def test_a_stopped_run_goes_on_bit_for_bit(device, tmp_path):
    settings = config(**PICTURES, device=device)
    train(settings, tmp_path, images=pictures(), stop_after=2)
    parts, whole = train(settings, tmp_path, images=pictures()), train(settings, images=pictures())
    for p, q in zip(weights(parts), weights(whole), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("device", DEVICES)
def test_data_beside_a_device_they_do_not_fit_on_give_the_same(device, monkeypatch):
    resident = train(config(**PICTURES, device=device), images=pictures())
    monkeypatch.setattr(Images, "resident", lambda self, device: self)
    streamed = train(config(**PICTURES, device=device, error_every=1), images=pictures())
    for p, q in zip(weights(resident), weights(streamed), strict=True):
        assert torch.equal(p, q)
    assert math.isfinite(streamed.history["estimator_error"].iloc[-1])


@pytest.mark.parametrize(("free", "moves"), [(10**9, True), (1000, False)])
def test_data_move_to_a_gpu_with_twice_their_room(free, moves, monkeypatch):
    here, moved = pictures(), []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**10))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: moved.append(device) or self)
    here.resident(torch.device("cuda"))
    assert bool(moved) == moves
