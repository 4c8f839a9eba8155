"""Training: the loop, its checkpoints, its guard, its measurements."""

import functools
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from small_networks import config, images
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import nn_bench.training
from manifold_id.optim.points import at_proximal_point
from manifold_id.regularizers import GroupLasso
from nn_bench.checkpoint import load_checkpoint, load_weights, save_weights, weights_of
from nn_bench.guard import Guard, NotFiniteError
from nn_bench.images import Images
from nn_bench.methods import METHODS
from nn_bench.metrics import full_gradient
from nn_bench.result import load_result
from nn_bench.runtime import Runtime
from nn_bench.training import train

HERE = Runtime(torch.device("cpu"), torch.float32, None, 0, 1)
OPTIONS = {
    "SGD": {"momentum": 0.9},
    "MagnitudePruning": {"sparsity": 0.4, "every": 2},
    "RigL": {"sparsity": 0.5, "every": 3},
}
RATES = {"RAMDA": 0.01, "ProxAdamW": 0.01, "ProxSSI": 0.01, "RDA": 0.5, "SDA": 0.5}


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains_and_reports(method):
    psi = None if method == "SDA" else "GroupLasso"
    settings = config(
        model="logistic", method=method, lr=RATES.get(method, 0.05), options=OPTIONS.get(method, {}), regularizer=psi
    )
    result = train(settings, images=images())
    assert result.accuracy > 0.6  # four classes
    assert list(result.history["epoch"]) == [1, 2, 3, 4]
    assert result.facts["steps"] == 12 and result.facts["epoch_steps"] == 3
    if psi is None:
        assert result.trace is None and result.facts["stabilized_at"] is None
    else:
        assert result.trace.steps == 12
        final = result.trace.structure_at(12)
        assert result.group_sparsity == pytest.approx((final <= 0).mean())


def test_sparsity_is_that_of_exact_zeros():
    result = train(config(lam=0.05, lr=0.2, epochs=6), images=images())
    zero = total = groups = off = 0
    for p in result.model.parameters():
        if p.ndim == 2:
            zero, total = zero + int((p == 0).sum()), total + p.numel()
            off, groups = off + int((p == 0).all(dim=0).sum()), groups + p.shape[1]
    assert 0 < result.group_sparsity < 1
    assert result.group_sparsity == pytest.approx(off / groups)
    assert result.facts["sparsity"] == pytest.approx(zero / total)
    assert result.facts["layers"][0]["name"] == "1.weight"
    assert result.facts["stabilized_at"] == max(layer["stabilized_at"] for layer in result.facts["layers"])


def test_with_an_average_the_proximal_point_is_the_sparse_one():
    result = train(config(lam=0.05, lr=0.2, options={"momentum": 0.5}), images=images())
    assert result.facts["prox_group_sparsity"] > result.facts["group_sparsity"] == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"options": {"momentum": 0.3}, "milestones": (1, 3), "growth": "sqrt", "lam": 0.02},
        {"method": "RAMDA", "lr": 0.01, "augment": True, "error_every": 2},
        {"method": "ProxSGD", "retrain_from": 2, "lam": 0.05},
        {"method": "MagnitudePruning", "options": {"every": 2}},
        {"model": "transformer", "method": "ProxAdamW", "lr": 0.002},
    ],
    ids=["stages", "augmented", "retraining", "pruning", "dropout"],
)
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, settings):
    one, two = tmp_path / "one", tmp_path / "two"
    whole = train(config(**settings), one, images=images())
    train(config(**settings), two, images=images(), stop_after=1)
    assert not (two / "result.json").exists()
    train(config(**settings), two, images=images(), stop_after=3)
    rest = train(config(**settings), two, images=images())
    assert same_weights(whole.model, rest.model)
    for a, b in ((whole.trace, rest.trace), (whole.prox_trace, rest.prox_trace)):
        for name, values in a.to_arrays().items():
            np.testing.assert_array_equal(values, b.to_arrays()[name])
    pd.testing.assert_frame_equal(whole.history, rest.history)
    bytes_of = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (one, two)
    ]
    assert bytes_of[0].keys() >= {"result.json", "checkpoint-000004/state.pt"}
    for name in bytes_of[0]:
        measured = name.startswith("tensorboard") or name.endswith(".measured")
        assert measured or bytes_of[0][name] == bytes_of[1][name], name
    for folder in (one, two):  # TensorBoard shows each epoch once, also where the run was killed
        board = EventAccumulator(str(folder / "tensorboard")).Reload()
        assert "estimator_error" in board.Tags()["scalars"]
        losses = board.Scalars("train_loss")
        assert [event.step for event in losses] == list(whole.history["step"])
        np.testing.assert_allclose([event.value for event in losses], whole.history["train_loss"], rtol=1e-6)


