"""Time of one step of the compiled engine, beside NumPy, copt and scikit-learn, and beside the memory's own speed.

    python benchmarks/collect.py engine_steps

All run on the same dense problem: logistic loss, groups of ten and a group
lasso (scikit-learn: l1, it has no groups), n = 2000 rows, float64. A step is one update of the variable from b rows.
Contestants take turns, so that a busy machine slows all of them alike; a time is the least of the rounds, in CPU time
of one thread, except for the table of threads, which is in wall time. The engine's times include the exact structure at
every step.

The bound is the time that this machine needs to read the step's rows once and add them up, from wherever in its caches
and memory they lie: no step that sees all of its rows is faster. Tracking is what following the structure exactly
adds to a step: the engine's time over that of the same loop compiled with the comparison and the log taken out, less 1.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numba
import numpy as np
from engine_peers import Timed, copt_saga, cpu, numpy_rda, pure, sklearn_saga
from threadpoolctl import threadpool_limits

from convex_bench import Problem, iterate, solve
from convex_bench.engine import run
from convex_bench.engine.compiled import compiled
from convex_bench.engine.lanes import WIDTH, load, splat, total
from convex_bench.engine.ordinary import kernel as K
from convex_bench.engine.ordinary import sweep as sweep_module
from convex_bench.engine.ordinary.layout import Layout, lay_out
from convex_bench.engine.ordinary.seeds import Seed
from convex_bench.engine.recursions import RECURSIONS
from manifold_id.methods import RDA, RMDA, ProxSAGA, ProxSGD, ProxSTORM, ProxSVRG
from manifold_id.methods.base import Method
from manifold_id.regularizers import L1, GroupLasso

ROWS, GROUP, LAM_RATIO = 2000, 10, 0.3
Row = dict[str, Any]
METHODS = {
    "RMDA": RMDA(lr=0.01),
    "RMDA, momentum": RMDA(lr=0.01, momentum=0.1),
    "RDA": RDA(gamma=1.0),
    "ProxSGD": ProxSGD(lr=0.01),
    "ProxSGD, momentum": ProxSGD(lr=0.01, momentum=0.1),
    "ProxSVRG": ProxSVRG(),
    "ProxSAGA": ProxSAGA(),
    "ProxSTORM": ProxSTORM(),
}


def planted(d: int, penalty: Any = None, rows: int = ROWS) -> Problem:
    """Return the problem of d features, a tenth of them with an effect."""
    rng = np.random.default_rng(0)
    X, w = rng.standard_normal((rows, d)), np.zeros(d)
    w[: d // 10] = rng.standard_normal(d // 10)
    y = np.sign(X @ w + 0.5 * rng.standard_normal(rows))
    problem = Problem(X, y, regularizer=penalty or GroupLasso(1.0, groups=GROUP))
    return problem.with_lam(LAM_RATIO * problem.lambda_max())


def best(contestants: dict[str, Timed], rounds: int) -> dict[str, float]:
    """Return the least time of each; they take turns, after one turn to compile and warm up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for k in range(rounds + 1):
        for name, once in contestants.items():
            elapsed = once()
            if k > 0:
                times[name].append(elapsed)
    return {name: min(own) for name, own in times.items()}


@lru_cache(maxsize=4)
def laid_out(problem: Problem) -> Layout:
    """Return the engine's copy of a problem, one for all contestants."""
    assert problem.separable is not None
    return lay_out(problem, problem.separable, False, False)


def engine(problem: Problem, method: Method, b: int, steps: int) -> Timed:
    """Return the compiled loop of one seed; the data are laid out, and the method's table filled, before the clock."""
    method = method.for_problem(problem)
    recursion, layout = RECURSIONS[type(method)], laid_out(problem)
    coef = np.zeros((steps + 1, K.COLUMNS))
    recursion.coefficients(method, np.arange(1, steps + 2), coef, None)

    def once() -> float:
        seed = Seed.start(layout, recursion.plan(method), np.zeros(problem.shape), 0, b)
        seed.advance(coef, 0, 1)  # SVRG and SAGA read all rows at the first step: that is no step's time
        return cpu(lambda: seed.advance(coef, 0, steps + 1), steps)

    return once


