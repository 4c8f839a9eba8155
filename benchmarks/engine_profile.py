"""Where the time of a step goes, for the methods and sizes of `engine_steps` and `sparse_steps`.

    python benchmarks/collect.py engine_profile

Dense: the same loop is timed on 80 columns, on 20 rows, which stay in the second-level cache, and on all rows. Then

- fixed = the step on 80 columns and 20 rows: drawing, the loss, the calls, the ends of the loops;
- vectors = what the other columns add on those 20 rows: the passes over the rows and the method's own vectors;
- waiting = what all rows add to that: memory.

The note has them in microseconds, the kilobytes of rows and of the method's vectors that a step goes through, and the
bandwidth at which the rows alone are read. A step of b rows reads them from memory once, and once more from the cache,
because their weights need the whole product; STORM reads them three times, its products being at two points. With b = 1
the second reading is the fetching of the next row. What cannot be made smaller at b = 1 is `vectors`: SAGA reads or
writes v or its mean, w, and two rows at every entry.

Sparse: the lazy loop's time, over the nonzeros of its rows and over the changes of structure, all in microseconds.
Averaging changes few atoms a step; in proximal SGD and SAGA almost every entry of a row becomes nonzero and is zero
again some steps later, so that each costs a prox, an entry in the calendar and two in the log.
"""

from __future__ import annotations

import sparse_steps as sparse
from engine_steps import METHODS, Row, bound, engine, planted, row
from engine_steps import best as least
from threadpoolctl import threadpool_limits

from convex_bench.engine import run, runner

CHOSEN = ("RDA", "ProxSGD", "ProxSAGA", "ProxSTORM")
VECTORS = {"RDA": 2, "ProxSGD": 1, "ProxSAGA": 2, "ProxSTORM": 3}  # a step's own: w and v or mu; STORM's last w as well


def dense(dims: list[int], batches: list[int], rounds: int) -> list[Row]:
    """Return the parts of a dense step."""
    result = []
    few = planted(80, rows=20)
    for d in dims:
        all_rows, cached = planted(d), planted(d, rows=20)
        for b in batches:
            steps = max(100, 2_000_000 // (d * (b + 1)))
            for name in CHOSEN:
                parts = {"fixed": few, "cached": cached, "whole": all_rows}
                times = least(
                    {part: engine(problem, METHODS[name], b, steps) for part, problem in parts.items()}
                    | {"rows": bound(all_rows, b, steps)},
                    rounds,
                )
                shares = {
                    "fixed": times["fixed"],
                    "vectors": times["cached"] - times["fixed"],
                    "waiting": times["whole"] - times["cached"],
                    "kB of rows": b * d * 8e-3,
                    "kB of vectors": VECTORS[name] * d * 8e-3,
                    "GB/s of the rows alone": b * d * 8e-3 / times["rows"],
                }
                result.append(row(f"profile, b = {b}", name, d, b, times["whole"], **shares))
    return result


def lazy(rounds: int, steps: int = 10_000) -> list[Row]:
    """Return the parts of a lazy step."""
    result = []
    for penalty in ("l1", "groups"):
        problem = sparse.problem(penalty)
        for name, method in sparse.METHODS.items():
            if (penalty, name) == ("groups", "SAGA"):
                continue
            time = min(sparse.engine(problem, method, True, steps, 1) for _ in range(rounds))
            chosen, runner.pays = runner.pays, lambda *_: True
            try:
                changes = len(run(problem, method, [0], steps)[0].prox_trace.step) / steps
            finally:
                runner.pays = chosen
            nonzeros = problem.design.nnz / problem.n
            shares = {"nonzeros": nonzeros, "us a nonzero": time / nonzeros, "changes of structure": changes}
            if changes > nonzeros:
                shares["us a change"] = time / changes
            result.append(row(f"profile, lazy, {penalty}", name, sparse.COLUMNS, 1, time, **shares))
    return result


def rows(rounds: int = 7) -> list[Row]:
    """Return all rows; takes about a minute."""
    with threadpool_limits(1):
        return [*dense([320, 1000], [1, 10, 64], rounds), *lazy(max(2, rounds // 3))]
