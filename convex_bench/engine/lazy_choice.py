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
COST = 10.0  # of an entry that a lazy step touches, in entries of an ordinary step; see `pays`


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


def pays(problem: Problem, separable: Separable, batch_size: int) -> bool:
    """Return whether a lazy step is expected to be faster than an ordinary one.

    A lazy step costs about COST times the entries of the groups that it touches, an ordinary step the d entries of w:
    lazy where COST * batch size * mean nonzeros of a row * mean size of a touched group < d.
    """
    nonzeros = problem.design.nnz / problem.n
    return COST * batch_size * nonzeros * _touched_size(problem, separable) < problem.shape[0]


def _touched_size(problem: Problem, separable: Separable) -> float:
    """Return the mean size of the group of a nonzero entry."""
    sizes = np.bincount(separable.labels)
    columns = np.bincount(problem.design.indices, minlength=len(separable.labels))
    return float((columns * sizes[separable.labels]).sum() / max(columns.sum(), 1))
