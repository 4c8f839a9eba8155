"""The notebooks follow one pattern, hold no outputs, and run top to bottom at reduced size with their conclusions."""

import os
from pathlib import Path

import nbformat
import papermill
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = (
    "1_identification",
    "2_variance_reduction",
    "3_convergence_rates",
    "4_theorems",
    "5_nondegeneracy",
    "6_your_own_problem",
    "7_networks",
)
each = pytest.mark.parametrize("name", NAMES)
pytestmark = pytest.mark.timeout(600)  # seconds of work each, but slow machines compile all kernels here


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)


def execute(name, folder):
    """Return the notebook, run with quick = True in an empty folder; a failing assert of a cell fails the test."""
    target = folder / "out.ipynb"
    papermill.execute_notebook(
        FOLDER / f"{name}.ipynb", target, {"quick": True}, cwd=folder, progress_bar=False, execution_timeout=300
    )
    return nbformat.read(target, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def test_the_folder_holds_these_notebooks():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == list(NAMES)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"({name}.ipynb)" in readme for name in NAMES)


@each
def test_pattern(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    first, second = notebook.cells[:2]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "?" in first.source
    assert second.metadata.tags == ["parameters"]
    assert "quick = False" in second.source
    assert [cell.cell_type for cell in notebook.cells].count("markdown") >= 4
    last = code(notebook)[-1].source
    assert "assert " in last
    assert "print(" in last or "display(" in last
    assert notebook.cells[-1].cell_type == "markdown"


@each
def test_outputs_are_not_kept(name):
    for cell in code(read(name)):
        assert cell.outputs == []
        assert cell.execution_count is None
        assert set(cell.metadata) <= {"tags"}


@each
def test_it_runs_and_its_conclusions_hold(name, tmp_path):
    made = execute(name, tmp_path)
    assert code(made)[-1].outputs
    figures = 0
    for output in (output for cell in code(made) for output in cell.outputs):
        assert output.get("name") != "stderr", output.text
        data = output.get("data", {})
        assert "Figure" not in data.get("text/plain", "") or "image/png" in data, "a figure is shown as text"
        figures += "image/png" in data or "image/svg+xml" in data
    assert figures >= 1


def test_without_mnist_the_first_notebook_says_so_and_goes_on(tmp_path, monkeypatch):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there: no download
    for variable in ("MANIFOLD_ID_DATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, os.fspath(tmp_path))
    made = execute(NAMES[0], tmp_path)
    text = "".join(printed(cell) for cell in code(made))
    assert "MNIST cannot be had" in text
    assert "digits 3-vs-5" in printed(code(made)[-1])
