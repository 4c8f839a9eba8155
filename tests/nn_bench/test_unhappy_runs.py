"""What goes wrong around a run: two processes, damaged files, a full disk, settings that don't fit, divergence."""

import json

import numpy as np
import pytest
import torch
from filelock import FileLock
from small_networks import config, images

import nn_bench.checkpoint
from nn_bench.compare import Comparison
from nn_bench.data import load_images
from nn_bench.report import write_run_report
from nn_bench.result import load_result
from nn_bench.stored import DamagedRunError, read_sealed, sums, write_sealed
from nn_bench.training import train
from nn_bench.tuning import Tuning, search


def test_a_folder_that_another_process_writes_is_refused(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(ValueError, match="is being written by another process"):
        train(config(epochs=1), tmp_path, images=images())
    assert train(config(epochs=1), tmp_path, images=images()).facts["epochs"] == 1


def flip_a_bit(path):
    """Change one number of a file's tensors: the file can still be read."""
    content = bytearray(path.read_bytes())
    place = len(content) // 2
    content[place] ^= 1
    path.write_bytes(content)


def make_a_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "bit": flip_a_bit,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
    "folder": make_a_folder,
}
FILES = (
    "result.json",
    "result.measured",
    "config.json",
    "log.csv",
    "weights.safetensors",
    "trace.npz",
    "prox_trace.npz",
)


