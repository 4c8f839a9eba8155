"""CONTRIBUTING.md is true: its files, in an empty folder, pass its own test, and are as short as it should be."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_iris

ROOT = Path(__file__).resolve().parents[1]
LINES = {"berhu.py": 40, "heavy_ball.py": 80, "iris.py": 10, "test_mine.py": 60}


def files():
    blocks = re.findall(r"```python\n# file: (\S+)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.S)
    return {name: text for name, text in blocks if name in LINES}


@pytest.fixture
def folder(tmp_path):
    frame = load_iris(as_frame=True).frame.rename(columns={"target": "species"})
    frame.to_csv(tmp_path / "iris.csv", index=False)
    digest = hashlib.sha256((tmp_path / "iris.csv").read_bytes()).hexdigest()
    for name, text in files().items():
        (tmp_path / name).write_text(text.replace("SHA256_OF_THE_FILE", digest))
    return tmp_path


def run(folder, which="test"):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "-k", which]
    command.append("test_mine.py")
    paths = f"{folder}:{ROOT}"
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": paths, "PATH": ""}, capture_output=True, text=True, timeout=240
    )


def test_the_files_of_contributing_pass_their_own_test(folder):
    assert set(files()) == set(LINES)
    done = run(folder)
    assert done.returncode == 0, done.stdout[-3000:]
    for name, limit in LINES.items():
        lines = [line for line in files()[name].splitlines() if line.strip()]
        assert len(lines) <= limit, f"{name} has {len(lines)} lines"


@pytest.mark.parametrize(
    ("name", "old", "new", "which", "message"),
    [
        (
            "berhu.py",
            "positive_part(r - step * lam)",
            "positive_part(r - 0.9 * step * lam)",
            "contract",
            "has the cost|residual",
        ),
        ("heavy_ball.py", "state.t + 1", "state.t", "contract", "must return a State with t = 1"),
        ("iris.py", "150, 4", "150, 5", "run", "has 4 columns, but its entry says 5"),
    ],
)
def test_a_mistake_in_one_of_them_is_told(folder, name, old, new, which, message):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    done = run(folder, which)
    assert done.returncode == 1 and re.search(message, done.stdout), done.stdout[-2000:]
