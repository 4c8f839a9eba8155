"""The commands study, solve, data and report, as a user calls them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command_points import found

from convex_bench import Results
from manifold_id import cli

ROOT = Path(__file__).resolve().parents[2]

SPEC = """\
seeds = 2
steps = 60

[problems."rows & <columns>"]
planted = { n = 60, groups = 6, group_size = 2, active = 2, seed = 1 }

[methods.RMDA]
lr = 0.05

[methods.ProxSGD]
lr = 0.05
"""


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Call `manifold-id` in an empty folder, its commands found as pyproject.toml declares them."""
    monkeypatch.setattr(cli, "entry_points", found)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(SPEC)
    return lambda *words: CliRunner().invoke(cli.main, list(words))


def succeed(result):
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


# --- study and report ---------------------------------------------------------------------------------------------


def test_study_prints_its_table_and_writes_a_self_contained_report(call, tmp_path):
    output = succeed(call("study", "s.toml"))
    for word in ("rows & <columns>", "RMDA", "ProxSGD", "/2", "report:"):
        assert word in output
    path = tmp_path / "results" / "s" / "report.html"
    assert str(path.relative_to(tmp_path)) in output.replace("\n", "")
    page = path.read_text()
    assert page.count("<svg") >= 5
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", page), "the page loads something from elsewhere"
    assert "@import" not in page
    assert "manifold-id study s.toml --out results/s" in page
    assert "rows &amp; &lt;columns&gt;" in page
    assert "rows & <columns>" not in page
    for word in ("margin", "noise", "certified", "numpy", "identified"):
        assert word in page


def test_study_options(call, tmp_path):
    succeed(call("study", "s.toml", "--out", "here", "--seeds", "3", "--steps", "40", "--jobs", "1"))
    frame = Results.load(tmp_path / "here").frame()
    assert len(frame) == 6
    assert (frame.steps == 40).all()


def test_study_twice_and_forced(call, tmp_path, monkeypatch):
    from convex_bench.studies import blocks

    succeed(call("study", "s.toml"))
    original, made = blocks.engine.run, []
    monkeypatch.setattr(blocks.engine, "run", lambda *a, **k: made.append(1) or original(*a, **k))
    succeed(call("study", "s.toml"))
    assert not made
    succeed(call("study", "s.toml", "--force"))
    assert made


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (("--out", ""), SPEC),
        (("--out", "out"), SPEC.replace("n = 60", "n = 0")),
        ((), SPEC.replace("lr = 0.05", "lr = -1")),
    ],
)
def test_a_mistake_leaves_no_folder(call, tmp_path, words, spec):
    (tmp_path / "s.toml").write_text(spec)
    result = call("study", "s.toml", *words)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["s.toml"]


def test_report_again(call, tmp_path):
    succeed(call("study", "s.toml", "--out", "here"))
    (tmp_path / "here" / "report.html").unlink()
    assert "ProxSGD" in succeed(call("report", "here"))
    assert (tmp_path / "here" / "report.html").is_file()


def test_report_of_an_unfinished_study(call, tmp_path):
    succeed(call("study", "s.toml", "--out", "here"))
    results = Results.load(tmp_path / "here")
    for _, method, key in results.cells():
        if method == "ProxSGD":
            (tmp_path / "here" / "runs" / f"{key}.0.runs").unlink()
    assert "2 runs are not there" in succeed(call("report", "here"))


# --- solve and data -------------------------------------------------------------------------------------------------


def test_solve_prints_the_certificate(call):
    output = succeed(call("solve", "memset", "--loss", "squared", "--penalty", "group", "--lam-ratio", "0.2"))
    for word in ("certified", "margin", "residual", "gap"):
        assert word in output


@pytest.mark.parametrize(
    ("penalty", "more"),
    [
        ("l1", ()),
        ("elastic", ("--ridge", "0.1")),
        ("group", ("--groups", "4")),
        ("sparse-group", ("--l1-ratio", "0.3")),
    ],
)
def test_solve_as_json(call, penalty, more):
    words = ("memset", "--loss", "squared", "--penalty", penalty, "--lam-ratio", "0.3", "--intercept", "--json")
    solution = json.loads(succeed(call("solve", *words, *more)))
    assert solution["status"] == "certified"
    assert len(solution["w"]) == 29
    assert solution["max_residual"] <= 1e-12


def test_solvers_agree(call):
    words = ("solve", "memset", "--loss", "squared", "--lam", "0.02", "--json")
    first, second = (json.loads(succeed(call(*words, "--solver", solver))) for solver in ("auto", "cvxpy"))
    assert first["value"] == pytest.approx(second["value"], rel=1e-6)