def untracked() -> Any:
    """Return `kernel.advance` compiled from its own source, but with `note` and `note_word` doing nothing."""
    options = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}  # `compiled`, uncached
    inlined = partial(numba.njit, forceinline=True, **options)

    @inlined
    def no_note(bits, codes, at, stamp, log, count):
        codes[at] = bits  # kept: it says which groups are zero
        return count

    @inlined
    def no_word(bits, length, codes, at, stamp, log, count):
        return count

    names = {**vars(sweep_module), "inner": numba.njit(**options), "inlined": inlined}
    names |= {"note": no_note, "note_word": no_word}
    for name in ("_place", "_point", "_entries", "_squares", "sweep"):
        exec(inspect.getsource(getattr(sweep_module, name).py_func), names)
    names = {**vars(K), "compiled": numba.njit(**options), "sweep": names["sweep"]}
    exec(inspect.getsource(K.advance.py_func), names)
    return names["advance"]


def without_tracking(timed: Timed, advance: Any) -> Timed:
    """Return the same with another `kernel.advance`."""

    def once() -> float:
        tracked = K.advance
        K.advance = advance
        try:
            return timed()
        finally:
            K.advance = tracked

    return once


@compiled
def _read(data, width, rows):
    """Return the sum of all entries of some rows."""
    sums = 0.0
    for i in range(rows.shape[0]):
        a, b = splat(0.0), splat(0.0)
        start = rows[i] * width
        for s in range(start, start + width - WIDTH, 2 * WIDTH):
            a = a + load(data, s)
            b = b + load(data, s + WIDTH)
        sums += total(a) + total(b)
    return sums


def bound(problem: Problem, b: int, steps: int) -> Timed:
    """Return the reading of b random rows a step, of the engine's own copy of the data."""
    rows = laid_out(problem).rows
    drawn = np.random.default_rng(0).integers(0, problem.n, b * steps)
    return lambda: cpu(lambda: _read(rows.data, rows.width, drawn), steps)


def row(case: str, system: str, d: int, b: int, microseconds: float, **others: Any) -> Row:
    """Return one row of the result."""
    sizes = {"d": d, "b": b, "seeds": others.pop("seeds", 1), "steps": others.pop("steps", "")}
    return {
        "benchmark": "engine step", "case": case, "system": system, **sizes, "threads": others.pop("threads", 1),
        "quantity": others.pop("quantity", "time of a step"), "value": f"{microseconds:.4g}", "unit": "us",
        "accuracy": f"{others.pop('accuracy'):.2g}" if "accuracy" in others else None,
        "note": "; ".join(f"{name} {value:.3g}" for name, value in others.items()),
    }  # fmt: skip


