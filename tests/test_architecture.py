"""Arrows point one way, and the core needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "manifold_id": {"convex_bench", "nn_bench"},
    "convex_bench": {"nn_bench"},
    "nn_bench": {"convex_bench"},
}
WITH_TORCH = (ROOT / "manifold_id" / "optim", ROOT / "nn_bench")


def imports(path, everywhere=True):
    """Return the top-level packages that a file imports; unless `everywhere`, only outside of functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else tree.body
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import absolutely"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_arrows_point_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        assert not imports(path) & (FORBIDDEN[package] | {"tests", "benchmarks", "notebooks"}), path


def test_torch_is_imported_where_it_is_needed_alone():
    for package in FORBIDDEN:
        for path in (ROOT / package).rglob("*.py"):
            if not any(home in path.parents for home in WITH_TORCH):
                assert "torch" not in imports(path, everywhere=False), path


def test_the_core_runs_without_torch():
    """A study's imports succeed, and a solve runs, where torch cannot be imported."""
    code = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("torch is not installed here")
sys.meta_path.insert(0, NoTorch())
import numpy as np
from convex_bench import Problem, Study, iterate, load, planted, solve
from manifold_id import plots, report, statistics, tracking
from manifold_id.regularizers import L1
X = np.random.default_rng(0).standard_normal((30, 4))
problem = Problem(X, np.sign(X[:, 0]), regularizer=L1(0.05))
assert solve(problem).status == "certified"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