def test_solve_svmlight_file_with_labels(call, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.random((30, 4))
    rows = [f"{i % 2} " + " ".join(f"{j + 1}:{x:.3f}" for j, x in enumerate(row)) for i, row in enumerate(values)]
    (tmp_path / "d.svm").write_text("\n".join(rows) + "\n")
    (tmp_path / "g.txt").write_text("a\na\nb\nb\n")
    words = ("solve", "d.svm", "--penalty", "group", "--groups", "g.txt", "--lam-ratio", "0.5", "--json")
    assert len(json.loads(succeed(call(*words)))["codes"]) == 2


def test_data_lists_and_describes(call):
    output = succeed(call("data"))
    for word in ("a9a", "mushrooms", "packed", "32,561", "123", "14", "mnist"):
        assert word in output
    output = succeed(call("data", "mushrooms"))
    assert "8,124 rows" in output
    assert "groups: 21" in output


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("study", "absent.toml"), "study file 'absent.toml' does not exist"),
        (("study", "wrong.toml"), "wrong.toml:2: step: key='step' is not known: did you mean 'steps'?"),
        (("study", "s.toml", "--out", "s.toml"), "out='s.toml' is no folder that can be written"),
        (("study", "s.toml", "--jobs", "2", "--processes", "2"), "jobs=2 and processes=2 exclude each other"),
        (("report", "."), "'.' is no results folder"),
        (("solve", "mushroms"), "did you mean 'mushrooms'?"),
        (("solve", "absent.svm"), "absent.svm"),
        (("solve", "memset", "--loss", "square"), "did you mean 'squared'?"),
        (("solve", "memset", "--loss", "squared", "--lam", "-1"), "lam=-1.0 must be"),
        (("solve", "memset", "--loss", "squared", "--lam", "1", "--lam-ratio", "1"), "exactly one of them"),
        (("solve", "memset", "--loss", "squared", "--groups", "4"), "L1 has no groups"),
        (("solve", "memset", "--loss", "squared", "--ridge", "4"), "'ridge' is not known"),
        (("solve", "memset", "--loss", "squared", "--penalty", "group", "--groups", "5"), "groups"),
        (("solve", "digits", "--penalty", "group"), "comes without groups"),
        (("solve", "memset", "--loss", "squared", "--solver", "magic"), "solver='magic'"),
        (("data", "mushroms"), "did you mean 'mushrooms'?"),
    ],
)
def test_mistakes_are_one_line(call, tmp_path, words, message):
    (tmp_path / "wrong.toml").write_text(SPEC.replace("steps", "step"))
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "words", [("--steps", "0"), ("--seeds", "0"), ("--jobs", "0"), ("--processes", "0"), ("--steps", "many")]
)
def test_options_out_of_range(call, words):
    result = call("study", "s.toml", *words)
    assert result.exit_code == 2
    assert words[0] in result.stderr


def test_the_real_command(tmp_path):
    """Once through the interpreter, with the entry points of the installed package."""
    (tmp_path / "s.toml").write_text(SPEC.replace("steps = 60", "steps = 0"))
    command = [sys.executable, "-m", "manifold_id.cli", "study", "s.toml"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == "error: s.toml:2: steps: steps=0 must be at least 1\n"


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path):
    text = SPEC.replace("seeds = 2", "seeds = 200").replace("steps = 60", "steps = 200_000")
    (tmp_path / "s.toml").write_text(text)
    code = f"""
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
sys.path.insert(0, {str(ROOT)!r})
from types import SimpleNamespace
from convex_bench.commands.study import study
from convex_bench.studies import blocks
from manifold_id import cli
blocks.BLOCK_SECONDS = 1e-9
cli.entry_points = lambda group, name=None: [SimpleNamespace(name="study", load=lambda: study)]
cli.main(["study", "s.toml", "--out", "out"])
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while process.poll() is None and not list((tmp_path / "out" / "runs").glob("[!.]*.runs")):
        assert time.monotonic() < deadline, "no run was stored"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert re.fullmatch(
        r"\nstopped: \d+ of 400 runs are stored in 'out'; the same command goes on from there\n", stderr
    )
    with pytest.warns(UserWarning, match=r"lacks \d+ of the study's runs"):
        results = Results.load(tmp_path / "out")
    assert 0 < len(results.frame()) < 400
    assert len(results.frame()) + results.missing == 400
