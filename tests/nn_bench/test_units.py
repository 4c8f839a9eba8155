"""Training with one group for each unit, across tensors: counted once, resumed, and taken out of the network."""

import pytest
import torch
from small_networks import config, images
from torch import nn

from manifold_id.optim import RMDA, group_parameters
from manifold_id.regularizers import GroupLasso
from nn_bench.compress import compress
from nn_bench.metrics import sparsity
from nn_bench.models import build_model
from nn_bench.training import train

torch.set_num_threads(1)
UNITS = {"by": "unit", "method": "RMDA", "lam": 0.02, "epochs": 12}


def test_a_run_by_units_counts_each_unit_once(tmp_path):
    settings = config(**UNITS)
    model = build_model("mlp", (1, 8, 8), 4)
    done = train(settings, tmp_path / "whole", images=images(), model=model)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][:-1]
    dead = sum(int((~layer.weight.detach().any(1) & (layer.bias.detach() == 0)).sum()) for layer in layers)
    units = sum(layer.out_features for layer in layers)
    assert 0 < dead < units
    assert done.group_sparsity == pytest.approx(dead / units)
    assert done.trace.atoms == units
    assert done.trace.active_count(done.trace.steps) == units - dead


def test_a_stopped_run_by_units_goes_on_bit_for_bit(tmp_path):
    settings = config(**UNITS)
    train(settings, tmp_path / "parts", images=images(), stop_after=5)
    train(settings, tmp_path / "parts", images=images())
    train(settings, tmp_path / "whole", images=images())
    whole, parts = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_pruning_within_tensors_is_refused_by_units():
    with pytest.raises(ValueError, match="unit"):
        train(config(by="unit", method="MagnitudePruning"), images=images())


def test_dense_sgd_by_units_names_what_is_counted():
    assert train(config(by="unit", method="SGD"), images=images()).group_sparsity == 0


def test_dead_units_go_whole_even_through_batch_normalization():
    torch.manual_seed(0)
    model = build_model("vgg16-bn", (3, 32, 32), 10).double()
    optimizer = RMDA(group_parameters(model, GroupLasso(20.0), by="unit", verbose=False), lr=0.01)
    with torch.no_grad():  # two of three filters of every layer are pulled to zero, whatever the data
        for group in optimizer.param_groups[:-1]:
            for p in group["params"]:
                p.grad = torch.zeros_like(p)
                p.grad[::3] = -50 * torch.randn_like(p[::3])
    for _ in range(3):
        optimizer.step()
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    model(x)  # running statistics
    model.eval()
    small = compress(model, x)
    torch.testing.assert_close(small(x), model(x), rtol=1e-9, atol=1e-12)
    widths = [(a.out_channels, b.out_channels) for a, b in zip(model, small, strict=True) if isinstance(a, nn.Conv2d)]
    assert widths and all(after == -(-before // 3) for before, after in widths)
    assert sparsity(optimizer)[0] == pytest.approx(1 - sum(b for _, b in widths) / sum(a for a, _ in widths))
