"""The regularization path: equal to cold solves, certified, kept in a folder and resumed; its command."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from command_points import found
from scipy.sparse import random_array
from sklearn.datasets import dump_svmlight_file

from convex_bench import Problem, RegularizationPath, regularization_path, solve
from convex_bench.reports.path_report import atom_norms, figure
from convex_bench.storage import StoredFileError
from convex_bench.studies import stored_path
from manifold_id import cli
from manifold_id.certificate import certify
from manifold_id.regularizers import L1, MCP, Box, ElasticNet, GroupLasso, NuclearNorm, SparseGroupLasso


def problem_of(regularizer, loss="logistic", sparse=False, intercept=False, n=80, p=24):
    random = np.random.default_rng(3)
    X = random.standard_normal((n, p))
    if sparse:
        X = random_array((n, p), density=0.4, rng=random, data_sampler=random.standard_normal).tocsr()
    margin = np.asarray(X @ np.r_[np.full(5, 1.5), np.zeros(p - 5)]).ravel() + random.standard_normal(n)
    y = {"logistic": np.sign(margin), "squared": margin, "multinomial": np.digitize(margin, [-1.5, 1.5])}[loss]
    return Problem(X, y, loss, regularizer=regularizer, intercept=intercept)


CASES = {
    "l1": problem_of(L1(1.0)),
    "l1-sparse-intercept": problem_of(L1(1.0), sparse=True, intercept=True),
    "group-sparse": problem_of(GroupLasso(1.0, groups=4), sparse=True),
    "elastic-squared": problem_of(ElasticNet(1.0, ridge=0.1), loss="squared"),
    "sparse-group": problem_of(SparseGroupLasso(1.0, groups=4)),
    "l1-multinomial": problem_of(L1(1.0), loss="multinomial", sparse=True),
    "nuclear": problem_of(NuclearNorm(1.0), loss="multinomial", n=60, p=6),
}


@pytest.mark.parametrize("name", CASES)
def test_path_equals_cold_solves(name):
    problem = CASES[name]
    path = regularization_path(problem, [0.5, 0.8, 0.2])
    np.testing.assert_array_equal(path.ratio, [0.8, 0.5, 0.2])
    np.testing.assert_allclose(path.lam, path.ratio * problem.lambda_max(), rtol=1e-15)
    for k, lam in enumerate(path.lam):
        at = problem.with_lam(lam)
        cold, w = solve(at), path.coefficients[k]
        again = certify(w, at.gradient(w), at.regularizer)
        assert path.status[k] == cold.status == again.status == "certified"
        np.testing.assert_array_equal(again.codes, cold.codes)
        assert path.active[k] == cold.active
        np.testing.assert_allclose(w, cold.w, rtol=0, atol=1e-9 * np.abs(cold.w).max())
        assert path.value[k] == at.value(w)
        assert path.margin[k] == pytest.approx(cold.relative_margin, rel=1e-6)
        assert path.smallest_active[k] == pytest.approx(cold.smallest_active, rel=1e-6)
        assert path.residual[k] <= 1e-12


def test_default_ratios_end_at_the_smallest():
    path = regularization_path(CASES["l1"], count=4, min_ratio=0.1)
    np.testing.assert_allclose(path.ratio, [0.1**0.25, 0.1**0.5, 0.1**0.75, 0.1])


def test_warm_starts_save_iterations():
    path = regularization_path(CASES["l1"], count=20, min_ratio=0.05)
    cold = [solve(CASES["l1"].with_lam(lam)).iterations for lam in path.lam]
    assert path.iterations.sum() < sum(cold)


def test_at_lambda_max_the_solution_is_zero_and_degenerate():
    path = regularization_path(CASES["group-sparse"], [1.0])
    assert path.active[0] == 0
    assert path.status[0] == "degenerate"
    assert not path.coefficients.any()


def test_frame_and_files(tmp_path):
    path = regularization_path(CASES["group-sparse"], [0.7, 0.3])
    frame = path.frame()
    assert len(frame) == len(path) == 2
    assert "coefficients" not in frame
    assert path.save(tmp_path / "new") == tmp_path / "new" / "path.npz"
    again = RegularizationPath.load(tmp_path / "new")
    np.testing.assert_array_equal(again.coefficients, path.coefficients)
    assert again.frame().equals(frame)
    names = sorted(file.name for file in (tmp_path / "new").iterdir())
    assert names == ["path.json", "path.measured", "path.npz", "path.parquet"]
    assert "seconds" not in pd.read_parquet(tmp_path / "new" / "path.parquet")
    slower = dataclasses.replace(path, seconds=path.seconds + 1.0)
    slower.save(tmp_path / "slower")
    for name in names:
        same = (tmp_path / "slower" / name).read_bytes() == (tmp_path / "new" / name).read_bytes()
        assert same == (name != "path.measured")


@pytest.mark.parametrize("name", ["path.json", "path.measured", "path.npz"])
@pytest.mark.parametrize("damage", ["bit", "folder"])
def test_a_damaged_file_of_a_path_is_named_and_written_anew(tmp_path, name, damage):
    path = regularization_path(CASES["group-sparse"], [0.7])
    path.save(tmp_path)
    target, whole = tmp_path / name, (tmp_path / name).read_bytes()
    target.unlink()
    if damage == "bit":
        target.write_bytes(bytes([*whole[:-9], whole[-9] ^ 1, *whole[-8:]]))
    else:
        target.mkdir()
    with pytest.raises(StoredFileError, match=re.escape(name)):
        RegularizationPath.load(tmp_path)
    path.save(tmp_path)
    assert target.read_bytes() == whole
    assert RegularizationPath.load(tmp_path).frame().equals(path.frame())


def test_a_folder_without_a_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="name the folder of a path"):
        RegularizationPath.load(tmp_path)


def test_norms_of_atoms_are_those_of_the_groups():
    path = regularization_path(CASES["group-sparse"], [0.3])
    norms = atom_norms(CASES["group-sparse"], path)
    np.testing.assert_allclose(norms[0], np.linalg.norm(path.coefficients[0].reshape(-1, 4), axis=1))
    assert (norms[0] > 0).sum() == path.active[0]


def test_figure_names_the_largest_atoms_and_draws_every_lam():
    problem = CASES["l1"]
    path = regularization_path(problem, count=6, min_ratio=0.05)
    drawn = figure(problem, path)
    named = [line for line in drawn.axes[0].lines if line.get_label().startswith("entry ")]
    largest = np.argsort(-np.abs(path.coefficients).max(axis=0))[0]
    assert named[0].get_label() == f"entry {largest}"
    np.testing.assert_array_equal(drawn.axes[1].lines[0].get_ydata(), path.active)
    assert drawn.axes[2].xaxis_inverted()


def test_figure_calls_groups_by_their_labels():
    labels = [f"group {name}" for name in "fedcba" for _ in range(4)]  # numbered in sorted order: the last ones first
    problem = problem_of(GroupLasso(1.0, groups=labels))
    path = regularization_path(problem, count=4, min_ratio=0.2)
    strongest = labels[int(np.argmax(np.abs(path.coefficients[-1])))]
    named = [line.get_label() for line in figure(problem, path).axes[0].lines]
    assert strongest in named and set(named) <= set(labels)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ratios": []}, "at least one"),
        ({"ratios": [0.5, 0.5]}, "distinct"),
        ({"ratios": 0.5}, r"ratios=0.5 must be a list"),
        ({"ratios": [1.5]}, "ratios"),
        ({"ratios": [0.0]}, "ratios"),
        ({"count": 0}, "count"),
        ({"min_ratio": 1.0}, "below 1"),
        ({"min_ratio": float("nan")}, "min_ratio"),
        ({"tol": 1e-6}, "tol"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        regularization_path(CASES["l1"], **arguments)


@pytest.mark.parametrize(
    ("regularizer", "words"), [(MCP(1.0, gamma=3.0), "not convex"), (Box(-1.0, 1.0), "has no path")]
)
def test_regularizers_without_a_path_are_refused(regularizer, words):
    with pytest.raises(ValueError, match=words):
        regularization_path(problem_of(regularizer))


def test_only_problems_have_a_path():
    with pytest.raises(TypeError, match="Problem"):
        regularization_path(np.eye(3))


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Call `manifold-id` in an empty folder with a small svmlight file."""
    monkeypatch.setattr(cli, "entry_points", found)
    monkeypatch.chdir(tmp_path)
    X, y = CASES["l1"].X, CASES["l1"].y
    dump_svmlight_file(X, y, str(tmp_path / "rows.svm"), zero_based=False)
    return lambda *words: CliRunner().invoke(cli.main, ["path", *words])


