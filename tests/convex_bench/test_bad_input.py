"""What a user may get wrong on the command line or in a file is one line that names it, before anything is computed."""

import numpy as np
import pytest
from click.testing import CliRunner
from command_points import found

from convex_bench.data.readers import read_groups, read_svmlight
from convex_bench.specs.build import REGULARIZERS, construct
from convex_bench.studies.scheduling import workers
from convex_bench.studies.study import check_seeds
from manifold_id import cli
from manifold_id.methods import METHODS
from manifold_id.validation import integer, real

SPEC = """\
seeds = 2
steps = 60
[problems.p]
planted = { n = 60, groups = 6, group_size = 2, active = 2, seed = 1 }
[methods.RMDA]
lr = 0.05
"""
ROWS = "1 1:1 2:3\n-1 1:2 2:1\n1 2:4\n-1 1:3\n"


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Call `manifold-id` in a folder with a study s.toml, rows ok.svm, a file `taken`, and `given` as x.toml."""
    monkeypatch.setattr(cli, "entry_points", found)
    monkeypatch.delenv(cli.DEBUG, raising=False)
    monkeypatch.chdir(tmp_path)
    for name, text in (("s.toml", SPEC), ("ok.svm", ROWS), ("taken", "x")):
        (tmp_path / name).write_text(text)

    def run(*words, given=None):
        if given is not None:
            (tmp_path / "x.toml").write_bytes(given if isinstance(given, bytes) else given.encode())
        return CliRunner().invoke(cli.main, list(words))

    return run


def fails(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0], lines[0]


BIG = 10**23


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("seeds = 2", f"seeds = {BIG}", ["x.toml:1", f"seeds={BIG} must be at most 1000000"]),
        ("seeds = 2", f"seeds = [{BIG}]", ["x.toml:1", "must be at most 9223372036854775807"]),
        ("steps = 60", f"steps = {2**63}", ["x.toml:2", f"steps={2**63} must be at most 9223372036854775807"]),
        ("lr = 0.05", f"lr = {10**400}", ["x.toml:6", "must be a finite number in (0, inf)"]),
        ("lr = 0.05", "lr = 1\nstages = 3", ["x.toml:7", "stages=3 must be a table of some of milestones, factor"]),
        ("lr = 0.05", "lr = 1\nstages = []", ["x.toml:7", "stages=[] must be a table"]),
        ("lr = 0.05", "lr = 1\nstages = { milestones = 3 }", ["x.toml:7", "milestones=3 must be a list of steps"]),
        ("lr = 0.05", f"lr = 1\nstages = {{ milestones = [{BIG}] }}", ["x.toml:7", "milestones=", "must be at most"]),
        ("[methods.RMDA]", "[methods.'$x_$']\nmethod = 'RMDA'", ["methods name='$x_$' is no formula"]),
        ("n = 60", "n = 100000000000", ["not enough memory (", "TiB", "make the data or the counts"]),
        ("seeds = 2", "x = " + "[" * 5000 + "]" * 5000, ["x.toml: is nested more than 100 deep"]),
        ("seeds = 2", "a" + ".a" * 3000 + " = 1", ["x.toml: is nested more than 100 deep"]),
    ],
)
def test_a_study_file(call, tmp_path, old, new, parts):
    fails(call("study", "x.toml", given=SPEC.replace(old, new)), *parts)
    assert not list(tmp_path.glob("results/*/runs/*"))


def test_a_byte_order_mark_is_no_mistake(call):
    assert call("study", "x.toml", given=b"\xef\xbb\xbf" + SPEC.encode()).exit_code == 0
    fails(call("study", "x.toml", given=b"\xef\xbb\xbfseeds = = 2"), "x.toml:1: is not valid TOML")


@pytest.mark.parametrize(
    ("option", "value"), [("--seeds", BIG), ("--seeds", 10**11), ("--steps", 2**63), ("--processes", 10**11)]
)
def test_counts_of_a_study(call, option, value):
    fails(call("study", "s.toml", option, str(value)), f"{option[2:]}={value} must be at most")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1 99999999999:1\n-1 1:2\n", "rows.svm"),
        ("1 99999999999:1 # by the line\n-1 1:2\n", "rows.svm"),
        (f"1 {2**31}:1\n-1 1:2\n", "rows.svm"),
        (f"1 {BIG}:1\n-1 1:2\n", "rows.svm"),
        (f"1 {BIG}:1 # by the line\n-1 1:2\n", "rows.svm"),
    ],
)
def test_an_index_that_no_memory_holds(call, tmp_path, text, part):
    (tmp_path / "rows.svm").write_text(text)
    with pytest.raises(ValueError, match=r"rows\.svm"):
        read_svmlight(tmp_path / "rows.svm")
    fails(call("solve", "rows.svm"), "data='rows.svm': rows.svm", part)


def test_greatest_index(tmp_path):
    (tmp_path / "rows.svm").write_text(f"1 {2**31 - 1}:1\n-1 1:2\n")
    assert read_svmlight(tmp_path / "rows.svm")[0].shape == (2, 2**31 - 1)


def test_problems_of_the_command_line(call, tmp_path):
    fails(call("solve", "ok.svm", "--penalty", "elastic"), "ElasticNet needs ridge: give a value")
    (tmp_path / "groups").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="groups is not UTF-8 text: give the number or name of a group a line"):
        read_groups(tmp_path / "groups")
    fails(call("solve", "ok.svm", "--penalty", "group", "--groups", "groups"), "groups is not UTF-8 text")
    fails(call("solve", "ok.svm", "--solver", "cvxpy", "--lam", "1e300"), "cvxpy found no solution")


@pytest.mark.parametrize("words", [("--count", "1"), ("--count", "2"), ("--count", "3", "--min-ratio", "0.9")])
def test_paths_without_a_margin_have_a_page(call, tmp_path, words):
    result = call("path", "ok.svm", "--out", "here", *words)
    assert result.exit_code == 0, result.exception
    assert (tmp_path / "here" / "report.html").is_file()


def test_counts_of_a_path(call):
    for count in (BIG, 2**63 - 1, 10**11):
        fails(call("path", "ok.svm", "--count", str(count)), f"count={count} must be at most 1000000")


@pytest.mark.parametrize("content", ["{}", "[1]", '{"runs": 3}'])
def test_a_damaged_study(call, tmp_path, content):
    (tmp_path / "study.json").write_text(content)
    fails(call("report", "."), "study.json' is not what was written", "run the same study or path again")


@pytest.mark.parametrize("command", [("study", "s.toml"), ("path", "ok.svm", "--count", "2")])
def test_places_that_cannot_be_written(call, command):
    fails(call(*command, "--out", "taken"), "out='taken' is no folder that can be written", "choose another one")
    fails(call(*command, "--out", "taken/x"), "out='taken/x'", "Not a directory", "choose another one")
    fails(call(*command, "--out", "a" * 300), "File name too long", "choose another one")


def test_missing_parameters_and_tables():
    with pytest.raises(ValueError, match="Box needs lower and upper: give a value for each"):
        construct(REGULARIZERS["Box"], {})
    assert construct(METHODS["RMDA"], {"lr": 1.0, "stages": {"milestones": [3]}}).stages.milestones == (3,)


def test_stages_that_are_none():
    with pytest.raises(TypeError, match="stages=3 must be Stages, such as"):
        METHODS["RMDA"](lr=0.1, stages=3)


def test_numbers_beyond_64_bits():
    assert integer("n", 2**63 - 1) == 2**63 - 1 and integer("n", np.int64(-3)) == -3
    for value in (2**63, -(2**63)):
        with pytest.raises(ValueError, match="must be at"):
            integer("n", value)
    with pytest.raises(ValueError, match=r"must be a finite number in \(-inf, inf\)"):
        real("x", 10**400)
    with pytest.raises(ValueError, match=r"x=1 must be a finite number in \[0, 1\)"):
        real("x", 1, 0, 1, open_high=True)
    assert real("x", 0, 0, 1, open_high=True) == 0.0
    assert check_seeds([2**63 - 1]) == (2**63 - 1,)
    with pytest.raises(ValueError, match="processes=1025 must be at most 1024"):
        workers(None, 1025, None)