def _some(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def peers(d: int, rounds: int, passes: int = 8) -> list[Row]:
    """Compare with others at b = 1: ratio = their time / the engine's for the same method (SAGA, or RDA for NumPy).

    accuracy = F(w) - F* after equal numbers of passes over the data; of the pure update, the largest difference of w
    after 200 steps.
    """
    groups, entries = planted(d), planted(d, L1(1.0))
    saga = ProxSAGA().for_problem(groups)
    steps = 3000
    copt, copt_point = copt_saga(groups, GROUP, saga.lr, passes)
    sklearn, sklearn_point = sklearn_saga(entries, passes)
    times = best(
        {
            "engine RDA": engine(groups, METHODS["RDA"], 1, steps),
            "engine SAGA": engine(groups, saga, 1, steps),
            "engine SAGA, l1": engine(entries, saga, 1, steps),
            "NumPy RDA": numpy_rda(groups, GROUP, 300),
            "pure RDA": pure(groups, METHODS["RDA"], 100),
            "copt SAGA": copt,
            "scikit-learn SAGA, l1": sklearn,
        },
        rounds,
    )
    seen = (passes + 1) * ROWS
    optimum = {id(p): solve(p).value for p in (groups, entries)}

    def gap(problem: Problem, w: np.ndarray) -> float:
        return float(problem.value(w)) - optimum[id(problem)]

    exact = next(s for s in iterate(groups, METHODS["RDA"]) if s.t == 200).w
    accuracy = {
        "engine SAGA": gap(groups, run(groups, saga, [0], seen)[0].w),
        "engine SAGA, l1": gap(entries, run(entries, saga, [0], seen)[0].w),
        "copt SAGA": gap(groups, copt_point()),
        "scikit-learn SAGA, l1": gap(entries, sklearn_point()),
        "engine RDA": float(np.abs(run(groups, METHODS["RDA"], [0], 200)[0].w - exact).max()),
    }
    ours = {"NumPy RDA": "engine RDA", "pure RDA": "engine RDA", "copt SAGA": "engine SAGA"}
    ours["scikit-learn SAGA, l1"] = "engine SAGA, l1"
    return [
        row("peers", name, d, 1, t, ratio=t / times[ours.get(name, name)], **_some(accuracy=accuracy.get(name)))
        for name, t in times.items()
    ]


def sizes(dims: list[int], batches: list[int], rounds: int) -> list[Row]:
    """Time every method beside the reading of its rows, ratio = time / bound, and what tracking adds."""
    result, advance = [], untracked()
    for d in dims:
        problem = planted(d)
        for b in batches:
            steps = max(100, 3_000_000 // (d * (b + 1)))
            contestants = {name: engine(problem, method, b, steps) for name, method in METHODS.items()}
            plain = {f"{name}, untracked": without_tracking(contestants[name], advance) for name in ("RDA", "ProxSGD")}
            times = best({**contestants, **plain, "bound": bound(problem, b, steps)}, rounds)
            for name in METHODS:
                t, other = times[name], times.get(f"{name}, untracked")
                tracking = _some(tracking=t / other - 1.0 if other else None)
                over = {"us to read the rows": times["bound"], "ratio to that": t / times["bound"]}
                result.append(row(f"b = {b}", name, d, b, t, **over, **tracking))
    return result


def growth(rounds: int) -> list[Row]:
    """Time RDA against steps, d, b and seeds, and wall time on threads."""
    result = []
    method, base = METHODS["RDA"], planted(320)
    axes: dict[str, dict[int, Timed]] = {
        "steps": {k: engine(base, method, 1, k) for k in (4000, 8000, 16000, 32000)},
        "d": {k: engine(planted(k), method, 1, 2000) for k in (320, 640, 1280, 2560)},
        "b": {k: engine(base, method, k, 4000 // k) for k in (8, 16, 32, 64)},
    }

    def seeds(count: int, threads: int, clock: Callable[[], float]) -> float:
        """Return microseconds a step of all seeds together, without what a call costs beyond its steps."""
        marks = [clock()]
        for steps in (1, 8001):
            run(base, method, range(count), steps, threads=threads, checkpoints=np.array([steps]))
            marks.append(clock())
        return 1e6 * (marks[2] - 2 * marks[1] + marks[0]) / 8000

    axes["seeds"] = {k: lambda k=k: seeds(k, 1, time.process_time) for k in (8, 16, 32, 64)}
    for name, contestants in axes.items():
        times = best({str(k): once for k, once in contestants.items()}, rounds)
        for k, t in zip(contestants, times.values(), strict=True):
            sizes = {"d": 320, "b": 1} | {name: k}
            whole = {"microseconds": t * k, "quantity": "time of a run"} if name == "steps" else {"microseconds": t}
            result.append(row(f"growth with {name}", "RDA", **sizes, **whole))
    cores = [1 << i for i in range((os.cpu_count() or 1).bit_length()) if 1 << i <= (os.cpu_count() or 1)]
    times = best({str(k): lambda k=k: seeds(16, k, time.perf_counter) for k in cores}, rounds)
    for k, t in times.items():
        threads = {"threads": int(k), "quantity": "wall time of a step of all seeds"}
        result.append(row("threads", "RDA", 320, 1, t, seeds=16, **threads, **{"times as fast": times["1"] / t}))
    return result


def rows(rounds: int = 15) -> list[Row]:
    """Return all rows; takes a few minutes."""
    with threadpool_limits(1):
        return [
            *(r for d in (320, 1000) for r in peers(d, max(3, rounds // 3))),
            *sizes([320, 960, 1000, 4000], [1, 10, 64], rounds),
            *growth(rounds),
        ]
