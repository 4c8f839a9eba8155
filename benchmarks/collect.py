"""Run the benchmarks of a folder, each in a process of its own, and write their tables and one page with plots.

    python benchmarks/collect.py [NAME ...] [--full] [--folder FOLDER] [--out FOLDER/results]

A benchmark is a script NAME.py with a function `rows() -> list[dict]`, or `rows(full=False)` if it has a long form. A
row has the keys benchmark, case, system, quantity ("seconds per step" ...), value, unit, accuracy (or None) and note,
and a column for each parameter (n, d, nnz, b, seeds, threads ...). Results go to OUT/NAME.csv, when and where they were
made to OUT/NAME.json, and all that OUT holds to OUT/README.md. A benchmark that fails leaves its last results as they
are; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import ast
import csv
import datetime
import importlib
import inspect
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peak_memory import peak_memory

from manifold_id.files import write_text

HERE = Path(__file__).resolve().parent


def benchmarks(folder: Path) -> dict[str, Path]:
    """Return {name: path} of the scripts in `folder` that define `rows`; nothing is imported."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        if any(isinstance(node, ast.FunctionDef) and node.name == "rows" for node in tree.body):
            found[path.stem] = path
    return found


def run_here(path: Path, full: bool) -> dict[str, Any]:
    """Run one benchmark in this process; return its rows, its seconds and the peak of this process's memory."""
    sys.path.insert(0, str(path.parent))
    clock = time.perf_counter()
    rows = importlib.import_module(path.stem).rows  # imported by name: what it hands to processes must be found again
    options = {"full": full} if "full" in inspect.signature(rows).parameters else {}
    found = rows(**options)
    if not found:
        raise ValueError(f"{path.name}: rows() gave no row")
    return {"rows": found, "seconds": time.perf_counter() - clock, "peak": peak_memory()}


def run_apart(path: Path, full: bool) -> dict[str, Any]:
    """Run one benchmark in a new process; raises RuntimeError, with the reason in one line, where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, str(HERE / "collect.py"), "--child", str(path), "--answer", str(answer)]
        code = subprocess.run(command + ["--full"] * full, check=False).returncode
        if not answer.exists():
            raise RuntimeError(f"its process ended with code {code}")
        result = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in result:
        raise RuntimeError(result["error"])
    return result


def child(path: Path, answer: Path, full: bool) -> None:
    """Run one benchmark and leave its result, or why there is none, in the file `answer`."""
    try:
        result = run_here(path, full)
    except ModuleNotFoundError as error:
        result = {"error": f"the package {error.name!r} is missing: pip install -e '.[all,bench]'"}
    except Exception as error:
        import traceback

        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}"}
    answer.write_text(json.dumps(result, default=_plain), encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return a NumPy number as Python's."""
    return value.item()


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as CSV; the columns are those of all rows, in the order of their first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def collect(chosen: dict[str, Path], out: Path, full: bool, command: str) -> dict[str, str]:
    """Run the benchmarks, write what they give, and return {name: reason} of those that failed."""
    from results_page import machine, packages, write_page  # a benchmark's own process does without

    out.mkdir(parents=True, exist_ok=True)
    failed = {}
    for i, (name, path) in enumerate(chosen.items(), start=1):
        print(f"[{i}/{len(chosen)}] {name}", flush=True)
        load = os.getloadavg()[0]
        try:
            result = run_apart(path, full)
        except RuntimeError as error:
            failed[name] = str(error)
            print(f"{name} failed: {error}", file=sys.stderr)
            continue
        facts = {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "command": command,
            "full": full,
            "seconds": round(result["seconds"], 1),
            "peak MB": round(result["peak"]),
            "load before": round(load, 1),
            "machine": machine(),
            "packages": packages(),
        }
        write_text(out / f"{name}.csv", table(result["rows"]))
        write_text(out / f"{name}.json", json.dumps(facts, indent=1) + "\n")
        write_page(out)  # after each, so that nothing is lost if this process ends
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--full", action="store_true", help="the long form of the benchmarks that have one")
    parser.add_argument("--folder", type=Path, default=HERE)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.child, options.answer, options.full)
        return
    found = benchmarks(options.folder)
    if unknown := set(options.names) - set(found):
        parser.error(f"{', '.join(sorted(unknown))}: no such benchmark; there are {', '.join(found) or 'none'}")
    words = [*options.names, *["--full"] * options.full]
    chosen = {name: path for name, path in found.items() if not options.names or name in options.names}
    command = shlex.join(["python", "benchmarks/collect.py", *words])
    out = options.out or options.folder / "results"
    failed = collect(chosen, out, options.full, command)
    print(f"results: {out / 'README.md'}" if len(failed) < len(chosen) else "no results")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
