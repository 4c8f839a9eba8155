"""Whether a run takes the lazy loops: an exact lazy form exists, and it is the faster one."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from convex_bench.problem import Problem
from manifold_id.methods import RDA, RMDA, SDA, ProxSAGA, ProxSGD
from manifold_id.methods.base import Method
from manifold_id.regularizers.base import Separable

AVERAGING = (RMDA, RDA, SDA)
DESCENT = (ProxSGD, ProxSAGA)
COST = {True: 10.0, False: 80.0}  # of a nonzero of a row, in entries of w, by whether the method averages; see `pays`


def applies(problem: Problem, method: Method, separable: Separable, start: np.ndarray) -> bool:
    """Return whether an exact lazy form exists; what has none, and why, is said in `convex_bench.engine.lazy`."""
    penalties = ("abs", "nonnegative", "elastic_net") if type(method) in AVERAGING else ("abs",)
    groups = len(separable.lam) < start.size
    exact = {
        RMDA: lambda m: not m.stages.milestones and m.stages.momentum != "sqrt" and not start.any(),
        RDA: lambda m: not start.any(),
        SDA: lambda m: not start.any(),
        ProxSGD: lambda m: m.momentum == 1.0,
        ProxSAGA: lambda m: not groups,
    }.get(type(method))
    return (
        exact is not None
        and sparse.issparse(problem.design)
        and start.ndim == 1
        and separable.l1 == 0.0
        and (separable.atoms == "groups") >= groups
        and (separable.penalty in penalties or type(method) is SDA)
        and bool(exact(method))
    )


def pays(problem: Problem, method: Method, separable: Separable, batch_size: int) -> bool:
    """Return whether a lazy step is expected to be faster than an ordinary one.

    Lazy where batch size * mean nonzeros of a row * (COST + 2 * mean size of a touched group) < d, which is where the
    two loops take the same time in `benchmarks/sparse_steps.py` (d = 47 000, 72 nonzeros): averaging at batches of
    about 60 rows with l1 and 20 with groups of ten, proximal SGD at about 8: its atoms come and go at every step.
    """
    nonzeros = problem.design.nnz / problem.n
    each = COST[type(method) in AVERAGING] + 2 * _touched_size(problem, separable)
    return batch_size * nonzeros * each < problem.shape[0]


def _touched_size(problem: Problem, separable: Separable) -> float:
    """Return the mean size of the group of a nonzero entry."""
    sizes = np.bincount(separable.labels)
    columns = np.bincount(problem.design.indices, minlength=len(separable.labels))
    return float((columns * sizes[separable.labels]).sum() / max(columns.sum(), 1))
