"""The sparse group lasso: entries and groups at once."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from array_api_compat import array_namespace

from manifold_id.regularizers.base import Array, Regularizer, Separable
from manifold_id.regularizers.lasso import L1, GroupLasso
from manifold_id.regularizers.penalties import positive_part
from manifold_id.validation import real


@dataclass(frozen=True)
class SparseGroupLasso(Regularizer):
    """psi(w) = lam (l1_ratio |w|_1 + (1 - l1_ratio) sum_g weight_g |w_g|_2) (Simon, Friedman, Hastie, Tibshirani 2013).

    Every entry is an atom; the manifold holds the points with the same support. Below, l1 = lam l1_ratio,
    lam_g = lam (1 - l1_ratio) weight_g, and S is the soft-threshold by l1.

    prox_metric: soft-threshold u = S(d v, step l1) / d, then the group lasso's prox of u in the same metric. This is
    exact for every d > 0. An x_g != 0 is optimal iff, for some q_j in the subdifferential of |x_j|,

        d_j (v_j - x_j) / step = l1 q_j + lam_g x_j / |x_g|,

    so that x_j (d_j + step lam_g / |x_g|) = d_j v_j - step l1 q_j. The left factor is positive: hence x_j has the sign
    of d_j v_j where |d_j v_j| > step l1 and is 0 elsewhere, and the right side is d_j u_j. What remains is the
    optimality condition of the group lasso at u. And 0 is optimal iff the ball of radius step lam_g meets the box
    d v + step [-l1, l1]^g, that is iff |S(d v, step l1)| = |d u| <= step lam_g: again that of the group lasso at u.
    prox is the case d = 1.

    residual: in a nonzero group |g_j + l1 sign w_j + lam_g w_j / |w_g|| where w_j != 0, max(|g_j| - l1, 0) elsewhere;
    in a zero group the entries of S(g_g) max(1 - lam_g / |S(g_g)|, 0), whose norm is the distance of -g_g to the
    subdifferential, a box plus a ball.

    margin: +inf where w_j != 0; l1 - |g_j| at zeros of a nonzero group (+inf if l1_ratio = 0: no kink there). All
    entries of a zero group share the signed distance of -g_g to the boundary of box plus ball: lam_g - |S(g_g)| if -g_g
    is outside the box, else lam_g + l1 - max_j |g_j|. Where lam_g = 0 the entries part again: l1 - |g_j|.

    Parameters
    ----------
    lam
        >= 0.
    groups, axis, event_ndim, weights
        As in GroupLasso.
    l1_ratio
        In [0, 1]. With 0 the group lasso results, whose own class has the groups as atoms; with 1 the l1 norm.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range, or groups overlap, are empty or miss a column.
    """

    lam: float
    groups: Any = None
    l1_ratio: float = 0.5
    weights: Any = "sqrt_size"
    axis: int | None = None
    event_ndim: Any = "auto"

    def __post_init__(self) -> None:
        if self.groups is None and self.axis is None:
            raise ValueError("SparseGroupLasso needs groups (for features) or axis (for tensors); for entries use L1")
        parsed = GroupLasso(self.lam, self.groups, self.axis, self.weights, self.event_ndim)
        for name in ("lam", "groups", "weights", "event_ndim"):
            object.__setattr__(self, name, getattr(parsed, name))
        object.__setattr__(self, "l1_ratio", real("l1_ratio", self.l1_ratio, 0, 1))

    @cached_property
    def _entries(self) -> L1:
        return L1(self.lam * self.l1_ratio, self.event_ndim)

    @cached_property
    def _groups(self) -> GroupLasso:
        return GroupLasso(self.lam * (1 - self.l1_ratio), self.groups, self.axis, self.weights, self.event_ndim)

    def _flat(self, x: Array) -> Array:
        """Return x as (*batch, atoms)."""
        event = self._groups.grouping.event(x)
        return x.reshape(*x.shape[: x.ndim - len(event)], math.prod(event))

    def value(self, w: Array) -> Array:
        """Return psi(w), one number for each point of the batch."""
        return self._entries.value(w) + self._groups.value(w)

    def prox(self, w: Array, step: Array) -> Array:
        """Return the group lasso's prox of the soft-threshold of w."""
        return self._groups.prox(self._entries.prox(w, step), step)

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return the group lasso's prox of the soft-threshold of w, both in the metric d > 0: exact."""
        return self._groups.prox_metric(self._entries.prox_metric(w, step, d), step, d)

    def structure(self, w: Array) -> Array:
        """Return int8 codes (*batch, entries): 1 where nonzero, and where neither part penalizes the entry."""
        xp, groups = array_namespace(w), self._groups
        active = w != 0
        if self._entries.lam == 0:
            active = active | groups.grouping.spread(xp.zeros_like(groups.grouping.norms(w)) == groups.strength(w), w)
        return xp.astype(self._flat(active), xp.int8)

    def atom_norms(self, w: Array) -> Array:
        """Return |w_i|."""
        return self._flat(array_namespace(w).abs(w))

    def residual(self, w: Array, g: Array) -> Array:
        """Return the absolute values of the vector from -g to the nearest point of its subdifferential."""
        xp, grouping, lam = array_namespace(w), self._groups.grouping, self._groups.strength(w)
        r, excess = grouping.norms(w), positive_part(xp.abs(g) - self._entries.lam)
        zero = r == 0
        pull = xp.where(zero, 0.0, lam / xp.where(zero, 1.0, r))
        smooth = xp.abs(g + self._entries.lam * xp.sign(w) + w * grouping.spread(pull, w))
        size = grouping.norms(excess)
        inside = size <= lam
        share = xp.where(inside, 0.0, 1 - lam / xp.where(inside, 1.0, size))
        share = xp.where(zero, share, xp.ones_like(share))
        return self._flat(xp.where(w != 0, smooth, excess * grouping.spread(share, w)))

    def margin(self, w: Array, g: Array) -> Array:
        """Return the signed distance of -g to the boundary: of the entry's interval, or of the zero group's set."""
        xp, grouping, lam = array_namespace(w), self._groups.grouping, self._groups.strength(w)
        l1, size = self._entries.lam, xp.abs(g)
        excess = grouping.norms(positive_part(size - l1))
        whole = lam + xp.where(excess > 0, -excess, l1 - grouping.largest(size))
        alone = l1 - size if l1 > 0 else xp.full_like(size, math.inf)
        together = grouping.spread((grouping.norms(w) == 0) & (lam + 0 * excess > 0), w)
        return self._flat(xp.where(w != 0, math.inf, xp.where(together, grouping.spread(whole, w), alone)))

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the size of the support, for each point of the batch."""
        xp = array_namespace(codes)
        return xp.sum(codes > 0, axis=-1, dtype=xp.int64)

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return v with 0 off the support."""
        return self._entries.tangent(codes, v)

    def separable(self, shape: tuple[int, ...]) -> Separable:
        """Return labels and weights for compiled loops; atoms are the entries."""
        groups = self._groups.separable(shape)
        assert groups is not None
        return groups._replace(l1=self._entries.lam, atoms="entries")

    def lambda_max(self, g: Array) -> float:
        """Return the largest root over groups of |S(g_g, lam l1_ratio)|_2 = lam (1 - l1_ratio) weight_g, to rounding.

        The difference of the two sides is convex and decreasing in lam, so that Newton's iteration from 0 increases to
        the root; all groups advance together. Groups that neither part penalizes are left out.
        """
        form = self.with_lam(1.0).separable(tuple(g.shape))
        a = np.abs(np.asarray(g, dtype=np.float64)).reshape(-1)
        a = a / max(a.max(), np.finfo(float).tiny)  # so that squares do not underflow
        lam = np.zeros(len(form.lam))
        with np.errstate(divide="ignore", invalid="ignore"):
            for _ in range(100):
                s = np.maximum(a - form.l1 * lam[form.labels], 0.0)
                size = np.sqrt(np.bincount(form.labels, weights=s * s))
                slope = form.l1 * np.bincount(form.labels, weights=s) / size + form.lam
                following = lam + (size - lam * form.lam) / slope
                grows = (following > lam) & np.isfinite(following)
                if not np.any(grows):
                    break
                lam = np.where(grows, following, lam)
        return float(lam.max() * np.max(np.abs(np.asarray(g, dtype=np.float64))))

    def with_lam(self, lam: float) -> Self:
        """Return the same regularizer with another strength lam; l1_ratio is kept."""
        return dataclasses.replace(self, lam=lam)
