"""The audit passes on the solver and finds each sort of false claim; a small run of it."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from convex_bench import solve
from convex_bench.audit import __main__ as audit
from convex_bench.audit import draw, judge
from convex_bench.audit.draw import OTHERS

ROOT = Path(__file__).resolve().parents[2]


def test_two_processes_give_the_table_of_one(tmp_path):
    tables = []
    for processes in ("1", "2"):
        out = tmp_path / f"{processes}.csv"
        words = [sys.executable, "-m", "convex_bench.audit", "--count", "10", "--seed", "60000", "--out", str(out)]
        subprocess.run([*words, "--processes", processes], cwd=ROOT, check=True, capture_output=True, timeout=200)
        tables.append(out.read_bytes())
    assert tables[0] == tables[1]


def test_a_small_run_finds_no_false_claim(tmp_path):
    result = CliRunner().invoke(
        audit.main, ["--count", "60", "--seed", "50000", "--processes", "1", "--out", str(tmp_path / "counts.csv")]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "counts.csv").read_text().count("\n") > 20


def find(**wanted):
    """The first problem of this kind whose solution is certified, with the solution."""
    for seed in range(1000):
        case = draw(seed)
        if all(case.kind[name] == value for name, value in wanted.items()):
            solution = solve(case.problem)
            if solution.status == "certified" and 0 < solution.active < len(solution.codes):
                return case, solution
    raise AssertionError("no such problem")


def changed(solution, **fields):
    other = copy.copy(solution)
    for name, value in fields.items():
        object.__setattr__(other, name, value)
    return other


@pytest.mark.parametrize("loss", ["squared", "logistic", "multinomial"])
def test_every_false_claim_is_found(loss):
    case, solution = find(loss=loss, penalty="l1", scaling="plain", shape="plain", storage="dense")
    assert judge(case, solution) == []
    on = np.flatnonzero(solution.w.ravel())[0]
    moved, codes, dropped = solution.w.copy(), solution.codes.copy(), solution.w.copy()
    moved.ravel()[on] *= 1 + 1e-9
    dropped.ravel()[on] = 0.0
    codes[np.flatnonzero(codes == 0)[0]] = 1
    margin = solution.margin * 1.001
    for sort, other in {
        "residual": changed(solution, w=moved),
        "codes": changed(solution, codes=codes),
        "margin": changed(solution, margin=margin),
        "value": changed(solution, value=solution.value * (1 + 1e-6)),
        "radius": changed(solution, w=moved, radius=1e-12),
        "proved": changed(solution, w=dropped),
        "low": changed(solution, low=1e-9 * solution.w),
        "existence": changed(solution, status="unattained", direction=np.ones_like(solution.w)),
    }.items():
        assert any(claim.startswith(sort) for claim in judge(case, other)), sort
    assert any(claim.startswith("warning") for claim in judge(case, solution, warned=True))


@pytest.mark.parametrize("penalty", OTHERS)
def test_false_claims_of_psi_that_are_no_sums_of_norms_are_found(penalty):
    case, solution = find(penalty=penalty, scaling="plain", storage="dense")
    assert judge(case, solution) == []
    far = solution.w + 1e-6 * np.abs(solution.w).max()
    codes = solution.codes.copy()
    codes[np.flatnonzero(codes[: len(codes) - case.problem.intercept] > 0)[-1]] = 0  # as if held
    for sort, other in {
        "value": changed(solution, value=solution.value + 1e-6 * abs(solution.value)),
        "radius": changed(solution, radius=solution.radius * 1e-6 + 1e-300),
        "residual": changed(solution, w=far) if penalty != "nuclear norm" else None,
        "proved": changed(solution, codes=codes) if penalty == "nuclear norm" else None,
    }.items():
        if other is not None:
            assert any(claim.startswith(sort) for claim in judge(case, other)), sort


def test_a_certificate_without_a_minimizer_is_found():
    for seed in range(3000):
        case = draw(seed)
        if case.unattained:
            solution = solve(case.problem)
            assert solution.status == "unattained" and judge(case, solution) == []
            other = changed(solution, status="certified")
            assert any(claim.startswith("existence") for claim in judge(case, other))
            return
    raise AssertionError("no separable problem was drawn")
