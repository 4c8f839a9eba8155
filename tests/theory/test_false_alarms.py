"""The count of flipped verdicts: resumed where it stopped, the same in any number of processes."""

import pytest

from convex_bench.theorems import Size
from convex_bench.theorems.false_alarms import false_alarms, read, summary

TINY = Size("tiny", seeds=5, factor=1)
NAMES = ("one-step-certificate", "rda-for-networks")


def verdicts(rows):
    return {(r["theorem"], r["seed"]): (r["check"], r["control"], r["check_summary"]) for r in rows}


def test_rows_are_appended_resumed_and_equal_in_one_and_two_processes(tmp_path):
    path = tmp_path / "alarms.jsonl"
    first = false_alarms(NAMES, range(7, 8), path, size=TINY)
    assert [r["theorem"] for r in first] == list(NAMES)
    with path.open("a") as stream:
        stream.write('{"theorem": "cut o')  # killed while writing
    before = path.read_text().splitlines()[:2]
    rows = false_alarms(NAMES, range(7, 11), path, size=TINY, processes=2)
    assert path.read_text().splitlines()[:2] == before  # not run again
    assert len(rows) == 8  # more than wait in line at once
    fresh = false_alarms(NAMES, range(7, 11), tmp_path / "fresh.jsonl", size=TINY)
    assert verdicts(rows) == verdicts(fresh)


def test_a_missing_file_has_no_rows(tmp_path):
    assert read(tmp_path / "none.jsonl") == []


def test_flips_are_counted_with_exact_intervals():
    row = {"theorem": "a", "check": "holds", "control": "fails"}
    rows = [row | {"seed": s} for s in range(9)] + [{"theorem": "a", "seed": 9, "check": "fails", "control": "holds"}]
    (line,) = summary(rows)
    assert (line["repeats"], line["check_flips"], line["control_passes"]) == (10, 1, 1)
    assert line["check_low"] == pytest.approx(1 - 0.975**0.1)
    assert line["check_seeds"] == line["control_seeds"] == "9"
