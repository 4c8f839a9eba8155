"""Arrows point one way, and the core needs no torch."""

import ast
import graphlib
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


def modules():
    """Return the files of the packages by the names of their modules."""
    files = [path for package in FORBIDDEN for path in (ROOT / package).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    return dict(zip(names, files, strict=True))


def imported(tree, known):
    """Yield the modules of `known` that a file imports anywhere, but for what type checkers alone see."""
    hidden = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
    skipped = {id(inner) for n in hidden for inner in ast.walk(n)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def circle(graph):
    """Return modules that import each other in a circle, or nothing."""
    sorter = graphlib.TopologicalSorter(graph)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_files_import_each_other_in_a_circle():
    known = modules()
    graph = {name: set(imported(ast.parse(path.read_text("utf-8")), known)) - {name} for name, path in known.items()}
    assert circle(graph) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []


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
