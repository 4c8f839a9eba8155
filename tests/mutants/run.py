"""Small bugs, one at a time, in a copy: which tests and which theorems see each. `make mutants` writes killed.csv.

    python tests/mutants/run.py [--only TEXT ...] [--share I/N] [--out FILE]

With --only the rows of the others are kept as they are in the file.

A mutant is killed by the tests if any of its tests fails, and by a theorem if its check does not hold, its control does
not fail, or it raises. The exit code is 1 if a mutant survives both.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("table.toml")
COMPILED = ("convex_bench/engine/", "kernel")  # numba's cache does not see a change in a function that is inlined
LIMIT = 900  # seconds for the tests, and for the theorems
VERDICTS = """
import sys
from convex_bench.theorems import QUICK
from convex_bench.theorems.parallel import Job, run_job
for name in sys.argv[1:]:
    try:
        sound = run_job(Job(name, 0), QUICK).sound
    except Exception:
        sound = False
    print("sound" if sound else "killed", name, flush=True)
"""


def table() -> list[dict]:
    """Return the mutants."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))["mutant"]


def copy_to(folder: Path) -> None:
    """Copy the files of the working tree that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def apply(folder: Path, mutant: dict) -> str:
    """Write the mutant's text into its file, and return the old text of the whole file."""
    path = folder / mutant["file"]
    text = path.read_text(encoding="utf-8")
    if text.count(mutant["old"]) != 1:
        raise ValueError(f"{mutant['file']}: {mutant['old']!r} occurs {text.count(mutant['old'])} times: write it anew")
    path.write_text(text.replace(mutant["old"], mutant["new"]), encoding="utf-8")
    return text


def run(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Return the exit code (-1 beyond the limit) and what was printed."""
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired as late:
        return -1, (late.stdout or b"").decode() if isinstance(late.stdout, bytes) else late.stdout or ""
    return done.returncode, done.stdout


def judge(folder: Path, mutant: dict) -> dict:
    """Run the tests and the theorems of a mutant that has been applied."""
    compiled = any(part in mutant["file"] for part in COMPILED)
    cache = Path(tempfile.mkdtemp(dir=folder)) if compiled else folder / "numba"
    environment = os.environ | {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(cache)}
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0", *mutant["tests"]]
    code, _ = run([*pytest, *(["-k", mutant["select"]] if mutant["select"] else [])], folder, environment)
    if code == 5:
        raise ValueError(f"{mutant['tests']} with -k {mutant['select']!r}: no test is selected")
    tests = code != 0
    seen, names = [], mutant["theorems"]
    if names:
        printed = run([sys.executable, "-c", VERDICTS, *names], folder, environment)[1]
        seen = [name for name in names if f"sound {name}" not in printed]
    if compiled:
        shutil.rmtree(cache)
    blind = [name for name in names if name not in seen]
    return {
        "file": mutant["file"],
        "breaks": mutant["breaks"],
        "tests": "killed" if tests else "survived",
        "killed by theorems": " ".join(seen),
        "survived theorems": " ".join(blind),
    }


def read(path: Path) -> list[dict]:
    """Return the rows that a file has."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def main() -> int:
    """Run the mutants asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[""], help="mutants with one of these in their file or breaks")
    parser.add_argument("--share", default="0/1", help="of N shares the I-th, from 0, to run several at a time")
    parser.add_argument("--out", type=Path, default=TABLE.with_name("killed.csv"))
    chosen = parser.parse_args()
    index, count = map(int, chosen.share.split("/"))
    every = [(m["file"], m["breaks"]) for m in table()]
    mutants = [m for m in table() if any(text in f"{m['file']} {m['breaks']}" for text in chosen.only)][index::count]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_to(folder)
        for mutant in mutants:
            old = apply(folder, mutant)
            row = judge(folder, mutant)
            (folder / mutant["file"]).write_text(old, encoding="utf-8")
            print(json.dumps(row), flush=True)
            rows = {(r["file"], r["breaks"]): r for r in (*read(chosen.out), row)}
            rows = {key: rows[key] for key in every if key in rows}  # in the order of the table, without those it lost
            with chosen.out.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, row.keys(), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows.values())
    rows = {(r["file"], r["breaks"]): r for r in read(chosen.out)}
    ran = [rows[m["file"], m["breaks"]] for m in mutants]
    return int(any(row["tests"] == "survived" and not row["killed by theorems"] for row in ran))


if __name__ == "__main__":
    sys.exit(main())
