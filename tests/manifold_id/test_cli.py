"""The command: it finds its commands by entry point, starts fast, and reports a user's mistake in one line."""

import errno
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from manifold_id import cli


@click.command()
@click.argument("kind")
def stub(kind):
    """Say hello."""
    if kind == "warn":
        warnings.warn("lam=3 is large:\nthe solution is zero", stacklevel=1)
    elif kind == "value":
        raise ValueError("steps=0 must be\n  at least 1")
    elif kind == "file":
        Path("/no/such/file").read_text()
    elif kind == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "out/run.npz")
    elif kind == "memory":
        raise MemoryError("Unable to allocate 8.73 TiB")
    elif kind == "run":
        raise RuntimeError("worker processes died: use fewer")
    elif kind == "deep":
        stub.callback("deep")
    elif kind == "stop":
        raise KeyboardInterrupt("stopped: 3 of 4 runs are stored")
    elif kind == "inner":
        exec(compile("raise ValueError('a fault of another library')", "other.py", "exec"), {"__name__": "other.part"})
    click.echo("done")


@pytest.fixture
def call(monkeypatch):
    points = [
        SimpleNamespace(name="stub", value="here:stub", load=lambda: stub),
        SimpleNamespace(name="wrong", value="here:wrong", load=lambda: object()),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group, name=None: [p for p in points if name in (None, p.name)])
    monkeypatch.setattr(cli, "_PACKAGES", ("manifold_id", __name__.split(".")[0]))  # the stub's errors are our own
    monkeypatch.delenv(cli.DEBUG, raising=False)
    return lambda *words: CliRunner().invoke(cli.main, list(words))


def test_lists_names_without_importing(call, monkeypatch):
    monkeypatch.setattr(cli, "_load", lambda point: pytest.fail("imported"))
    assert cli.main.list_commands(click.Context(cli.main)) == ["stub", "wrong"]


def test_runs_a_command(call):
    result = call("stub", "nothing")
    assert (result.exit_code, result.output) == (0, "done\n")


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("value", "error: steps=0 must be at least 1\n"),
        ("file", "error: /no/such/file: No such file or directory\n"),
        (
            "full",
            "error: out/run.npz: No space left on device; free space or choose another path (--out of what is "
            "written)\n",
        ),
        (
            "memory",
            "error: there is not enough memory (Unable to allocate 8.73 TiB): make the data or the counts in the "
            "command and its file smaller\n",
        ),
        ("run", "error: worker processes died: use fewer\n"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(call, kind, line):
    result = call("stub", kind)
    assert (result.exit_code, result.stderr, result.stdout) == (2, line, "")


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(call):
    result = call("stub", "warn")
    assert (result.exit_code, result.stderr) == (0, "warning: lam=3 is large: the solution is zero\n")


def test_ctrl_c_says_how_to_go_on(call):
    result = call("stub", "stop")
    assert (result.exit_code, result.stderr) == (130, "\nstopped: 3 of 4 runs are stored\n")


@pytest.mark.parametrize(("kind", "debug"), [("value", True), ("file", True), ("inner", False), ("deep", False)])
def test_traceback_is_kept_for_faults_and_on_request(call, monkeypatch, kind, debug):
    if debug:
        monkeypatch.setenv(cli.DEBUG, "1")
    result = call("stub", kind)
    assert isinstance(result.exception, (ValueError, OSError, RecursionError))
    assert result.exit_code == 1


def test_entry_point_that_is_no_command(call):
    result = call("wrong")
    assert result.exit_code == 2
    assert "must be a click command" in result.stderr


def test_unknown_command(call):
    result = call("stubb")
    assert result.exit_code == 2
    assert result.stderr == "error: command='stubb' is not known: did you mean 'stub'? choose one of stub, wrong\n"


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from manifold_id.cli import main\n"
        "for words in (['--help'], ['study', '--help'], ['--version']):\n"
        "    result = CliRunner().invoke(main, words)\n"
        "    assert result.exit_code == 0, result.output\n"
        "import manifold_id, convex_bench\n"
        "heavy = {'numpy', 'scipy', 'numba', 'pandas', 'torch', 'matplotlib', 'sklearn', 'cvxpy', 'rich'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_study_starts_without_what_only_its_report_needs():
    """What takes seconds to import waits until it is needed: tables, figures, odd files, solvers of last resort."""
    code = (
        "import sys\n"
        "import convex_bench.studies.study\n"
        "from convex_bench.specs.spec import BUILTIN, Spec\n"
        "name, table = next(iter(Spec(BUILTIN).content['problems'].items()))\n"
        "from convex_bench import load, solve\n"
        "load(table['data'])\n"
        "late = {'pandas', 'torch', 'matplotlib', 'sklearn', 'cvxpy', 'pooch', 'joblib', 'dask', 'scipy.stats'}\n"
        "assert not late & set(sys.modules), late & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