def computed(folder):
    """The bytes of a run's files but those that differ when it is repeated."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".measured"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.parent.name != "tensorboard"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_named_and_mended(tmp_path, damage):
    train(config(epochs=2, model="logistic"), tmp_path, images=images())
    whole = computed(tmp_path)
    for name in FILES:
        if (name, damage) == ("result.json", "deleted"):  # of a run that is not finished
            continue
        DAMAGES[damage](tmp_path / name)
        with pytest.raises(DamagedRunError, match=rf"{name}' .*: give the command that made it again"):
            load_result(tmp_path, images=images())
        if name != "config.json" or damage not in ("bit", "cut"):
            with pytest.raises(ValueError, match="another config" if name != "result.json" else "result.json"):
                train(config(epochs=3), tmp_path, images=images())
        mended = train(config(epochs=2, model="logistic"), tmp_path, images=images())
        assert computed(tmp_path) == whole
        assert load_result(tmp_path, images=images()).facts == mended.facts


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "checkpoint.json", "checkpoint.measured"])
def test_a_damaged_checkpoint_is_named_and_trained_again(tmp_path, name, damage):
    settings = config(epochs=2, model="logistic")
    train(settings, tmp_path / "one", images=images())
    train(settings, tmp_path / "two", images=images(), stop_after=1)
    DAMAGES[damage](tmp_path / "two" / "checkpoint-000001" / name)
    with pytest.warns(UserWarning, match=rf"checkpoint-000001/{name}' .*: the run goes on from before it"):
        train(settings, tmp_path / "two", images=images())
    assert computed(tmp_path / "two") == computed(tmp_path / "one")


def test_a_file_in_the_place_of_a_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoint-000001").write_text("")
    with pytest.warns(UserWarning, match="checkpoint-000001/checkpoint.json' cannot be read"):
        train(config(epochs=1, model="logistic"), tmp_path, images=images())


def test_pickled_objects_are_not_loaded(tmp_path):
    train(config(), tmp_path, images=images(), stop_after=1)
    place = tmp_path / "checkpoint-000001"
    torch.save({"config": Comparison}, place / "state.pt")
    write_sealed(place / "checkpoint.json", {"files": sums(place, ["weights.safetensors", "state.pt"])})
    with pytest.warns(UserWarning, match="state.pt' holds no tensors and plain values"):
        train(config(), tmp_path, images=images(), stop_after=1)


def test_a_run_of_another_version_is_refused_and_its_report_says_so(tmp_path):
    train(config(), tmp_path, images=images())
    stored = read_sealed(tmp_path / "result.json")
    stored["versions"] |= {"manifold-id": "0.0.1", "torch": "1.2.3"}
    write_sealed(tmp_path / "result.json", stored)
    with pytest.raises(ValueError, match="holds a run of another version of this package: choose another folder"):
        train(config(), tmp_path, images=images())
    page = write_run_report(load_result(tmp_path, images=images())).read_text(encoding="utf-8")
    assert "0.0.1" in page and "1.2.3" in page


def test_a_run_on_other_images_is_refused(tmp_path):
    train(config(), tmp_path, images=images(), stop_after=1)
    for stop in (1, None):
        with pytest.raises(ValueError, match="holds a run on other images: choose another folder"):
            train(config(), tmp_path, images=images(seed=1))
        train(config(), tmp_path, images=images(), stop_after=stop)
    with pytest.raises(ValueError, match="holds a run on other images: choose another folder"):
        load_result(tmp_path, images=images(seed=1))


def test_a_checkpoint_that_can_t_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("[enforce fail] no space left\nmore")

    train(config(), tmp_path, images=images(), stop_after=1)
    monkeypatch.setattr(nn_bench.checkpoint.torch, "save", full)
    with pytest.raises(OSError, match=r"could not be written \(\[enforce fail\] no space left\): free some space"):
        train(config(), tmp_path, images=images())
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(("checkpoint", ".part"))] == ["checkpoint-000001"]
    assert train(config(), tmp_path, images=images()).facts["epochs"] == 4


def test_options_given_as_tuples_are_those_of_the_finished_run(tmp_path):
    given = config(method="ProxAdamW", epochs=1, options={"betas": (0.9, 0.99)})
    first = train(given, tmp_path, images=images())
    assert train(given, tmp_path, images=images()).facts == first.facts


def test_what_a_killed_process_left_half_written_is_removed_by_the_next_run_under_its_lock(tmp_path):
    train(config(), tmp_path, images=images(), stop_after=1)
    (tmp_path / ".part-1234.json").write_text("{")
    (tmp_path / ".part-abcd").mkdir()
    (tmp_path / ".part-abcd" / "state.pt").write_bytes(b"half")
    with FileLock(tmp_path / ".lock"), pytest.raises(ValueError, match="another process"):
        train(config(), tmp_path, images=images())
    assert len([*tmp_path.glob(".part-*")]) == 2
    assert train(config(), tmp_path, images=images()).facts["epochs"] == 4
    assert not [*tmp_path.glob(".part-*")]


def test_folders_of_before_a_setting_was_added_are_recognized(tmp_path):
    finished = train(config(), tmp_path, images=images())
    stored = read_sealed(tmp_path / "result.json")
    del stored["config"]["regularizer_options"]
    write_sealed(tmp_path / "result.json", stored)
    assert train(config(), tmp_path, images=images()).facts == json.loads(json.dumps(finished.facts))


def test_a_run_that_diverges_in_its_last_step_is_stopped(tmp_path):
    one = config(method="SGD", lr=1e38, epochs=1, batch_size=96, regularizer=None, lam=0.0)
    with pytest.raises(ValueError, match="step 1: the test loss is not finite"):
        train(one, tmp_path, images=images())
    assert not (tmp_path / "result.json").exists()


def digits(**more):
    return config(data="digits", train_rows=64, test_rows=40, epochs=2, batch_size=32, **more)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (digits(method="ProxSSI", growth="divide"), "second.*momentum='divide'"),
        (config(data="planted-inputs", by="output_channel", model="mlp-small"), "second.*40 codes"),
        (digits(model="vgg16-bn"), "second"),
    ],
)
def test_settings_that_do_not_fit_are_said_before_the_first_run(tmp_path, second, message):
    both = Comparison("both", {"first": digits(), "second": second}, (0,))
    with pytest.raises(ValueError, match=message):
        both.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"out": ""}, ValueError, "out='' is no path"),
        ({"out": 5}, TypeError, "out=5 must be a path"),
        ({"progress": "no"}, TypeError, "progress='no' must be True or False"),
        ({"stop_after": -1}, ValueError, "stop_after=-1 must be at least 0"),
        ({"config": config(batch_size=97)}, ValueError, "batch_size=97 is larger than the 96 training images"),
    ],
)
def test_arguments_that_are_none_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        train(**{"config": config(), "images": images()} | change)


def test_a_search_whose_minibatches_are_too_large_is_refused_before_its_first_trial(tmp_path):
    methods = {"first": digits(), "second": digits(method="ProxSGD")}
    tuning = Tuning(epochs=2, train_rows=16, held_out=32, drop=0.1)
    with pytest.raises(ValueError, match="batch_size=32 is larger than the 16 training images"):
        search(
            methods,
            {name: {"lr": [0.1]} for name in methods},
            tuning,
            {"digits": load_images("digits")},
            tmp_path / "x",
        )
    assert not (tmp_path / "x").exists()


def test_names_of_runs_are_one_line():
    with pytest.raises(ValueError, match=r"methods name='a\\nb' has the character '\\n'"):
        Comparison("c", {"a\nb": digits()}, (0,))


def test_a_trial_that_diverges_counts_as_wrong_and_the_others_go_on(tmp_path):
    grids = {"SGD": {"lr": [1e38, 0.05]}}
    tuning = Tuning(epochs=2, train_rows=64, held_out=32, drop=0.1)
    methods = {"SGD": digits(method="SGD", regularizer=None, lam=0.0)}
    table = search(methods, grids, tuning, {"digits": load_images("digits")}, tmp_path)
    assert table["accuracy"][0] == 0 and table["accuracy"][1] > 0


def test_trials_on_other_rows_are_not_taken_for_these(tmp_path):
    grids = {"SGD": {"lr": [0.05]}}
    methods = {"SGD": digits(method="SGD", regularizer=None, lam=0.0)}
    data = {"digits": load_images("digits")}
    search(methods, grids, Tuning(epochs=2, train_rows=64, held_out=32, drop=0.1), data, tmp_path)
    with pytest.raises(ValueError, match="holds a run of another config"):
        search(methods, grids, Tuning(epochs=2, train_rows=96, held_out=32, drop=0.1), data, tmp_path)


def test_the_structure_followed_in_retraining_is_that_of_the_weights():
    run = train(config(retrain_from=2, lam=0.02), images=images())
    for layer in run.facts["layers"]:
        weight = dict(run.model.named_parameters())[layer["name"]]
        active = (weight.detach() != 0).flatten(2).any(2).any(0) if weight.ndim > 2 else (weight.detach() != 0).any(0)
        assert np.array_equal(run.trace.structure_at(run.trace.steps)[layer["start"] : layer["stop"]], active.int())
    assert torch.is_tensor(weight)
