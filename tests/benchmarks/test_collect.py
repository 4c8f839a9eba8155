"""The collector runs what it finds, keeps what it gets, and says what it did not get."""

import csv
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOOD = """
from helper import row

def rows(full=False):
    exact = [row(d=d, value=1e-6 * d**2) for d in (10, 100, 1000)]
    return [*exact, row(d=10, value=3.0, quantity="MB", note="a|b", threads=2 if full else 1)]
"""
HELPER = """
import os

def row(**values):
    fixed = {"benchmark": "g", "case": "c", "system": f"pid {os.getpid()}", "quantity": "seconds per step"}
    return {**fixed, "unit": "s", "accuracy": None, "note": "", **values}
"""


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "benchmarks"
    made.mkdir()
    (made / "helper.py").write_text(HELPER)
    (made / "good.py").write_text(GOOD)
    return made


def collect(folder, *words):
    command = [sys.executable, str(ROOT / "benchmarks" / "collect.py"), "--folder", str(folder), *words]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=120)
    return done


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_tables_slopes_plots_and_the_machine(folder):
    done = collect(folder, "--full")
    assert done.returncode == 0, done.stderr
    out = folder / "results"
    found = read(out / "good.csv")
    assert [float(row["value"]) for row in found] == pytest.approx([1e-4, 1e-2, 1.0, 3.0], rel=1e-12)
    assert [row["threads"] for row in found] == ["", "", "", "2"]
    assert found[0]["system"] != f"pid {os.getpid()}"
    facts = json.loads((out / "good.json").read_text())
    assert facts["command"] == "python benchmarks/collect.py --full"
    assert facts["peak MB"] > 1
    page = (out / "README.md").read_text()
    for word in ("processor", "caches", "memory", "numpy", facts["date"], facts["command"], "a\\|b", "| 2.00 |"):
        assert word in page
    plots = list(out.glob("*.png"))
    assert [plot.name for plot in plots] == ["good-c-seconds-per-step-d.png"]
    assert plots[0].name in page
    assert plots[0].read_bytes()[:4] == b"\x89PNG"
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_one_that_fails_loses_neither_the_others_nor_its_own_last_results(folder):
    assert collect(folder).returncode == 0
    before = (folder / "results" / "good.csv").read_text()
    failing = {
        "good": "def rows():\n    raise ValueError('no\\nluck')",
        "absent": "import a_package_that_is_not_there\ndef rows():\n    return [{}]",
        "killed": "import os\ndef rows():\n    os.kill(os.getpid(), 9)",
        "nothing": "def rows():\n    return []",
        "later": "def rows():\n    return [{'value': 1}]",
    }
    for name, text in failing.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    done = collect(folder)
    assert done.returncode == 1
    for line in (
        "good failed: ValueError: no",
        "absent failed: the package 'a_package_that_is_not_there' is missing: pip install -e '.[all,bench]'",
        "killed failed: its process ended with code -9",
        "nothing failed: ValueError: nothing.py: rows() gave no row",
    ):
        assert line in done.stderr
    assert (folder / "results" / "good.csv").read_text() == before
    assert {path.stem for path in (folder / "results").glob("*.csv")} == {"good", "later"}
    assert "## later" in (folder / "results" / "README.md").read_text()


def test_names_choose_and_are_checked(folder):
    (folder / "other.py").write_text("def rows():\n    raise ValueError")
    assert collect(folder, "good").returncode == 0
    done = collect(folder, "helper")
    assert done.returncode == 2
    assert "helper: no such benchmark; there are good, other" in done.stderr


def test_finds_the_benchmarks_of_this_project():
    done = collect(ROOT / "benchmarks", "no")
    for name in ("engine_steps", "ground_truth", "optim_step", "sparse_steps", "start_up", "studies"):
        assert name in done.stderr
