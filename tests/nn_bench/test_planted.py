"""Planted structure: the data are what they say, and RMDA finds the structure where ProxSGD does not."""

import numpy as np
import pytest
import torch
from small_networks import config
from torch import nn

from nn_bench.agreement import agreement, agreements
from nn_bench.planted import irrelevant_channels, irrelevant_inputs, near_teacher, sparse_teacher
from nn_bench.training import train


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 4))


def settings(**more):
    stages = {"epochs": 15, "batch_size": 50, "milestones": (10,), "factor": 0.5}
    return config(lr=0.2, lam=0.01, options={"momentum": 0.5}, **stages, **more)


def run_planted(settings, planted, model):
    result = train(settings, images=planted.images, model=model)
    return result, agreements(result, planted)


def test_rmda_finds_the_relevant_inputs_and_proxsgd_keeps_others():
    planted = irrelevant_inputs()
    result, (found,) = run_planted(settings(growth="divide"), planted, student())
    assert found.precision[-1] == found.recall[-1] == 1
    assert found.precision[0] == pytest.approx(0.25)  # at the start all 40 are active
    assert result.prox_trace.structure_at(300)[:40].tolist() == planted.codes["1.weight"].tolist()
    _, (other,) = run_planted(settings(method="ProxSGD"), planted, student())
    assert other.precision[-1] < 0.6


def test_labels_do_not_depend_on_irrelevant_inputs():
    planted = irrelevant_inputs(rows=500, seed=3)
    x = planted.images.train.reshape(500, 40).double()
    on = planted.codes["1.weight"] > 0
    y = planted.images.train_labels
    spread = np.array([(torch.stack([x[y == k, j].mean() for k in range(4)])).std().item() for j in range(40)])
    assert on.sum() == 10 and spread[on].mean() > 2 * spread[~on].mean()
    again = irrelevant_inputs(rows=500, seed=3)
    assert torch.equal(again.images.train, planted.images.train)


def test_the_teacher_knows_the_labels_and_only_its_active_units_count():
    planted, teacher = sparse_teacher()
    on = planted.codes["3.weight"] > 0
    assert on.sum() == 5 and (teacher[3].weight.norm(dim=0) > 0).tolist() == on.tolist()
    x = planted.images.normalized(planted.images.test)
    assert torch.equal(teacher(x).argmax(1), planted.images.test_labels)


def test_students_start_near_the_teacher_each_at_another_place():
    _, teacher = sparse_teacher()
    torch.manual_seed(0)
    students = [near_teacher((30, 1, 1), 4) for _ in range(2)]
    for layer in (1, 3):
        first, second, true = (net[layer].weight.detach() for net in (*students, teacher))
        assert 0.08 < float((first - true).std() / true.std()) < 0.12
        assert not torch.equal(first, second)
    with pytest.raises(ValueError, match="use it with data='planted-teacher'"):
        near_teacher((1, 28, 28), 10)


def test_the_teachers_units_are_found_where_the_regularizer_is_strong_enough():
    planted = sparse_teacher()[0]
    found = {}
    for lam in (1e-2, 1e-4):
        torch.manual_seed(0)
        given = settings(method="ProxSGD").changed(lr=0.1, lam=lam)
        _, (found[lam],) = run_planted(given, planted, near_teacher(planted.images.shape, 4))
    assert found[1e-2].precision[-1] == found[1e-2].recall[-1] == 1
    assert found[1e-4].precision[-1] < 0.6


def test_irrelevant_channels_hold_noise_alone():
    planted = irrelevant_channels()
    on = planted.codes["conv1.weight"] > 0
    x, y = planted.images.train.double(), planted.images.train_labels
    means = torch.stack([x[y == k].mean(dim=0) for k in range(4)]).std(dim=0).mean(dim=(1, 2)).numpy()
    assert on.sum() == 3 and means[on].min() > 2 * means[~on].max()


def test_a_tensor_that_was_not_followed_is_refused():
    planted = irrelevant_inputs(rows=100)
    result, _ = run_planted(config(epochs=1), planted, student())
    with pytest.raises(ValueError, match="was not followed"):
        agreement(result, "2.weight", np.ones(3))


def test_an_augmentation_that_changes_nothing_is_refused():
    with pytest.raises(ValueError, match="augment=True, but the images of 'planted' have no augmentation"):
        train(settings(augment=True), images=irrelevant_inputs(rows=500).images, model=student())
