"""The command: table, JSON, exit code."""

import io
import json
import re

import pytest
from click.testing import CliRunner
from rich.console import Console

from convex_bench.commands.verify import verify
from convex_bench.theorems import QUICK, load_check, registry, verify_all
from convex_bench.theorems.check import Check
from convex_bench.theorems.page import write_page
from convex_bench.theorems.parallel import Outcome
from convex_bench.theorems.shown import terminal_table
from manifold_id.theory.base import Assumption, no_violations
from manifold_id.theory.combine import all_fail, all_hold

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
    assert load_check(NAME).theorem.title in page and "<svg" in page and "<math" in page
    for verdict in (theorem["check"], theorem["control"]):
        assert len(verdict["parts"]) > 1
        for part in verdict["parts"]:  # where the output is no terminal, nothing is left out
            assert f"{part['status']}: {part['name']}: {part['summary']}\n" in result.output
            assert f">{part['name']}</td>" in page and part["summary"] in page
    assert theorem["check"]["assumptions"] and theorem["check"]["evidence"][0]["curves"][0]["x"]


@pytest.mark.parametrize("part", ["check", "control"])
def test_a_failing_theorem_or_a_passing_control_is_exit_code_1(monkeypatch, part):
    good = load_check(NAME)
    wrong = (
        Check(good.theorem, good.control, good.control, good.own)
        if part == "check"
        else Check(good.theorem, good.check, good.check, good.own)
    )
    module = registry.import_module(f"convex_bench.theorems.{registry.MODULES[NAME]}")
    monkeypatch.setattr(module, "CHECK", wrong)
    result = CliRunner().invoke(verify, [NAME])
    assert result.exit_code == 1
    assert "0 of 1 theorems" in result.output


def test_an_unknown_name_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="did you mean 'one-step-certificate'"):
        verify_all([NAME, "one-step-certificat"], size=QUICK, report=lambda outcome: pytest.fail("something ran"))


def test_the_list_names_every_theorem():
    result = CliRunner().invoke(verify, ["--list"])
    assert result.exit_code == 0
    assert all(name in result.output for name in registry.MODULES)


def outcome():
    """Many parts of long summaries, of which the last of the check fails."""
    good, bad = (no_violations(k, 1000, "comparisons " + "of everything there is " * 4, seeds=1) for k in (0, 7))
    check = all_hold(("first", good), ("second", good), ("third", bad))
    return Outcome(load_check(NAME).theorem, check, all_fail(("a", bad), ("b", bad)), 1.25)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_terminal_shows_the_part_that_decides_and_cuts_nothing(width):
    stream = io.StringIO()
    Console(file=stream, width=width).print(terminal_table([outcome()]))
    drawn = stream.getvalue()
    assert max(map(len, drawn.splitlines())) <= width
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in drawn.splitlines() if "│" in line]
    assert [row[1] for row in cells if row[1]] == ["fails", "control fails"]
    evidence = " ".join(row[2] for row in cells)
    assert evidence == f"{outcome().check.brief} {outcome().control.brief}"


def test_the_brief_summary_is_that_of_the_part_that_decides():
    check, control = outcome().check, outcome().control
    assert check.brief == f"third: {check.parts[2].summary} (+2 parts)"
    assert control.brief == f"a: {control.parts[0].summary} (+1 part)"
    assert no_violations(0, 5, "steps", seeds=1).brief == "0 violations in 5 steps"


def test_the_page_gathers_equal_assumptions_of_the_parts(tmp_path):
    met = [no_violations(0, 9, "steps", seeds=1, assumptions=(Assumption("margin", x, True),)) for x in (0.5, 0.3, 0.4)]
    held = all_hold(*zip("abc", met, strict=True))
    bare = no_violations(1, 9, "steps", seeds=1)
    page = write_page([Outcome(load_check(NAME).theorem, held, bare, 1.0)], tmp_path / "page.html", size=QUICK, seed=0)
    (row,) = re.findall(r"<tr><td[^>]*>margin</td>(.*)</tr>", page.read_text(encoding="utf-8"))
    assert re.findall(r">([^<]*)</td>", row) == ["yes", "0.3 ... 0.5", "3", ""]
