"""The table of small bugs: each can be applied, and names tests and theorems that exist."""

import tomllib
from pathlib import Path

import pytest

from convex_bench.theorems import MODULES

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = tomllib.loads(Path(__file__).with_name("table.toml").read_text(encoding="utf-8"))["mutant"]


def test_there_are_sixty_of_them():
    assert len(MUTANTS) >= 60
    assert len({(m["file"], m["old"], m["new"]) for m in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m['file']}: {m['breaks']}")
def test_its_old_text_occurs_once_and_the_new_one_compiles(mutant):
    text = (ROOT / mutant["file"]).read_text(encoding="utf-8")
    assert text.count(mutant["old"]) == 1
    compile(text.replace(mutant["old"], mutant["new"]), mutant["file"], "exec")
    assert mutant["tests"] and all((ROOT / name).is_file() for name in mutant["tests"])
    assert set(mutant["theorems"]) <= set(MODULES)
