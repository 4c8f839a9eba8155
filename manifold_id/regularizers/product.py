"""Most regularizers at once, a scalar penalty on the numbers of a grouping: psi(w) = sum_g phi(r_g; lam weight_g)."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from functools import cached_property
from typing import Any, Self

import numpy as np
from array_api_compat import array_namespace, device, is_torch_namespace

from manifold_id.regularizers.base import Array, Regularizer, Separable
from manifold_id.regularizers.grouping_arguments import (
    check_groups,
    group_weights,
    make_grouping,
    parse_event_ndim,
    parse_groups,
    parse_weights,
)
from manifold_id.regularizers.groupings import Entries, Grouping, SignedEntries
from manifold_id.regularizers.metric import group_prox_metric
from manifold_id.regularizers.penalties import Penalty, positive_part
from manifold_id.regularizers.singular_values import SingularValues
from manifold_id.validation import real


class Product(Regularizer):
    """psi(w) = sum_g phi(r_g; lam weight_g) for a `penalty` phi and a `grouping` of w into numbers r_g >= 0.

    A frozen dataclass that derives from it has the field `lam` and, of `groups`, `axis`, `weights`, `event_ndim`, those
    that it offers, and says its penalty. The atoms are the groups; a group of weight 0 is free: code 1, margin +inf.

    Raises
    ------
    ValueError, TypeError
        At construction: negative or NaN lam or weights, groups that overlap, miss a feature or are empty, groups and
        axis together. At use: an axis, block size or number of labels or weights that does not fit w.
    """

    lam: float
    groups: int | tuple[int, ...] | None = None
    axis: int | None = None
    weights: str | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        given: dict[str, Any] = {"lam": real("lam", self.lam, 0)}
        names = {field.name for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        if "event_ndim" in names:
            given["event_ndim"] = parse_event_ndim(self.event_ndim, self.axis)
        if "groups" in names:
            given["groups"] = parse_groups(self.groups)
            given["weights"] = parse_weights(self.weights, getattr(given["groups"], "names", None))
            check_groups(given["groups"], self.axis, given["weights"])
        for name, value in given.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "convex", self.penalty.convex)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone: what is cached stays behind."""
        names = [*(field.name for field in dataclasses.fields(self)), "convex"]  # type: ignore[arg-type]
        return {name: self.__dict__[name] for name in names}

    @property
    @abstractmethod
    def penalty(self) -> Penalty:
        """phi."""

    @cached_property
    def grouping(self) -> Grouping:
        """The numbers that phi acts on."""
        if self.penalty.one_sided:
            return SignedEntries(self.event_ndim)
        return make_grouping(self.groups, self.axis, self.event_ndim)

    @property
    def atom_names(self) -> tuple[str, ...] | None:
        """The labels of the groups, where groups were given by labels."""
        return getattr(self.groups, "names", None)

    @cached_property
    def _strengths(self) -> dict[Any, Any]:
        return {}

    def _lam(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return lam_g = lam weight_g, (groups,) float64, for points of `shape`; raises where the groups do not fit."""
        return self.lam * group_weights(self.weights, self.grouping, shape)

    def _lam_like(self, w: Array) -> Array:
        """Return lam_g as an array of w's kind, dtype and device."""
        return array_namespace(w).asarray(self._lam(self.grouping.event(w)), dtype=w.dtype, device=device(w))

    def strength(self, w: Array) -> Any:
        """Return lam_g as one float where all are alike, which is cheaper, else as an array; kept for the next call."""
        key = (self.grouping.event(w), w.dtype, str(device(w)))
        if key not in self._strengths:
            lam = self._lam(key[0])
            if lam.size == 0:
                raise ValueError(f"w has shape {tuple(w.shape)}: a point needs at least one entry")
            self._strengths[key] = float(lam[0]) if np.all(lam == lam[0]) else self._lam_like(w)
        return self._strengths[key]

    def _step(self, step: Any, w: Array) -> Any:
        """Return `step` as a number, or as an array of w's kind that broadcasts against (*batch, groups).

        Raises
        ------
        ValueError
            If a number is negative or not finite.
        """
        xp = array_namespace(w)
        if getattr(step, "ndim", 0) > 0:
            return xp.asarray(step, dtype=w.dtype, device=device(w))[..., None]
        if is_torch_namespace(xp) and type(step) is type(w):
            return step.to(w.dtype)  # stays on its device
        return real("step", step.item() if hasattr(step, "item") else step, 0)

    def _free(self, w: Array, strength: Any) -> Array:
        """Return which atoms are active, or have no kink."""
        active, kinked = self.grouping.active(w), self.penalty.kinked(strength)
        if isinstance(kinked, bool):
            return active if kinked else active | True
        return active | ~kinked

    def value(self, w: Array) -> Array:
        """Return psi(w), one number for each point of the batch."""
        strength = self.strength(w)
        return array_namespace(w).sum(self.penalty.value(self.grouping.numbers(w), strength), axis=-1)

    def prox(self, w: Array, step: Array) -> Array:
        """Return the global argmin_x psi(x) + |x - w|^2 / (2 step); of two minimizers the sparser."""
        strength, step = self.strength(w), self._step(step, w)
        numbers, frame = self.grouping.polar(w)
        return self.grouping.compose(self.penalty.prox(numbers, step, strength), numbers, frame)

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return argmin_x psi(x) + sum_j d_j (x_j - w_j)^2 / (2 step) for d > 0 of w's shape, exactly.

        Raises
        ------
        NotImplementedError
            For a nonconvex penalty on groups within which d is not constant, and for singular values.
        ValueError
            If d has not w's shape.
        """
        grouping, penalty = self.grouping, self.penalty
        if not grouping.metric:
            raise NotImplementedError(f"{type(self).__name__} has no exact prox in a diagonal metric; use prox")
        if tuple(d.shape) != tuple(w.shape):
            raise ValueError(f"d has shape {tuple(d.shape)}, but needs the shape of w, {tuple(w.shape)}")
        strength, step = self.strength(w), self._step(step, w)
        if isinstance(grouping, Entries):
            steps = step / grouping.flatten(d)
        elif penalty.ridge is None:
            top, inverse = grouping.largest(d), grouping.largest(1.0 / d)
            if not bool(array_namespace(d).all(abs(top * inverse - 1) < 1e-5)):
                raise NotImplementedError(
                    f"{type(self).__name__} on groups has no exact prox in a metric that varies within a group: "
                    "use prox, a metric that is constant on each group, or a convex penalty"
                )
            steps = step / top
        else:
            ridge = grouping.spread(step, w) * penalty.ridge if penalty.ridge else 0.0
            return group_prox_metric(grouping, w * (d / (d + ridge)), d + ridge, step * strength)
        numbers, frame = grouping.polar(w)
        return grouping.compose(penalty.prox(numbers, steps, strength), numbers, frame)

    def structure(self, w: Array) -> Array:
        """Return int8 codes (*batch, atoms): 1 = active or free, 0 = off."""
        xp = array_namespace(w)
        return xp.astype(self._free(w, self.strength(w)), xp.int8)

    def _split(self, w: Array, g: Array) -> tuple[Array, Array, Array, Any]:
        """Return which atoms are free, both parts of the gradient, and the slope of phi at zero."""
        strength, penalty = self.strength(w), self.penalty
        tangential, normal = self.grouping.split_gradient(w, g, lambda r: penalty.derivative(r, strength))
        return self._free(w, strength), tangential, normal, penalty.slope(strength)

    def residual(self, w: Array, g: Array) -> Array:
        """Return |g + phi'(r) w / r| of an active atom, (|g| - phi'(0+))_+ of one that is off."""
        free, tangential, normal, slope = self._split(w, g)
        return array_namespace(w).where(free, tangential, positive_part(normal - slope))

    def margin(self, w: Array, g: Array) -> Array:
        """Return phi'(0+) - |g| of an atom that is off, +inf of an active one."""
        free, _, normal, slope = self._split(w, g)
        return array_namespace(w).where(free, math.inf, slope - normal)

    def atom_norms(self, w: Array) -> Array:
        """Return |w_g| of every atom; +inf of one without a kink."""
        xp = array_namespace(w)
        kinked = self.penalty.kinked(self.strength(w))
        norms = xp.abs(self.grouping.numbers(w))
        return norms if kinked is True else xp.where(xp.asarray(kinked) & (norms == norms), norms, xp.inf)

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the dimension of the manifold; `shape` of one point is needed where codes do not tell group sizes."""
        return self.grouping.dimension(codes > 0, shape)

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return the projection of v onto the tangent space; `w` is needed for singular values."""
        return self.grouping.project(codes > 0, v, w)

    def separable(self, shape: tuple[int, ...]) -> Separable | None:
        """Return the form for compiled loops; None for singular values, and for a bound without strength."""
        grouping, penalty = self.grouping, self.penalty
        if isinstance(grouping, SingularValues) or (penalty.one_sided and self.lam == 0):
            return None
        atoms = "entries" if isinstance(grouping, Entries) else "groups"
        name = vars(type(penalty)).get("name", type(penalty).__qualname__)  # an inherited name is another phi's
        return Separable(name, penalty.parameters, grouping.labels(shape), self._lam(shape), 0.0, atoms)

    def lambda_max(self, g: Array) -> float:
        """Return max_g |g_g| / weight_g over the groups of positive weight, those of weight 0 being left out.

        Raises
        ------
        NotImplementedError
            For penalties of infinite slope at zero (l0, l1/2): 0 is stationary for every lam > 0.
        """
        if self.penalty.slope(1.0) == math.inf:
            raise NotImplementedError(f"{type(self).__name__} has no lambda_max: 0 is stationary for every lam > 0")
        xp, weights = array_namespace(g), self.with_lam(1.0)._lam_like(g)
        _, normal = self.grouping.split_gradient(xp.zeros_like(g), g, xp.zeros_like)
        ratio = xp.where(weights > 0, normal / xp.where(weights > 0, weights, 1.0), 0.0)
        return max(float(xp.max(ratio)), 0.0)

    def with_lam(self, lam: float) -> Self:
        """Return the same regularizer with another strength lam."""
        return dataclasses.replace(self, lam=lam)  # type: ignore[type-var]
