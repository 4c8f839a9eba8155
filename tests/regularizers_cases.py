"""The table of regularizers that the generic tests run over: one line brings a new one all of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from manifold_id.regularizers import (
    L0,
    L1,
    MCP,
    SCAD,
    CappedL1,
    ElasticNet,
    GroupLasso,
    LHalf,
    LogSum,
    NonnegativeL1,
    NuclearNorm,
)


@dataclass(frozen=True)
class Case:
    """A regularizer with a second description of it, which shares no code with the first.

    groups: flat indices of each group of a point of `shape`; weights: of the groups. None for the nuclear norm.
    """

    name: str
    regularizer: Any
    shape: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...] | None = None
    weights: tuple[float, ...] = ()

    def draw(self, batch=(), seed=0, scale=1.0):
        """Return random points (*batch, *shape)."""
        return scale * np.random.default_rng(seed).normal(size=(*batch, *self.shape))

    @property
    def metric(self):
        """Whether prox_metric is exact for every metric."""
        sizes = {len(group) for group in self.groups or ()}
        return self.groups is not None and (self.regularizer.convex or sizes == {1})


def entries(size):
    return tuple((j,) for j in range(size)), (1.0,) * size


def blocks(labels, weights="sqrt_size", width=1):
    """Groups of features by label, where a feature has `width` entries."""
    labels = np.repeat(labels, width)
    groups = tuple(tuple(np.flatnonzero(labels == k).tolist()) for k in np.unique(labels))
    return groups, tuple(len(group) ** 0.5 for group in groups) if weights == "sqrt_size" else weights


def slices(shape, axis):
    index = np.moveaxis(np.arange(np.prod(shape)).reshape(shape), axis, 0).reshape(shape[axis], -1)
    return tuple(map(tuple, index.tolist())), (index.shape[1] ** 0.5,) * shape[axis]


UNEVEN = (0, 2, 1, 1, 0, 3, 3, 3, 2, 0, 4, 5, 5, 3)
GIVEN = (1.0, 0.5, 2.0, 0.0, 1.5, 0.7)
CONV = (4, 3, 2, 2)

CASES = [
    Case("l1", L1(0.7), (9,), *entries(9)),
    Case("l1 whole tensor", L1(0.7, event_ndim=None), (3, 4), *entries(12)),
    Case("nonnegative l1", NonnegativeL1(0.4), (9,), *entries(9)),
    Case("nonnegative, no strength", NonnegativeL1(0.0), (9,), *entries(9)),
    Case("group lasso, blocks", GroupLasso(0.5, groups=3), (12,), *blocks(np.arange(12) // 3)),
    Case("group lasso, uneven", GroupLasso(0.5, groups=UNEVEN), (14,), *blocks(UNEVEN)),
    Case("group lasso, weights", GroupLasso(0.5, UNEVEN, weights=GIVEN), (14,), *blocks(UNEVEN, GIVEN)),
    Case("group lasso, interleaved", GroupLasso(0.5, [0, 1, 2] * 4), (12,), *blocks([0, 1, 2] * 4)),
    Case("group lasso, rows", GroupLasso(0.5, [0, 1, 0, 2], event_ndim=2), (4, 3), *blocks([0, 1, 0, 2], width=3)),
    Case("group lasso, input channels", GroupLasso(0.4, axis=1), CONV, *slices(CONV, 1)),
    Case("group lasso, last axis", GroupLasso(0.4, axis=-1, event_ndim=2), (5, 4), *slices((5, 4), 1)),
    Case("one group", GroupLasso(0.5, groups=6), (6,), *blocks([0] * 6)),
    Case("elastic net", ElasticNet(0.6, 0.8), (9,), *entries(9)),
    Case("elastic net, groups", ElasticNet(0.4, 0.8, UNEVEN, weights=GIVEN), (14,), *blocks(UNEVEN, GIVEN)),
    Case("MCP", MCP(0.6, gamma=2.0), (9,), *entries(9)),
    Case("MCP, groups", MCP(0.4, 2.0, UNEVEN, weights=GIVEN), (14,), *blocks(UNEVEN, GIVEN)),
    Case("SCAD", SCAD(0.5, a=2.5), (9,), *entries(9)),
    Case("SCAD, groups", SCAD(0.3, 2.5, UNEVEN), (14,), *blocks(UNEVEN)),
    Case("capped l1", CappedL1(0.6, cap=0.7), (9,), *entries(9)),
    Case("capped l1, groups", CappedL1(0.4, 0.8, UNEVEN, weights=GIVEN), (14,), *blocks(UNEVEN, GIVEN)),
    Case("log-sum", LogSum(0.6, eps=0.3), (9,), *entries(9)),
    Case("log-sum, input channels", LogSum(0.3, 0.5, axis=1), CONV, *slices(CONV, 1)),
    Case("l0", L0(0.6), (9,), *entries(9)),
    Case("l0, output channels", L0(0.6, axis=0), CONV, *slices(CONV, 0)),
    Case("l1/2", LHalf(0.6), (9,), *entries(9)),
    Case("l1/2, groups", LHalf(0.5, UNEVEN, weights=GIVEN), (14,), *blocks(UNEVEN, GIVEN)),
    Case("nuclear norm", NuclearNorm(1.1), (5, 4)),
    Case("nuclear norm, wide", NuclearNorm(0.9), (3, 6)),
]
