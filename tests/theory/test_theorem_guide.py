"""The theorem that CONTRIBUTING.md shows runs as written."""

import re
from pathlib import Path

import pytest

from convex_bench import planted
from convex_bench.theorems import QUICK, registry, verify
from convex_bench.theorems.check import Check
from manifold_id.methods import ProxSGD

GUIDE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = GUIDE[GUIDE.index("## A theorem") :].split("\n## ", 1)[0]


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """The check of the section's code block, as a module beside the others."""
    (block,) = re.findall(r"```python\n(.*?)```", SECTION, re.S)
    (tmp_path / "shown_in_the_guide.py").write_text(block, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = registry.import_module("shown_in_the_guide")
    monkeypatch.setitem(registry.MODULES, module.CHECK.theorem.name, "shown")
    monkeypatch.setattr(registry, "import_module", lambda name: module)
    return module.CHECK


def test_the_section_fits_two_screens():
    assert len(SECTION.splitlines()) <= 80


def test_its_theorem_holds_and_its_control_fails(shown):
    assert isinstance(shown, Check)
    assert shown.check(QUICK, 0).status == "holds"
    assert shown.control(QUICK, 0).status == "fails"


def test_its_theorem_takes_a_problem_and_a_method_through_the_door(shown):
    problem = planted(n=100, groups=5, group_size=2, active=2, seed=1).problem
    verdict = verify("bounded-step", problem, ProxSGD(0.1), seeds=5, steps=100)
    assert (verdict.status, verdict.control.status, verdict.samples) == ("holds", "fails", 500)
    assert verify("bounded-step", problem, ProxSGD(0.1, decay=0.5), seeds=5, steps=100).status == "inconclusive"
