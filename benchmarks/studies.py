"""Whole studies, results stored: growth with steps, seeds, threads and processes; memory; the study of the goals.

    python benchmarks/collect.py studies [--full]

Five methods on planted logistic problems with groups of 10. The solution is stored before the clock starts; kernels are
loaded. Processes are timed from their start, so that their imports show as a constant.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from peak_memory import peak_memory

from convex_bench import Problem, Study, planted
from manifold_id.methods import RDA, RMDA, Method, ProxSGD, ProxSVRG

METHODS: dict[str, Method] = {
    "RMDA": RMDA(lr=0.004),
    "RDA": RDA(gamma=1.0),
    "ProxSGD": ProxSGD(lr=0.004),
    "ProxSGD, momentum": ProxSGD(lr=0.004, momentum=0.1),
    "ProxSVRG": ProxSVRG(epoch=20_000),
}
B = 10


def problem(d: int) -> Problem:
    """Return a dense problem of d columns in groups of 10, 4 of which are active."""
    return planted(n=1000, groups=d // 10, group_size=10, active=4, margin=0.3, seed=0).problem


def measure(p: Problem, seeds: int, steps: int, methods: dict[str, Method] = METHODS, **where: Any) -> float:
    """Return the seconds of a study, from a folder that holds the solution alone."""
    with tempfile.TemporaryDirectory() as folder:
        Study({"p": p}, methods, seeds=1, steps=1, batch_size=B).run(folder, jobs=1, progress=False)
        clock = time.perf_counter()
        Study({"p": p}, methods, seeds=seeds, steps=steps, batch_size=B).run(folder, progress=False, **where)
        return time.perf_counter() - clock


def peak(method: str, steps: int) -> float:
    """Return the peak memory (MB) of a new process that runs one seed."""
    measure(problem(100), 1, steps, {method: METHODS[method]}, jobs=1)
    return peak_memory()


def row(case: str, value: float, quantity: str = "seconds", unit: str = "s", note: str = "", **sizes: Any) -> dict:
    """Return one row; the system is where the study ran."""
    parameters = dict.fromkeys(("d", "b", "seeds", "methods", "steps", "workers")) | {"b": B, "methods": 5} | sizes
    system = parameters.pop("system", "threads")
    common = {"benchmark": "studies", "case": case, "system": system, "quantity": quantity, "value": value}
    return {**common, "unit": unit, "accuracy": None, "note": note, **parameters}


def rows(full: bool = False) -> list[dict[str, Any]]:
    """Return the growth of small studies, memory, and the study of the goals (scaled down unless `full`)."""
    small, cores = problem(100), os.cpu_count() or 1
    scale, repeats = (4, 3) if full else (1, 2)
    found = []

    def best(case: str, seeds: int, steps: int, **where: int) -> None:
        value = min(measure(small, seeds, steps, **where) for _ in range(repeats))
        ((place, workers),) = where.items()
        system = {"jobs": "threads"}.get(place, place)
        sizes = {"seeds": seeds, "steps": steps, "workers": workers, "system": system, "d": 100}
        found.append(row(case, value, **sizes))

    for steps in (25_000, 50_000, 100_000, 200_000):
        best("growth with steps", 2, scale * steps, jobs=1)
    for seeds in (2, 4, 8, 16):
        best("growth with seeds", scale * seeds, 25_000, jobs=1)
    for place in ("jobs", "processes"):
        for count in sorted({1, 2, 4, cores} & set(range(1, cores + 1))):
            best("growth with workers", 8 * scale, 50_000, **{place: count})
    spawn = multiprocessing.get_context("spawn")
    for method in ("RDA", "ProxSGD"):
        for steps in (20_000, 200_000, 2_000_000):
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:  # a new process each: a peak never falls
                value = pool.submit(peak, method, steps).result()
            sizes = {"d": 100, "seeds": 1, "steps": steps, "methods": 1, "workers": 1}
            found.append(row(f"memory, {method}", value, "peak memory", "MB", **sizes))
    seeds, steps = 100 if full else 2 * cores, 200_000
    value = measure(problem(1000), seeds, steps, jobs=cores)
    note = "" if full else f"scaled down: {value * 100 / seeds:.0f} s for 100 seeds at this rate"
    sizes = {"d": 1000, "seeds": seeds, "steps": steps, "workers": cores}
    found.append(row("100 seeds x 5 methods x 200 000 steps", value, note=note, **sizes))
    return found
