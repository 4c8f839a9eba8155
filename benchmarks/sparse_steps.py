"""Time of one step on sparse rows: the lazy loop beside the ordinary one, NumPy and copt's SAGA, in the same run.

    python benchmarks/collect.py sparse_steps

Rows hold `nonzeros` normal entries in columns drawn from a power law.
The contestants take turns in every round; a time is the least over the rounds of the processor time a step, in
microseconds, the structure being followed at every step by all but copt; the note has that time over the lazy loop's.
copt sees the first 2000 rows alone, because it compiles the data into its loop.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from convex_bench import Problem, iterate
from convex_bench.engine import run, runner
from manifold_id.methods import RDA, RMDA, ProxSAGA, ProxSGD
from manifold_id.regularizers import L1, GroupLasso

ROWS, COLUMNS, NONZEROS = 20_000, 47_000, 72
METHODS = {
    "RMDA": RMDA(lr=1.0),
    "RMDA, c = 0.1": RMDA(lr=1.0, momentum=0.1),
    "RDA": RDA(),
    "ProxSGD": ProxSGD(lr=1.0),
    "SAGA": ProxSAGA(),
}


def problem(penalty: str, d: int = COLUMNS, nonzeros: int = NONZEROS, n: int = ROWS) -> Problem:
    """Return a logistic problem with rows of norm 1 and lam = 0.1 lambda_max; groups are ten columns each."""
    rng = np.random.default_rng(0)
    share = np.cumsum((np.arange(d) + 10.0) ** -0.75)
    order = rng.permutation(d)
    columns = order[np.searchsorted(share / share[-1], rng.random(n * nonzeros))]
    X = sparse.csr_array((rng.standard_normal(n * nonzeros), columns, np.arange(0, n * nonzeros + 1, nonzeros)), (n, d))
    X.sum_duplicates()
    X = sparse.csr_array(sparse.diags_array(1 / np.sqrt(X.power(2).sum(axis=1))) @ X)
    truth = np.zeros(d)
    truth[order[:40]] = 3 * rng.standard_normal(40)
    y = np.where(X @ truth + 0.1 * rng.standard_normal(n) > 0, 1.0, -1.0)
    psi = L1(1.0) if penalty == "l1" else GroupLasso(1.0, groups=np.arange(d) // 10)
    result = Problem(X, y, regularizer=psi)
    return result.with_lam(0.1 * result.lambda_max())


def seconds(action: Callable[[], object]) -> float:
    """Return the processor time of an action."""
    start = time.process_time()
    action()
    return time.process_time() - start


def engine(problem: Problem, method: Any, lazy: bool, steps: int, batch: int) -> float:
    """Return microseconds a step of one of the two compiled loops, the set-up subtracted."""
    chosen, runner.pays = runner.pays, lambda *_: lazy
    try:

        def go(many: int) -> None:
            run(problem, method, [0], many, batch_size=batch, checkpoints=np.array([many]), threads=1)

        once = min(seconds(lambda: go(1)) for _ in range(2))  # the first may compile
        return 1e6 * max(seconds(lambda: go(steps + 1)) - once, 1e-9) / steps
    finally:
        runner.pays = chosen


def plain(problem: Problem, method: Any, steps: int, batch: int) -> float:
    """Return microseconds a step of the pure update in NumPy with scipy's rows, the structure taken at every step."""

    def go() -> None:
        for state in itertools.islice(iterate(problem, method, 0, batch), steps):
            problem.regularizer.structure(state.w)

    return 1e6 * seconds(go) / steps


def copt_saga(problem: Problem, penalty: str, epochs: int = 3) -> float:
    """Return microseconds a step of copt's sparse SAGA, n of them an epoch, in its fastest epoch."""
    import copt
    from copt.penalty import GroupL1, L1Norm

    lam, d = float(problem.penalty.lam), problem.shape[0]  # type: ignore[attr-defined]
    psi = L1Norm(lam) if penalty == "l1" else GroupL1(lam * np.sqrt(10), list(np.arange(d).reshape(-1, 10)))
    X, labels = sparse.csr_matrix(problem.X[:2000]), (problem.y[:2000] + 1) / 2
    times: list[float] = []
    copt.minimize_saga(
        copt.loss.LogLoss(X, labels).partial_deriv,
        X,
        labels,
        np.zeros(d),
        1 / (3 * float(problem.row_lipschitz().max())),
        psi.prox_factory(d),
        max_iter=epochs + 1,
        tol=0.0,
        verbose=0,
        callback=lambda _: times.append(time.process_time()),
    )
    return 1e6 * float(np.diff(times).min()) / len(labels)


def compare(case: dict[str, Any], name: str, steps: int, rounds: int, peers: bool) -> list[dict[str, Any]]:
    """Return one row for each contestant on one case."""
    given, method, batch = problem(case["penalty"], case["d"], case["nonzeros"]), METHODS[name], case["b"]
    few = max(steps // 5, 200)  # enough to stand out of the set-up that is subtracted
    contestants: dict[str, Callable[[], float]] = {
        "lazy": lambda: engine(given, method, True, steps, batch),
        "ordinary": lambda: engine(given, method, False, few, batch),
    }
    if peers and name != "SAGA":
        contestants["NumPy"] = lambda: plain(given, method, few // 40, batch)
    if peers:
        contestants["copt SAGA"] = lambda: copt_saga(given, case["penalty"])
    times: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant, measure in contestants.items():
            times[contestant].append(measure())
    best = {contestant: min(own) for contestant, own in times.items()}
    common = {"benchmark": "sparse step", **case, "quantity": "time of a step", "unit": "us", "accuracy": None}
    label = f"{case['penalty']}, {name}"
    return [
        {**common, "case": label, "system": c, "value": round(own, 2), "note": f"{own / best['lazy']:.2f} x lazy"}
        for c, own in best.items()
    ]


def rows(rounds: int = 3, steps: int = 20_000) -> list[dict[str, Any]]:
    """Return all measurements: every method beside its peers, then growth with the nonzeros, d and b."""
    base = {"penalty": "l1", "d": COLUMNS, "nonzeros": NONZEROS, "b": 1}
    result = []
    for penalty, name in itertools.product(("l1", "groups"), METHODS):
        if (penalty, name) != ("groups", "SAGA"):
            result += compare({**base, "penalty": penalty}, name, steps, rounds, peers=True)
    for key, values in {"nonzeros": (18, 288), "d": (11_750, 188_000), "b": (4, 16, 64, 256)}.items():
        for value in values:
            fewer = max(steps // (value if key == "b" else 1), 200)
            result += compare({**base, key: value}, "RMDA", fewer, rounds, peers=False)
    return result
