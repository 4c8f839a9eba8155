"""The search for learning rate and lambda: equal budgets, images that the report never sees, the rule of choice."""

import dataclasses

import click.testing
import pandas as pd
import pytest
import torch
from small_networks import images

import nn_bench.compare
import nn_bench.training
from manifold_id.cli import main
from nn_bench import commands
from nn_bench.compare import Comparison
from nn_bench.tuning import Tuning, chosen

torch.set_num_threads(1)
SPEC = """
[tuning]
epochs = 2
train_rows = 200
held_out = 100
drop = 0.05
[base]
model = "logistic"
epochs = 4
milestones = [2]
[methods.RMDA]
grid = { lr = [0.05, 0.1], lam = [0.01, 0.5] }
[methods.SGD]
grid = { lr = [0.01, 0.02, 0.05, 0.1] }
"""


def comparison(tmp_path, text=SPEC):
    path = tmp_path / "small.toml"
    path.write_text(text)
    return Comparison.from_toml(path)


def test_the_command_tries_every_point_once_and_goes_on(tmp_path):
    comparison(tmp_path)
    arguments = [str(tmp_path / "small.toml"), "--out", str(tmp_path / "trials")]
    done = click.testing.CliRunner().invoke(commands.tune, arguments)
    assert done.exit_code == 0, done.output
    assert "4 points a method" in done.output and "all 8 trials" in done.output
    trials = pd.read_csv(tmp_path / "trials" / "trials.csv")
    assert list(trials["method"]) == ["RMDA"] * 4 + ["SGD"] * 4
    assert list(trials["lam"][:4]) == [0.01, 0.5, 0.01, 0.5] and trials["lam"][4:].isna().all()
    assert trials["group_sparsity"][1] > trials["group_sparsity"][0] >= 0 == trials["group_sparsity"][4]
    page = (tmp_path / "trials" / "report.html").read_text()
    assert "4 points a method" in page and "All trials" in page and page.count("<svg") == 1
    stamp = (tmp_path / "trials" / "SGD-lr0.01" / "result.json").stat().st_mtime_ns
    again = click.testing.CliRunner().invoke(commands.tune, arguments)
    assert again.output == done.output
    assert (tmp_path / "trials" / "SGD-lr0.01" / "result.json").stat().st_mtime_ns == stamp
    (tmp_path / "trials" / "report.html").unlink()
    assert click.testing.CliRunner().invoke(main, ["report", str(tmp_path / "trials")]).output == done.output
    assert (tmp_path / "trials" / "report.html").read_text() == page


@pytest.mark.parametrize("name", ["trials.csv", "tuning.json"])
def test_damage_of_a_search_is_named_and_mended(tmp_path, name):
    comparison(tmp_path)
    runner, out = click.testing.CliRunner(), str(tmp_path / "trials")
    arguments = [str(tmp_path / "small.toml"), "--out", out]
    assert runner.invoke(commands.tune, arguments).exit_code == 0
    path = tmp_path / "trials" / name
    whole = path.read_bytes()
    for damage in (whole.replace(b"RMDA", b"RMDB", 1), b"", None):
        path.unlink()
        path.mkdir() if damage is None else path.write_bytes(damage)
        done = runner.invoke(main, ["report", out])
        assert done.exit_code == 2 and done.stderr.count("\n") == 1
        assert f"{name}' " in done.stderr and "give the command that made it again, which mends it" in done.stderr
        assert runner.invoke(commands.tune, arguments).exit_code == 0
        assert path.read_bytes() == whole


def test_images_are_loaded_once(tmp_path, monkeypatch):
    small = dataclasses.replace(images(rows=400), name="digits")
    loaded = []
    for place in (nn_bench.compare, nn_bench.training):
        monkeypatch.setattr(place, "load_images", lambda name: loaded.append(name) or small)
    plan = SPEC.replace("lr = [0.05, 0.1], lam = [0.01, 0.5]", "lr = [0.05]").replace(
        "[0.01, 0.02, 0.05, 0.1]", "[0.1]"
    )
    assert len(comparison(tmp_path, plan).search(tmp_path / "trials")) == 2
    assert loaded == ["digits"]


def test_the_test_images_are_not_seen():
    whole = images()
    part = Tuning(epochs=1, train_rows=50, held_out=20, drop=0.0).split(whole)
    assert torch.equal(part.train, whole.train[:50]) and torch.equal(part.test, whole.train[-20:])
    assert torch.equal(part.test_labels, whole.train_labels[-20:])
    with pytest.raises(ValueError, match="held_out"):
        Tuning(epochs=1, train_rows=len(whole.train), held_out=1, drop=0.0).split(whole)


def test_a_method_takes_its_sparsest_point_of_those_nearly_as_accurate_as_the_best_of_all():
    rows = [
        ("A", 0.1, 1.0, 0.90, 0.5),
        ("A", 0.1, 2.0, 0.80, 0.9),
        ("A", 0.3, 1.0, 0.95, 0.4),
        ("B", 0.1, 1.0, 0.7, 0.1),
    ]
    trials = pd.DataFrame(rows, columns=["method", "lr", "lam", "accuracy", "group_sparsity"])
    assert list(chosen(trials, 0.06)["group_sparsity"]) == [0.5, 0.1]
    assert list(chosen(trials, 0.0)["accuracy"]) == [0.95, 0.7]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lam = [0.01, 0.5] }", "lam = [0.01] }", r"different numbers of points \(RMDA 2, SGD 4\)"),
        ("lam = [0.01, 0.5] }", "lamda = [0.01, 0.1] }", "grid='lamda' is not known: did you mean 'lam'"),
        ("grid = { lr = [0.01, 0.02, 0.05, 0.1] }", "", "SGD has none"),
        ("drop = 0.05", "", r"\[tuning\] lacks drop"),
        ("drop = 0.05", f"drop = 0.05\nseed = {2**60}", "tuning.seed=.* must be at most"),
        ("drop = 0.05", "drop = 0.05\nrows = 1", "tuning='rows' is not known"),
        ("epochs = 2", "epochs = 0", "tuning.epochs=0"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        comparison(tmp_path, SPEC.replace(old, new, 1))


def test_without_a_tuning_table_there_is_no_search(tmp_path):
    plain = comparison(tmp_path, "[methods.SGD]\n")
    assert plain.tuned_by() == ""
    with pytest.raises(ValueError, match=r"give it a table \[tuning\]"):
        plain.search(tmp_path)
