"""TrainConfig, models and data."""

import gzip
import json
import struct

import numpy as np
import pytest
import torch

from manifold_id import regularizers
from manifold_id.regularizers import MCP, Box, ElasticNet, LInfBall, SparseGroupLasso
from manifold_id.remote import DataFile, fetch, find
from nn_bench.config import TrainConfig
from nn_bench.data import SETS, _read_idx, load_images
from nn_bench.images import augmented
from nn_bench.methods import METHODS
from nn_bench.models import MODELS, build_model

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model": "lenet"}, ValueError, "did you mean 'lenet5'"),
        ({"data": "minst"}, ValueError, "did you mean 'mnist'"),
        ({"method": "RMDa"}, ValueError, "did you mean 'RMDA'"),
        ({"regularizer": "GroupLaso"}, ValueError, "did you mean 'GroupLasso'"),
        ({"options": {"momentm": 0.1}}, ValueError, "did you mean 'momentum'"),
        ({"lr": -1}, ValueError, "lr=-1 must be"),
        ({"lr": float("nan")}, ValueError, "lr=nan must be"),
        ({"epochs": 0}, ValueError, "epochs=0 must be at least 1"),
        ({"batch_size": 1.5}, TypeError, "batch_size=1.5 must be an integer"),
        ({"milestones": (3, 2)}, ValueError, "must increase"),
        ({"augment": 1}, TypeError, "augment=1 must be True or False"),
        ({"retrain_from": 20}, ValueError, "retrain_from=20 must be below epochs=20: give an earlier epoch"),
        ({"by": "channel"}, ValueError, "by='channel' is not known"),
        ({"method": "ProxSTORM", "precision": "float16"}, ValueError, "use bfloat16"),
        ({"device": "tpu"}, ValueError, "device='tpu' is not known"),
        ({"model": ["mlp"]}, ValueError, r"model=\['mlp'\] is not known"),
        ({"milestones": 5}, TypeError, "milestones=5 must be a list of epochs"),
        ({"milestones": [1.5]}, TypeError, "milestones=1.5 must be an integer"),
        ({"seed": 2**60}, ValueError, "seed=1152921504606846976 must be at most 4294967295"),
        ({"method": "SGD", "options": {"momentum": -1}}, ValueError, "momentum=-1 must be a finite number in"),
        ({"method": "SGD", "options": {"weight_decay": "a"}}, TypeError, "weight_decay='a' must be a real number"),
        ({"method": "SGD", "options": {"nesterov": 1}}, TypeError, "nesterov=1 must be True or False"),
        ({"method": "SGD", "options": {"nesterov": True, "momentum": 0}}, ValueError, "nesterov=True needs momentum"),
        ({"method": "RigL", "options": {"alpha": 2}}, ValueError, "alpha=2 must be"),
        ({"method": "MagnitudePruning", "options": {"every": 0}}, ValueError, "every=0 must be at least 1"),
        ({"method": "RMDA", "options": {"momentum": "a"}}, TypeError, "momentum='a' must be a real number"),
        ({"regularizer": "ElasticNet"}, ValueError, r"ElasticNet needs ridge: give regularizer_options"),
        ({"regularizer": "Box", "regularizer_options": {"lower": 0}}, ValueError, "Box needs upper"),
        ({"regularizer": "MCP", "regularizer_options": {"gama": 2}}, ValueError, "did you mean 'gamma'"),
        ({"regularizer": "MCP", "regularizer_options": {"gamma": 0.0}}, ValueError, "gamma=0.0 must"),
        ({"regularizer": "MCP", "regularizer_options": {"lam": 2}}, ValueError, "option of MCP='lam' is not known"),
        ({"regularizer": "L1", "regularizer_options": {"ridge": 2}}, ValueError, "L1 takes none"),
        ({"regularizer": None, "regularizer_options": {"ridge": 2}}, ValueError, "without a regularizer"),
        ({"regularizer_options": 3}, TypeError, "regularizer_options=3 must be a table"),
    ],
)
def test_mistakes_are_one_clear_error(settings, error, message):
    with pytest.raises(error, match=message):
        TrainConfig(**settings)


def test_a_config_goes_through_json_and_toml(tmp_path):
    config = TrainConfig(milestones=(2, 5), options={"momentum": 0.1})
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    path = tmp_path / "a.toml"
    path.write_text("milestones = [2, 5]\n[options]\nmomentum = 0.1\n")
    assert TrainConfig.from_toml(path) == config
    path.write_text("lr = -1\n")
    with pytest.raises(ValueError, match=r"a\.toml: lr=-1 must be"):
        TrainConfig.from_toml(path)
    path.write_text("epoch = 3\n")
    with pytest.raises(ValueError, match=r"a\.toml: setting='epoch' is not known: did you mean 'epochs'"):
        TrainConfig.from_toml(path)