def test_a_finished_run_is_read_and_another_config_is_refused(tmp_path):
    settings = config(model="lenet5-small", data="digits", epochs=1, train_rows=64, test_rows=50)
    first = train(settings, tmp_path / "run")
    files = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"result.json", "config.json", "log.csv", "weights.safetensors", "trace.npz", "prox_trace.npz"} < files
    assert not any(name.startswith(".part") for name in files)
    again = train(settings, tmp_path / "run")
    assert again.facts == json.loads(json.dumps(first.facts)) and same_weights(first.model, again.model)
    with pytest.raises(ValueError, match="another config"):
        train(settings.changed(lr=0.01), tmp_path / "run")
    train(settings.changed(epochs=2), tmp_path / "half", stop_after=1)
    with pytest.raises(ValueError, match="another config"):
        train(settings, tmp_path / "half")
    assert load_result(tmp_path / "half") is None


def test_a_finished_run_on_own_data_and_network_is_read(tmp_path):
    def network() -> nn.Module:
        torch.manual_seed(0)
        size = images().train[0].numel()
        return nn.Sequential(nn.Flatten(), nn.Linear(size, 5), nn.ReLU(), nn.Linear(5, images().classes))

    for own in (network, lambda: None):  # no network of a name has such a layer, and no named data this shape
        out = tmp_path / ("own" if own() else "named")
        first = train(config(epochs=1), out, images=images(), model=own())
        again = train(config(epochs=1), out, images=images(), model=own())
        assert again.facts == json.loads(json.dumps(first.facts)) and same_weights(first.model, again.model)


def test_only_the_newest_checkpoint_stays_and_loads_without_pickled_objects(tmp_path):
    result = train(config(), tmp_path, images=images())
    assert [p.name for p in tmp_path.glob("checkpoint-*")] == ["checkpoint-000004"]
    state, seconds = load_checkpoint(tmp_path, result.model)
    assert state["epoch"] == 4 and seconds > 0


def test_the_guard_names_step_and_tensor():
    bad = images()
    with pytest.raises(NotFiniteError, match=r"step \d+: the (loss|gradient of '1\.weight') is not finite"):
        train(config(method="SGD", lr=1e30, regularizer=None), images=bad)


def test_the_guard_names_the_gradient():
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    p.grad, q.grad = torch.ones(2), torch.tensor([1.0, math.inf])
    with pytest.raises(NotFiniteError, match="step 7: the gradient of 'q' is not finite"):
        Guard(["p", "q"], [p, q]).watch(7, torch.tensor(1.0))
    Guard(["p", "q"], [p, q], gradients=False).watch(7, torch.tensor(1.0))


@pytest.mark.parametrize("precision", ["float64", "bfloat16", "float16"])
def test_other_precisions_train(precision):
    result = train(config(model="logistic", precision=precision, lr=0.05), images=images())
    assert result.accuracy > 0.9
    expected = torch.float64 if precision == "float64" else torch.float32
    assert {p.dtype for p in result.model.parameters()} == {expected}


def test_a_compiled_forward_pass_trains_to_the_same_network(monkeypatch):
    # traced, with the backward pass made ahead of time, but not lowered to C++: the machine may lack a compiler
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    settings = config(epochs=2, precision="float64", lam=1e-2)
    plain, compiled = train(settings, images=images()), train(settings.changed(compile=True), images=images())
    for name, value in weights_of(plain.model).items():
        torch.testing.assert_close(weights_of(compiled.model)[name], value, rtol=1e-12, atol=1e-14)
    assert np.array_equal(compiled.trace.step, plain.trace.step)


