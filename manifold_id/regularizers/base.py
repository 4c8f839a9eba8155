"""The contract of a regularizer psi: everything that identification theory asks of it, and no more."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from array_api_compat import array_namespace, device

Array = Any  # a NumPy array or a torch tensor: array_api_compat gives both one namespace
_POINTS = ("w", "v", "g", "d")  # the parameters of the contract that are points or gradients; codes stay int8


def _is_floating(a: Any) -> bool:
    """Return whether an array has a floating dtype; True for what is no array, which fails where it is used."""
    dtype = getattr(a, "dtype", None)
    return getattr(dtype, "is_floating_point", getattr(dtype, "kind", "f") == "f")


def _as_floating(name: str, a: Array, dtype: Any) -> Array:
    """Return integers or booleans as `dtype`; None: float64 of NumPy, the default dtype of torch."""
    xp = array_namespace(a)
    if not xp.isdtype(a.dtype, ("bool", "integral")):
        raise TypeError(f"{name} has dtype {a.dtype}: give real numbers")
    return xp.asarray(a, dtype=xp.empty(0).dtype if dtype is None else dtype, device=device(a))


def _in_floating_point(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return `method` with integer and boolean points taken as floating ones, of the dtype of the first point.

    Results have the dtype of w: computed in integers they would be truncated.
    """
    signature = inspect.signature(method)
    places = [i for i, name in enumerate(signature.parameters) if name in _POINTS]

    @functools.wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        points = [args[i] for i in places if i < len(args)]
        if all(map(_is_floating, points)) and all(map(_is_floating, kwargs.values())):
            return method(*args, **kwargs)
        bound, dtype = signature.bind(*args, **kwargs), None
        for name, a in bound.arguments.items():
            if name in _POINTS and hasattr(a, "dtype"):
                bound.arguments[name] = a = a if _is_floating(a) else _as_floating(name, a, dtype)
                dtype = a.dtype if dtype is None else dtype
        return method(*bound.args, **bound.kwargs)

    return wrapped


class Separable(NamedTuple):
    """A regularizer as compiled loops see it: psi(w) = l1 * sum_j |w_j| + sum_g phi(|w_g|_2; lam_g).

    The groups partition the flattened variable (C order). phi is named by `penalty`, a key of
    `convex_bench.engine.penalties`, with up to two `parameters` (the ridge of the elastic net, MCP's gamma ...).
    """

    penalty: str
    parameters: tuple[float, float]
    labels: np.ndarray  # (size,) int64: the group of every flat coordinate
    lam: np.ndarray  # (groups,) float64: lam times the group's weight
    l1: float  # the entrywise part of the sparse group lasso, else 0
    atoms: str  # "groups" or "entries": what structure() has one code for


class Regularizer(ABC):
    """psi, a closed function that is smooth along manifolds and has kinks across them.

    The variable w is a NumPy array or torch tensor of any floating dtype; results keep its namespace, dtype and
    device. Integers and booleans are taken as float64, in torch as its default dtype, by all methods of all
    subclasses; other dtypes raise TypeError. The last `event_ndim` axes are one point, any leading axes a batch (many
    seeds); `event_ndim=None` says that the whole array is one point. g stands for the gradient of the smooth part at
    w, of w's shape.

    An *atom* is the unit of structure (an entry, a group, a singular value, a jump). Its int8 code is positive when
    it is active (psi is smooth there) and <= 0 when w is held on a kink: 0, or -1 where there are two kinks (the
    upper bound of a box). Zero tests are exact: a prox returns exact zeros, and an atom is active iff any of its
    entries is nonzero.

    A NaN never becomes a number: the prox of an atom with a NaN is NaN, in all entries that its formula couples, and
    so are value and residual (+inf where psi is an indicator). An infinite entry stays infinite or makes its atom NaN;
    only bounds on single coordinates (box, l1 with w >= 0) map it to the bound, the limit of their projections.
    """

    convex: bool = True
    event_ndim: int | None = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("value", "prox", "prox_metric", "structure", "residual", "margin", "tangent", "lambda_max"):
            if name in vars(cls):
                setattr(cls, name, _in_floating_point(vars(cls)[name]))
        if "separable" not in vars(cls) and {"value", "prox", "structure", "residual"} & vars(cls).keys():
            cls.separable = Regularizer.separable  # type: ignore[method-assign]  # an inherited form is another psi's

    @property
    def atom_names(self) -> tuple[str, ...] | None:
        """What a user called the atoms, in the order of the codes; None where they have numbers alone, from 0."""
        return None

    @abstractmethod
    def value(self, w: Array) -> Array:
        """Return psi(w), one number for each point of the batch."""

    @abstractmethod
    def prox(self, w: Array, step: Array) -> Array:
        """Return argmin_x psi(x) + |x - w|^2 / (2 step). `step` >= 0 is a number, or one for each batch point."""

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return argmin_x psi(x) + sum_j d_j (x_j - w_j)^2 / (2 step), for a metric d > 0 of w's shape.

        Raises
        ------
        NotImplementedError
            If psi has no exact solution in a diagonal metric; the message says what to use instead.
        """
        raise NotImplementedError(f"{type(self).__name__} has no exact prox in a diagonal metric; use prox")

    @abstractmethod
    def structure(self, w: Array) -> Array:
        """Return int8 codes (*batch, atoms): the name of the manifold that w lies in."""

    @abstractmethod
    def residual(self, w: Array, g: Array) -> Array:
        """Return, for each atom, dist(-g, d psi(w)): zero everywhere means that w is stationary."""

    @abstractmethod
    def margin(self, w: Array, g: Array) -> Array:
        """Return, for each atom, the signed distance of -g to the relative boundary of d psi(w).

        Positive inside, negative outside, +inf where the relative boundary is empty (a smooth atom). All
        positive at a stationary point = nondegenerate (strict complementarity).
        """

    @abstractmethod
    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the dimension of the manifold that `codes` (*batch, atoms) names, for each point of the batch.

        `shape`, that of one point, is needed where the codes do not tell it (slices of a tensor, rank).
        """

    @abstractmethod
    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return the projection of v onto the tangent space of the manifold named by `codes`.

        `w`, the point of tangency, is needed only where the manifold is curved (fixed rank).
        """

    def atom_norms(self, w: Array) -> Array:
        """Return, for each atom at one point w, how far w is from where an active atom would meet its kink.

        The norm of a group, a singular value, a jump, the distance to a bound; NaN where that is not known, as here.
        """
        xp = array_namespace(w)
        return xp.where(self.structure(w) == 0, xp.nan, xp.nan)

    def separable(self, shape: tuple[int, ...]) -> Separable | None:
        """Return the form that compiled loops use for a variable of `shape`, or None where psi has none.

        A subclass that has a value, prox, structure or residual of its own does not inherit it.
        """
        return None

    def lambda_max(self, g: Array) -> float:
        """Return the smallest lam for which w = 0 is stationary, when g is the gradient of the smooth part at 0.

        All parameters that scale with lam (the two of the sparse group lasso) keep their ratio.
        """
        raise NotImplementedError(f"{type(self).__name__} has no lambda_max: 0 is not its reference point")

    def with_lam(self, lam: float) -> Self:
        """Return the same regularizer with another strength lam."""
        raise NotImplementedError(f"{type(self).__name__} has no strength lam")