@pytest.mark.parametrize(
    ("name", "options", "psi"),
    [
        ("ElasticNet", {"ridge": 0.25}, ElasticNet(0.1, ridge=0.25, axis=0)),
        ("SparseGroupLasso", {"l1_ratio": 0.25}, SparseGroupLasso(0.1, l1_ratio=0.25, axis=0)),
        ("MCP", {"gamma": 4.0}, MCP(0.1, gamma=4.0, axis=0)),
        ("Box", {"lower": -1, "upper": float("inf")}, Box(-1, float("inf"))),
        ("LInfBall", {}, LInfBall(0.1)),
    ],
)
def test_regularizers_with_more_than_lam(tmp_path, name, options, psi):
    config = TrainConfig(regularizer=name, lam=0.1, regularizer_options=options)
    assert config.psi() == psi
    path = tmp_path / "a.toml"
    path.write_text(config.to_toml())
    assert TrainConfig.from_toml(path) == config
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_every_regularizer_has_a_config():
    needed = {"ElasticNet": {"ridge": 1e-3}, "Box": {"lower": -1, "upper": 1}}
    for name in set(regularizers.__all__) - {"Regularizer", "Unpenalized", "Zero"}:
        assert type(TrainConfig(regularizer=name, regularizer_options=needed.get(name, {})).psi()).__name__ == name


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_config_draws_no_random_numbers(method):
    before = torch.get_rng_state()
    TrainConfig(method=method)
    assert torch.equal(torch.get_rng_state(), before)


PARAMETERS = {
    "logistic": 30730, "mlp": 1748634, "mlp-small": 98666, "lenet5": 657080, "lenet5-small": 83126,
    "vgg16-bn": 14724042, "vgg19-bn": 20035018, "resnet18": 11173962, "resnet50": 23520842, "transformer": 141898,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"planted-student"}))  # which takes its teacher's inputs only
def test_models_have_their_size_and_a_gradient_for_every_parameter(name):
    model = build_model(name, (3, 32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_lenet5_has_the_published_layers():
    shapes = [tuple(p.shape) for p in build_model("lenet5", (1, 28, 28), 10).parameters() if p.ndim > 1]
    assert shapes == [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)]
    shapes = [tuple(p.shape) for p in build_model("lenet5-small", (1, 28, 28), 10).parameters() if p.ndim > 1]
    assert shapes == [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]


def test_digits_are_normalized_and_divided():
    digits = load_images("digits")
    assert (len(digits.train), len(digits.test), digits.shape) == (1438, 359, (1, 28, 28))
    x = digits.normalized(digits.train)
    assert abs(float(x.mean())) < 1e-3 and abs(float(x.std()) - 1) < 1e-3
    with pytest.raises(ValueError, match="train_rows=1439 must be at most 1438"):
        digits.limited(1439)


def test_files_of_the_data_folder_are_read_where_there_is_one():
    if any(find(file) is None for file in SETS["fashion-mnist"].files):
        pytest.skip("needs the files of Fashion-MNIST in MANIFOLD_ID_DATA")
    images = load_images("fashion-mnist")
    assert images.train.shape == (60000, 1, 28, 28) and images.test.shape == (10000, 1, 28, 28)
    assert images.train_labels.bincount().tolist() == [6000] * 10


def test_a_damaged_file_and_a_missing_one_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFOLD_ID_DATA", str(tmp_path))
    (tmp_path / "x.bin").write_bytes(b"1")
    with pytest.raises(ValueError, match="the file is damaged or another version, replace it"):
        fetch(DataFile("x.bin", url_hash="md5:00"))
    with pytest.raises(FileNotFoundError, match=r"put y\.bin into a folder"):
        fetch(DataFile("y.bin", url_hash="md5:00"))
    monkeypatch.setenv("MANIFOLD_ID_DATA", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        fetch(DataFile("y.bin", url_hash="md5:00"))


def test_idx_files_are_read(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 3, 2, 2) + values.tobytes()))
    np.testing.assert_array_equal(_read_idx(path), values)
    path.write_bytes(gzip.compress(b"text"))
    with pytest.raises(ValueError, match="no IDX file"):
        _read_idx(path)


def test_augmentation_crops_and_mirrors_each_image_by_itself():
    source = torch.Generator().manual_seed(0)
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).repeat(200, 1, 1, 1)
    padded = torch.nn.functional.pad(image[0, 0], (1, 1, 1, 1))
    crops = [padded[i : i + 3, j : j + 3] for i in range(3) for j in range(3)]
    plain = {tuple(crop.reshape(-1).tolist()) for crop in crops}
    mirrored = {tuple(crop.flip(1).reshape(-1).tolist()) for crop in crops}
    seen = {tuple(x.reshape(-1).tolist()) for x in augmented(image, 1, False, source)}
    assert seen == plain
    seen = {tuple(x.reshape(-1).tolist()) for x in augmented(image, 1, True, source)}
    assert seen == plain | mirrored
