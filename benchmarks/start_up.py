"""Time until something happens: imports, --help, the first step of a study with warm and with cold kernels.

python benchmarks/collect.py start_up
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Any

FIRST_STEP = """
import sys, tempfile
from convex_bench.spec import BUILTIN, Spec
study = Spec(BUILTIN).study(1, int(sys.argv[1]))
with tempfile.TemporaryDirectory() as folder:
    study.run(folder, jobs=1, progress=False)
"""
COMMANDS = {
    "python": ["-c", "pass"],
    "import manifold_id": ["-c", "import manifold_id"],
    "import convex_bench": ["-c", "import convex_bench"],
    "manifold-id --help": ["-m", "manifold_id.cli", "--help"],
    "from convex_bench import Study": ["-c", "from convex_bench import Study"],
    "built-in study of one step, kernels cached": ["-c", FIRST_STEP, "1"],
}


def seconds(words: list[str], repeats: int, **environment: str) -> float:
    """Return the shortest wall time of a new interpreter."""
    best = float("inf")
    for _ in range(repeats):
        clock = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=os.environ | environment)
        best = min(best, time.perf_counter() - clock)
    return best


def rows(full: bool = False) -> list[dict[str, Any]]:
    """Return the shortest of some repeats of each; the cold study compiles every kernel that it needs, once."""
    subprocess.run([sys.executable, *COMMANDS["built-in study of one step, kernels cached"]], check=True)
    found = {case: seconds(words, 10 if full else 5) for case, words in COMMANDS.items()}
    with tempfile.TemporaryDirectory() as cache:
        cold = "built-in study of one step, no kernel cached"
        found[cold] = seconds(["-c", FIRST_STEP, "1"], 1, NUMBA_CACHE_DIR=cache)
    common = {"benchmark": "start-up", "system": "manifold-id", "quantity": "seconds", "unit": "s", "accuracy": None}
    return [{**common, "case": case, "value": value, "note": "shortest"} for case, value in found.items()]
