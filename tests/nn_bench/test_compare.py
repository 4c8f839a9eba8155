"""Comparisons and the commands."""

import html
import json

import click.testing
import numpy as np
import pandas as pd
import pytest
import torch
from small_networks import config

import nn_bench.compare
from manifold_id.cli import main
from nn_bench import commands
from nn_bench.compare import Comparison, builtin_names
from nn_bench.config import TrainConfig
from nn_bench.report import write_comparison_report, write_run_report
from nn_bench.tuning import chosen, points

torch.set_num_threads(1)
SPEC = """
seeds = [3, 5]
[base]
model = "logistic"
epochs = 4
milestones = [2]
lam = 0.02
train_rows = 200
[methods.RMDA]
growth = "divide"
options = { momentum = 0.1 }
[methods.dense]
method = "SGD"
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SPEC)
    return path


def test_a_comparison_has_a_row_for_each_run_and_a_report(spec, tmp_path):
    comparison = Comparison.from_toml(spec)
    assert comparison.methods["dense"].method == "SGD" and comparison.seeds == (3, 5)
    result = comparison.run(tmp_path / "out")
    frame = result.frame()
    assert list(zip(frame["method"], frame["seed"], strict=True)) == [
        ("RMDA", 3), ("dense", 3), ("RMDA", 5), ("dense", 5),
    ]  # fmt: skip
    assert (frame.loc[frame["method"] == "RMDA", "group_sparsity"] > 0.2).all()
    assert (frame.loc[frame["method"] == "dense", "group_sparsity"] == 0).all()
    curves = result.curves()
    assert len(curves) == 16
    changes = curves.groupby(["method", "seed"])["changes"]
    assert changes.sum()["RMDA", 3] == len(result.runs["RMDA", 3].trace.step) > 0
    stopped = curves["epoch"][curves["changes"] > 0].max()  # the last epoch with a change is that of the last change
    steps = curves.set_index("epoch")["step"].groupby("epoch").first()
    assert steps[stopped] >= frame["stabilized_at"].max() > steps.get(stopped - 1, 0)
    summary = result.summary()
    np.testing.assert_allclose(
        summary.loc["RMDA", ("accuracy", "mean")], frame.loc[frame["method"] == "RMDA", "accuracy"].mean()
    )
    again = comparison.run(tmp_path / "out")
    pd.testing.assert_frame_equal(again.frame(), frame)


def test_the_command_writes_what_it_prints(spec, tmp_path):
    runner = click.testing.CliRunner()
    out = tmp_path / "results"
    done = runner.invoke(commands.compare, [str(spec), "--out", str(out), "--seeds", "1", "--epochs", "2"])
    assert done.exit_code == 0, done.output
    assert "RMDA" in done.output and "group sparsity" in done.output
    page = (out / "report.html").read_text()
    assert "Group sparsity of the proximal point" in page and "train_rows" in page
    assert len(pd.read_csv(out / "runs.csv")) == 2


def test_the_train_command_prints_and_reports(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('model = "logistic"\nepochs = 2\nlam = 0.02\ntrain_rows = 200\ndevice = "cpu"\n')
    done = click.testing.CliRunner().invoke(commands.train, [str(path), "--out", str(tmp_path / "run"), "--seed", "4"])
    assert done.exit_code == 0, done.output
    assert "group sparsity" in done.output and "last change" in done.output
    assert "1.weight" in (tmp_path / "run" / "report.html").read_text()


def test_the_train_command_moves_the_milestones_with_the_epochs(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        'model = "logistic"\nepochs = 8\nmilestones = [4, 6]\ntrain_rows = 64\nbatch_size = 64\ndevice = "cpu"\n'
    )
    runner = click.testing.CliRunner()
    done = runner.invoke(commands.train, [str(path), "--out", str(tmp_path / "run"), "--epochs", "4"])
    assert done.exit_code == 0, done.output
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (stored["epochs"], stored["milestones"]) == (4, [2, 3])
    assert "milestones move along" in " ".join(runner.invoke(commands.train, ["--help"]).output.split())


def test_reports_are_written_anew(spec, tmp_path):
    out, run = tmp_path / "results", tmp_path / "results" / "RMDA-3"
    runner = click.testing.CliRunner()
    printed = runner.invoke(commands.compare, [str(spec), "--out", str(out), "--seeds", "1", "--epochs", "2"]).output
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    done = runner.invoke(main, ["report", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output == printed and (out / "report.html").read_bytes() == page
    done = runner.invoke(main, ["report", str(run)])
    assert done.exit_code == 0 and "last change" in done.output
    assert "1.weight" in (run / "report.html").read_text()
    (run / "result.json").unlink()
    assert "holds no finished run" in runner.invoke(main, ["report", str(run)]).stderr
    assert "RMDA-3' holds no finished run" in runner.invoke(main, ["report", str(out)]).stderr
    assert "is no results folder" in runner.invoke(main, ["report", str(tmp_path)]).stderr


def test_builtin_comparisons_are_valid():
    assert "lenet5-digits" in builtin_names()
    for name in builtin_names():
        comparison = Comparison.from_toml(name)
        assert {"RMDA", "ProxSGD", "ProxSSI", "SGD"} <= set(comparison.methods)
        assert comparison.tuned_by().startswith("Learning rate and lambda by an equal budget:")


@pytest.mark.parametrize("name", builtin_names())
def test_builtin_settings_are_what_the_stored_trials_choose(name):
    comparison = Comparison.from_toml(name)
    trials = pd.read_csv(nn_bench.compare.CONFIGS / f"{name}.trials.csv")
    tried = [(m, *p.values()) for m, grid in comparison.grids.items() for p in points(grid)]
    assert [(t.method, t.lr, t.lam)[: 3 - np.isnan(t.lam)] for t in trials.itertuples()] == tried
    for row in chosen(trials, comparison.tuning.drop).itertuples():
        config = comparison.methods[row.method]
        assert config.lr == row.lr and (config.lam == row.lam or np.isnan(row.lam))


def test_milestones_move_with_the_epochs():
    comparison = Comparison("x", {"a": config(epochs=10, milestones=(4, 8))}, (0,))
    assert comparison.changed(epochs=5).methods["a"].milestones == (2, 4)
    assert comparison.changed(epochs=1).methods["a"].milestones == ()
    retrained = config(epochs=10, retrain_from=6)
    assert [retrained.shortened(n).retrain_from for n in (20, 5, 2, 1)] == [12, 3, 1, 0]
    assert config(epochs=10).shortened(20).retrain_from == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = [1]\n[methods.RMDA]\n", r"key='seed' is not known: did you mean 'seeds'"),
        ("[methods.RMDA]\nlamda = 1\n", r"\[methods\.RMDA\]: setting='lamda' is not known: did you mean 'lam'"),
        ("[methods.RMDAA]\n", "method='RMDAA' is not known"),
        ("seeds = [1, 1]\n[methods.RMDA]\n", "different numbers"),
        ("seeds = [1]\n", "at least one table"),
        ("seeds = 3\n[methods.RMDA]\n", r"seeds=3 must be a list of numbers, such as \[0, 1, 2\]"),
        ('seeds = ["a"]\n[methods.RMDA]\n', "seeds='a' must be an integer"),
        ("seeds = [[1]]\n[methods.RMDA]\n", r"seeds=\[1\] must be an integer"),
        (f"seeds = [{2**60}]\n[methods.RMDA]\n", "seeds=.* must be at most 4294967295"),
        ("methods = 3\n", r"bad\.toml: methods=3 must be a table"),
        ("[methods]\nRMDA = 3\n", r"bad\.toml: methods\.RMDA=3 must be a table"),
        ("base = 3\n[methods.RMDA]\n", r"bad\.toml: base=3 must be a table"),
        ("tuning = 3\n[methods.RMDA]\n", r"bad\.toml: tuning=3 must be a table"),
        ("[methods.RMDA]\nmilestones = 5\n", r"\[methods\.RMDA\]: milestones=5 must be a list"),
        ("[methods.RMDA]\ngrid = 3\n", r"methods\.RMDA\.grid=3 must be a table"),
        ("[methods.RMDA]\ngrid = { lr = 3 }\n", r"\[methods\.RMDA\] grid: lr=3 must be a list of numbers"),
        ("[methods.RMDA]\ngrid = { lr = [] }\n", r"\[methods\.RMDA\] grid: lr=\[\] must be a list of numbers"),
        ("[methods.RMDA]\ngrid = { lr = ['a'] }\n", r"\[methods\.RMDA\] grid: lr='a' must be a real number"),
        ("seeds = [\n", r"bad\.toml:1: is not valid TOML"),
        ("[methods.'../RMDA']\nmethod = 'RMDA'\n", "folders of this name: use no slash"),
        ("[methods.'$x_$']\nmethod = 'RMDA'\n", "no formula that figures can draw"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises((TypeError, ValueError), match=message):
        Comparison.from_toml(path)


def test_unknown_comparisons_are_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'lenet5-digits'"):
        Comparison.from_toml("lenet5-digit")
    with pytest.raises(FileNotFoundError):
        Comparison.from_toml(tmp_path / "none.toml")
    assert nn_bench.compare.CONFIGS.is_dir()


def test_the_page_holds_a_file_that_repeats_the_runs(tmp_path):
    short = {"data": "digits", "train_rows": 32, "test_rows": 20, "epochs": 1, "milestones": ()}
    methods = {
        "RMDA": config(**short, options={"momentum": 0.5}),
        "Adam, 2": config(**short, method="ProxAdamW", options={"betas": (0.8, 0.9)}, regularizer=None, lr=1e-5),
    }
    result = Comparison("mine", methods, (3, 1)).run(tmp_path / "out")
    page = html.unescape(write_comparison_report(result).read_text(encoding="utf-8"))
    file = page[page.index("seeds = ") :].partition("</")[0]
    (tmp_path / "mine.toml").write_text(file, encoding="utf-8")
    again = Comparison.from_toml(tmp_path / "mine.toml")
    assert again.methods == methods and again.seeds == (3, 1)
    run = result.runs["RMDA", 3]
    page = html.unescape(write_run_report(run).read_text(encoding="utf-8"))
    (tmp_path / "run.toml").write_text(page[page.index("# run.toml") :].partition("</")[0], encoding="utf-8")
    assert TrainConfig.from_toml(tmp_path / "run.toml") == run.config
