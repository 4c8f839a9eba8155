"""Time until something happens: imports, --help, the first step of a study with warm and with cold kernels.

python benchmarks/collect.py start_up
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

STUDY = """
import sys
from convex_bench.specs.spec import BUILTIN, Spec
Spec(BUILTIN).study(1, 1).run(sys.argv[1], jobs=1, progress=False, force=True)
"""
FIRST_STEP = f"""
import os
from convex_bench import engine
run = engine.run
def one_step(*args, **options):
    run(*args, **options)
    os._exit(0)
engine.run = one_step
{STUDY}
"""
COMMANDS = {
    "python": ["-c", "pass"],
    "import manifold_id": ["-c", "import manifold_id"],
    "import convex_bench": ["-c", "import convex_bench"],
    "manifold-id --help": ["-m", "manifold_id.cli", "--help"],
    "from convex_bench import Study": ["-c", "from convex_bench import Study"],
}


def seconds(words: list[str], repeats: int, **environment: str) -> tuple[float, float]:
    """Return the shortest wall time of a new interpreter and the least CPU time, its children's included."""
    walls, cpus = [], []
    for _ in range(repeats):
        clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=os.environ | environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - clock)
        cpus.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(walls), min(cpus)


def rows(full: bool = False) -> list[dict[str, Any]]:
    """Return the least of some repeats of each; the cold study compiles every kernel that it needs, once."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        first, study = ["-c", FIRST_STEP, f"{folder}/first"], ["-c", STUDY, f"{folder}/study"]
        subprocess.run([sys.executable, *study], check=True)
        cases = COMMANDS | {"built-in study, to its first step": first, "built-in study of one step": study}
        times = {case: seconds(words, 10 if full else 5) for case, words in cases.items()}
        times["built-in study of one step, no kernel cached"] = seconds(study, 1, NUMBA_CACHE_DIR=cache)
    common = {"benchmark": "start-up", "system": "manifold-id", "unit": "s", "accuracy": None, "note": ""}
    return [
        {**common, "case": case, "quantity": quantity, "value": value}
        for case, pair in times.items()
        for quantity, value in zip(("wall time", "CPU time"), pair, strict=True)
    ]