def test_command_writes_table_files_and_page(call, tmp_path):
    result = call("rows.svm", "--penalty", "group", "--groups", "4", "--count", "3", "--min-ratio", "0.2")
    assert result.exit_code == 0, result.output
    assert "3 of 3 solutions certified" in result.output
    folder = tmp_path / "results" / "path-rows.svm"
    page = (folder / "report.html").read_text()
    assert "<svg" in page
    assert "manifold-id path rows.svm --count 3 --groups 4 --loss logistic --min-ratio 0.2 --out " in page
    path = RegularizationPath.load(folder)
    np.testing.assert_allclose(path.ratio[-1], 0.2)
    assert f"{path.value[1]:.10g}" in result.output
    assert f"{path.value[1]:.10g}" in page


def test_a_stopped_path_goes_on_where_it_was(call, tmp_path, monkeypatch):
    words = ("rows.svm", "--count", "5", "--min-ratio", "0.1", "--out", "here")
    plain, solved = stored_path.walk, []

    def walk(*arguments, stop=None):
        for solution in plain(*arguments):
            if len(solved) == stop:
                raise KeyboardInterrupt
            solved.append(solution)
            yield solution

    monkeypatch.setattr(stored_path, "walk", lambda *arguments: walk(*arguments, stop=2))
    stopped = call(*words)
    assert stopped.exit_code == 130
    assert "2 of 5 solutions are stored" in stopped.output
    assert len(list((tmp_path / "here" / "solutions").glob("*.json"))) == 2
    monkeypatch.setattr(stored_path, "walk", walk)
    assert call(*words).exit_code == 0
    assert len(solved) == 5
    first = RegularizationPath.load(tmp_path / "here")
    assert call(*words).exit_code == 0
    assert len(solved) == 5
    again = RegularizationPath.load(tmp_path / "here")
    assert again.frame().equals(first.frame())
    np.testing.assert_array_equal(again.coefficients, first.coefficients)
    damaged = sorted((tmp_path / "here" / "solutions").glob("*.npz"))[0]
    damaged.write_bytes(b"")
    assert call(*words).exit_code == 0
    assert 5 < len(solved) <= 10
    assert call(*words, "--force").exit_code == 0
    assert len(solved) >= 11


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.svm",), "nowhere.svm"),
        (("rows.svm", "--min-ratio", "2"), "min_ratio"),
        (("rows.svm", "--tol", "1e-3"), "tol"),
        (("rows.svm", "--penalty", "group", "--groups", "none.txt"), "none.txt"),
        (("rows.svm", "--ridge", "0.1"), "ridge"),
        (("rows.svm", "--out", "rows.svm"), "rows.svm"),
    ],
)
def test_bad_input_is_one_line_before_any_work(call, words, message, monkeypatch):
    monkeypatch.setattr(stored_path, "walk", None)
    result = call(*words)
    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert message in result.output
    assert result.output.count("\n") == 1
