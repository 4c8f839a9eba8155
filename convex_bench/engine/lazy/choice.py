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

    Lazy where batch size * mean nonzeros of a row * cost of a nonzero < d, with the cost in entries of w. It is fitted
    to where the two loops take the same time in `benchmarks/sparse_steps.py` (d = 47 000, 72 nonzeros): RMDA at batches
    of about 110 rows with l1 and 45 with groups of ten, 15 if w is an average (c < 1), l1-SAGA at about 45, proximal
    SGD at about 4: its atoms come and go at every step.
    """
    nonzeros = problem.design.nnz / problem.n
    return batch_size * nonzeros * _cost(method, _touched_size(problem, separable)) < problem.shape[0]


def _cost(method: Method, size: float) -> float:
    """Return the cost of a nonzero whose group has `size` entries."""
    if isinstance(method, ProxSGD):
        return 175.0 + size
    if isinstance(method, ProxSAGA):
        return 13.0 + size
    averages = getattr(method, "momentum", 1.0) < 1.0
    return 2.0 + 4.0 * size if averages else 5.0 + size


def _touched_size(problem: Problem, separable: Separable) -> float:
    """Return the mean size of the group of a nonzero entry."""
    sizes = np.bincount(separable.labels)
    columns = np.bincount(problem.design.indices, minlength=len(separable.labels))
    return float((columns * sizes[separable.labels]).sum() / max(columns.sum(), 1))
