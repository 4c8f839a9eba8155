"""Regularization paths: a run for every lambda, folders that can be read again, the figure, mistakes."""

import html

import click.testing
import numpy as np
import pandas as pd
import pytest
import torch

from manifold_id.cli import main
from nn_bench import commands
from nn_bench.compare import Comparison
from nn_bench.path import PathResult, follow

torch.set_num_threads(1)
SPEC = """
seeds = [3, 5]
[base]
model = "logistic"
epochs = 2
train_rows = 200
[methods.RMDA]
lam = 0.5
path = [0.1, 0.01]
[methods.dense]
method = "SGD"
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SPEC)
    return path


def test_every_lambda_is_trained_with_every_seed(spec, tmp_path):
    comparison = Comparison.from_toml(spec)
    path = follow(comparison, tmp_path / "out")
    frame = path.frame()
    points = [("RMDA", 0.01), ("RMDA", 0.1), ("dense", np.nan)]  # lambda has no effect on the dense one
    expected = [(method, lam, seed) for seed in (3, 5) for method, lam in points]
    pd.testing.assert_frame_equal(
        frame[["method", "lam", "seed"]], pd.DataFrame(expected, columns=["method", "lam", "seed"])
    )
    alone = comparison.changed(lam=0.1).run(tmp_path / "alone").frame()
    own = frame[(frame["method"] == "RMDA") & (frame["lam"] == 0.1)]
    same = ["accuracy", "group_sparsity", "stabilized_at", "flicker"]
    np.testing.assert_array_equal(own[same], alone[alone["method"] == "RMDA"][same])
    sparsity = frame.groupby("lam")["group_sparsity"].mean()
    assert sparsity[0.1] > sparsity[0.01]
    pd.testing.assert_frame_equal(PathResult.load(tmp_path / "out").frame(), frame)


def test_the_command_prints_the_points_and_its_page_repeats_them(spec, tmp_path):
    runner, out = click.testing.CliRunner(), tmp_path / "out"
    done = runner.invoke(commands.compare, [str(spec), "--path", "--seeds", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert [line.split()[:2] for line in done.output.splitlines()[1:3]] == [["RMDA", "0.01"], ["RMDA", "0.1"]]
    assert done.output.splitlines()[3].split()[0] == "dense"
    assert list(pd.read_csv(out / "runs.csv")["lam"][:2]) == [0.01, 0.1]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    (out / "report.html").unlink()
    assert runner.invoke(main, ["report", str(out)]).output == done.output
    assert (out / "report.html").read_text(encoding="utf-8") == page
    text = html.unescape(page)
    (tmp_path / "again.toml").write_text(text[text.index("seeds = ") :].partition("</")[0], encoding="utf-8")
    again = Comparison.from_toml(tmp_path / "again.toml")
    given = Comparison.from_toml(spec).changed(seeds=1)
    assert (again.methods, again.seeds, again.paths) == (given.methods, given.seeds, given.paths)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("path = 0.1", r"\[methods\.RMDA\] path=0\.1 must be a list of numbers"),
        ("path = []", r"path=\[\] must be a list of numbers"),
        ("path = [0.1, -1]", r"path=-1 must be a finite number in \[0, inf\)"),
        ("path = [0.1, 0.1]", r"path=\[0\.1, 0\.1\] must be different values of lam"),
        ('method = "SGD"\npath = [0.1]', r"path=\[0\.1\]: the method has no lambda, leave the path out"),
    ],
)
def test_mistakes_are_named(tmp_path, path, message):
    file = tmp_path / "bad.toml"
    file.write_text(SPEC.replace("path = [0.1, 0.01]", path))
    with pytest.raises((TypeError, ValueError), match=message):
        Comparison.from_toml(file)


def test_a_comparison_without_a_path_has_none_to_follow(tmp_path):
    with pytest.raises(ValueError, match="'planted-inputs' has no path: give a method's table one"):
        follow(Comparison.from_toml("planted-inputs"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
