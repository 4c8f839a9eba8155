"""The convex penalties on entries, groups and singular values: l1, group lasso, elastic net, nuclear norm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from manifold_id.regularizers.base import Array
from manifold_id.regularizers.groupings import Grouping
from manifold_id.regularizers.nuclear_metric import metric_gap, nuclear_prox_metric
from manifold_id.regularizers.penalties import Absolute, Elastic, Nonnegative, Penalty
from manifold_id.regularizers.product import Product
from manifold_id.regularizers.singular_values import SingularValues
from manifold_id.validation import real


@dataclass(frozen=True)
class L1(Product):
    """psi(w) = lam |w|_1, with one atom for each entry of a point of `event_ndim` axes (None: the whole array)."""

    lam: float
    event_ndim: int | None = 1

    @property
    def penalty(self) -> Penalty:
        """lam r."""
        return Absolute()


@dataclass(frozen=True)
class NonnegativeL1(Product):
    """psi(w) = lam sum_j w_j for w >= 0, +inf else, with one atom for each entry; lam = 0 leaves the constraint.

    The residual is +inf where w < 0. The margin of a zero entry is lam + g: -g may lie below lam as far as it likes.
    """

    lam: float
    event_ndim: int | None = 1

    @property
    def penalty(self) -> Penalty:
        """lam r, r >= 0."""
        return Nonnegative()


@dataclass(frozen=True)
class GroupLasso(Product):
    """psi(w) = lam sum_g weight_g |w_g|_2 (Yuan & Lin 2006), with one atom for each group.

    Parameters
    ----------
    lam
        Strength >= 0.
    groups
        For features (axis -event_ndim of w; a group holds whole rows): a list of index lists that partition them, a
        mapping of names to index lists, one label for each (any integers or strings, numbered in sorted order), or an
        int, the size of contiguous blocks.
    axis
        Instead of groups, the axis of a tensor that the group index runs over. For a convolution's weight 1 groups by
        input channel and 0 by output channel; for a linear layer's weight 1 groups by input neuron.
    weights
        "sqrt_size", None (all 1), or one number >= 0 for each group, in their order or as a mapping from their names
        (numbers for blocks and slices); a group of weight 0 is free.
    event_ndim
        How many of the last axes are one point, None = all; "auto" is 1 for groups and None for an axis.
    """

    lam: float
    groups: Any = None
    axis: int | None = None
    weights: Any = "sqrt_size"
    event_ndim: Any = "auto"

    @property
    def penalty(self) -> Penalty:
        """lam r."""
        return Absolute()

    @cached_property
    def grouping(self) -> Grouping:
        """The groups; raises ValueError where neither groups nor axis is given."""
        if self.groups is None and self.axis is None:
            raise ValueError("GroupLasso needs groups (for features) or axis (for tensors); for single entries use L1")
        return super().grouping


@dataclass(frozen=True)
class ElasticNet(Product):
    """psi(w) = lam sum_g weight_g |w_g|_2 + ridge / 2 |w|_2^2 on entries, or on groups as in GroupLasso; ridge >= 0.

    Zou & Hastie (2005). The ridge has no weights; with_lam and lambda_max leave it as it is.
    """

    lam: float
    ridge: float
    groups: Any = None
    axis: int | None = None
    weights: Any = "sqrt_size"
    event_ndim: Any = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ridge", real("ridge", self.ridge, 0))
        super().__post_init__()

    @property
    def penalty(self) -> Penalty:
        """lam r + ridge r^2 / 2."""
        return Elastic(self.ridge)


@dataclass(frozen=True)
class NuclearNorm(Product):
    """psi(W) = lam sum_i sigma_i(W) for matrices in the last two axes, with one atom for each singular value.

    The manifold is that of the matrices of the same rank, of dimension r (m + n - r). Singular values up to
    10 max(m, n) eps sigma_1 count as zero, since a matrix in floating point has no exact zeros among them.
    """

    lam: float
    event_ndim = 2

    @property
    def penalty(self) -> Penalty:
        """lam r."""
        return Absolute()

    @cached_property
    def grouping(self) -> Grouping:
        """The singular values."""
        return SingularValues()

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return argmin_X psi(X) + sum_ij d_ij (X_ij - W_ij)^2 / (2 step) for d > 0 of w's shape, to rounding.

        By an inner loop to a duality gap (`nuclear_metric`); `metric_gap` says how large it is left. Raises ValueError
        if d has not w's shape.
        """
        if tuple(d.shape) != tuple(w.shape):
            raise ValueError(f"d has shape {tuple(d.shape)}, but needs the shape of w, {tuple(w.shape)}")
        self.grouping.event(w)
        return nuclear_prox_metric(w, self.lam * self._matrix_step(step, w), d)

    def metric_gap(self, x: Array, w: Array, step: Array, d: Array) -> Array:
        """Return the duality gap, (*batch,), of x as the prox at w in the metric d: |x - prox|_d^2 <= 2 gap."""
        return metric_gap(x, w, self.lam * self._matrix_step(step, w), d)

    def _matrix_step(self, step: Any, w: Array) -> Any:
        found = self._step(step, w)
        return found[..., 0] if getattr(found, "ndim", 0) else found