def test_channels_last_clipping_and_random_start_train():
    settings = config(
        model="lenet5-small", channels_last=True, clip=1.0, label_smoothing=0.1, epochs=6, init_scale=1.5,
        method="ProxSGD", options={"momentum": 1.0},
    )  # fmt: skip
    result = train(settings, images=images(side=28))
    assert result.accuracy > 0.9
    assert torch.isfinite(result.history["train_loss"].to_numpy().sum() * torch.ones(()))


@pytest.mark.parametrize(
    ("name", "options"),
    [("ElasticNet", {"ridge": 0.01}), ("SparseGroupLasso", {"l1_ratio": 0.2}), ("Box", {"lower": 0.0, "upper": 0.02})],
)
def test_regularizers_with_options_train(name, options):
    settings = config(model="logistic", regularizer=name, lam=0.05, regularizer_options=options, lr=0.2, epochs=6)
    result = train(settings, images=images())
    assert 0 < result.group_sparsity < 1
    if name == "Box":
        weight = next(p.detach() for p in result.model.parameters() if p.ndim > 1)
        assert (float(weight.min()), float(weight.max())) == (0.0, pytest.approx(0.02))


def test_the_progress_bar_names_the_run(tmp_path, monkeypatch):
    labels = []
    monkeypatch.setattr(nn_bench.training.Bar, "label", lambda self, text: labels.append(text))
    train(config(model="logistic", epochs=1, seed=3), images=images())
    train(config(model="logistic", epochs=1), tmp_path / "dense-3", images=images())
    assert [text.partition(",")[0] for text in labels[::2]] == ["RMDA-3", "dense-3"]
    assert labels[1].startswith("RMDA-3, epoch 1: accuracy")


def test_seeds_repeat_and_differ():
    runs = [train(config(seed=seed, model="lenet5-small"), images=images(side=28)) for seed in (1, 1, 2)]
    assert same_weights(runs[0].model, runs[1].model)
    assert not same_weights(runs[0].model, runs[2].model)


def test_frozen_parameters_stay():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 4))
    model[1].weight.requires_grad_(False)
    before = model[1].weight.clone()
    result = train(config(), images=images(), model=model)
    assert torch.equal(model[1].weight, before)
    assert [layer["name"] for layer in result.facts["layers"]] == ["3.weight"]


def test_the_full_gradient_is_that_of_the_mean_loss():
    data = images()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    got = full_gradient(model, data, HERE)
    nn.functional.cross_entropy(model(data.normalized(data.train)), data.train_labels).backward()
    for g, p in zip(got, model.parameters(), strict=True):
        torch.testing.assert_close(g, p.grad)


def test_the_estimate_of_full_batches_has_no_error_and_that_of_small_ones_has():
    settings = {"method": "ProxSGD", "options": {"momentum": 1.0}, "error_every": 2, "model": "logistic"}
    exact = train(config(batch_size=96, **settings), images=images())
    assert math.isnan(exact.history["estimator_error"][0])
    assert exact.history["estimator_error"][1] < 1e-5
    assert train(config(batch_size=8, **settings), images=images()).history["estimator_error"][1] > 0.1


def test_at_the_proximal_point_the_weights_are_exchanged_for_a_while():
    p = nn.Parameter(torch.ones(3, 2))
    optimizer = METHODS["RMDA"].build(
        [{"params": [p], "regularizer": GroupLasso(20.0, axis=1)}], 0.1, {"momentum": 0.5}, 1
    )
    p.grad = torch.zeros(3, 2)
    optimizer.step()
    before = p.detach().clone()
    with at_proximal_point(optimizer):
        assert bool((p == 0).all())
    assert torch.equal(p.detach(), before)


def test_weights_are_refused_by_another_model(tmp_path):
    save_weights(nn.Linear(3, 2), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="another model"):
        load_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match="no whole weights"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.safetensors")


def test_tied_weights_are_stored_once(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert list(weights_of(model)) == ["0.weight"]
    save_weights(model, tmp_path / "w.safetensors")
    before = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.zero_()
    load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model[1].weight, before)


def test_own_data_must_fit_the_model():
    with pytest.raises(ValueError, match="too small"):
        train(config(model="vgg16-bn"), images=images())
    assert isinstance(images(), Images)
