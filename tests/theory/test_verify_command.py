"""The command: table, JSON, exit code."""

import json

import pytest
from click.testing import CliRunner

from convex_bench.commands import verify
from convex_bench.theorems import QUICK, load_check, registry
from convex_bench.theorems.check import Check
from convex_bench.theorems.verify import verify as run

NAME = "one-step-certificate"


def test_a_sound_theorem_is_exit_code_0_and_written_as_json(tmp_path):
    result = CliRunner().invoke(verify, [NAME, "--quick", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "1 of 1 theorems" in result.output
    data = json.loads((tmp_path / "verification.json").read_text())
    (theorem,) = data["theorems"]
    assert data["sound"] and theorem["sound"]
    assert theorem["theorem"]["name"] == NAME
    assert theorem["check"]["status"] == "holds"
    assert theorem["control"]["status"] == "fails"
    page = (tmp_path / "verification.html").read_text()
    assert load_check(NAME).theorem.title in page and "<svg" in page
    assert theorem["check"]["assumptions"] and theorem["check"]["evidence"][0]["curves"][0]["x"]


@pytest.mark.parametrize("part", ["check", "control"])
def test_a_failing_theorem_or_a_passing_control_is_exit_code_1(monkeypatch, part):
    good = load_check(NAME)
    wrong = (
        Check(good.theorem, good.control, good.control)
        if part == "check"
        else Check(good.theorem, good.check, good.check)
    )
    module = registry.import_module(f"convex_bench.theorems.{registry.MODULES[NAME]}")
    monkeypatch.setattr(module, "CHECK", wrong)
    result = CliRunner().invoke(verify, [NAME])
    assert result.exit_code == 1
    assert "0 of 1 theorems" in result.output


def test_an_unknown_name_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="did you mean 'one-step-certificate'"):
        run([NAME, "one-step-certificat"], size=QUICK, report=lambda outcome: pytest.fail("something ran"))


def test_the_list_names_every_theorem():
    result = CliRunner().invoke(verify, ["--list"])
    assert result.exit_code == 0
    assert all(name in result.output for name in registry.MODULES)
