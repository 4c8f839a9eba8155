"""Scalar penalties phi(r; lam) on numbers r >= 0: value, exact prox, derivative, slope at zero."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace

from manifold_id.regularizers.base import Array
from manifold_id.validation import real


def positive_part(a: Array) -> Array:
    """Return max(a, 0); NaN stays NaN."""
    return array_namespace(a).where(a < 0, 0.0, a)


class Penalty(ABC):
    """phi(r; lam) on arrays r >= 0. `step` and `lam` >= 0 are numbers or arrays that broadcast against r.

    lam = 0 leaves r free (phi is then smooth at 0). `name` and `parameters` are the form that compiled loops know.
    """

    name: ClassVar[str]
    convex: ClassVar[bool] = True
    one_sided: ClassVar[bool] = False  # acts on signed numbers r, not on magnitudes

    @property
    def parameters(self) -> tuple[float, float]:
        """Parameters besides lam, filled up with zeros."""
        return 0.0, 0.0

    @property
    def ridge(self) -> float | None:
        """mu where phi = lam r + mu r^2 / 2, which has an exact prox on groups in a diagonal metric; else None."""
        return None

    @abstractmethod
    def value(self, r: Array, lam: Any) -> Array:
        """Return phi(r)."""

    @abstractmethod
    def prox(self, r: Array, step: Any, lam: Any) -> Array:
        """Return the global argmin_{x >= 0} phi(x) + (x - r)^2 / (2 step); of two minimizers the smaller."""

    @abstractmethod
    def derivative(self, r: Array, lam: Any) -> Any:
        """Return phi'(r) for r > 0."""

    def slope(self, lam: Any) -> Any:
        """Return the right derivative phi'(0+): the radius of the subdifferential at zero."""
        return lam

    def kinked(self, lam: Any) -> Any:
        """Return whether phi has a kink at zero."""
        return lam > 0


@dataclass(frozen=True)
class Absolute(Penalty):
    """phi(r) = lam r; prox max(r - step lam, 0)."""

    name = "abs"

    @property
    def ridge(self) -> float:
        """0."""
        return 0.0

    def value(self, r: Array, lam: Any) -> Array:
        """Return lam r."""
        return lam * r

    def prox(self, r: Array, step: Any, lam: Any) -> Array:
        """Return max(r - step lam, 0)."""
        return positive_part(r - step * lam)

    def derivative(self, r: Array, lam: Any) -> Any:
        """Return lam."""
        return lam


@dataclass(frozen=True)
class Nonnegative(Absolute):
    """phi(r) = lam r for r >= 0, +inf for r < 0, on signed numbers r; prox max(r - step lam, 0)."""

    name = "nonnegative"
    one_sided = True

    def value(self, r: Array, lam: Any) -> Array:
        """Return lam r, +inf where r < 0."""
        return array_namespace(r).where(r < 0, math.inf, lam * r)

    def derivative(self, r: Array, lam: Any) -> Array:
        """Return lam, +inf where r < 0: the subdifferential is empty there."""
        xp = array_namespace(r)
        return xp.where(r < 0, math.inf, lam + 0 * r)  # NaN stays NaN

    def kinked(self, lam: Any) -> bool:
        """Return True: the bound remains when lam = 0."""
        return True


@dataclass(frozen=True)
class Elastic(Penalty):
    """phi(r) = lam r + ridge r^2 / 2; prox max(r - step lam, 0) / (1 + step ridge)."""

    mu: float
    name = "elastic_net"

    @property
    def parameters(self) -> tuple[float, float]:
        """(ridge, 0)."""
        return self.mu, 0.0

    @property
    def ridge(self) -> float:
        """The ridge."""
        return self.mu

    def value(self, r: Array, lam: Any) -> Array:
        """Return lam r + ridge r^2 / 2."""
        return (lam + self.mu / 2 * r) * r

    def prox(self, r: Array, step: Any, lam: Any) -> Array:
        """Return max(r - step lam, 0) / (1 + step ridge)."""
        return positive_part(r - step * lam) / (1.0 + step * self.mu)

    def derivative(self, r: Array, lam: Any) -> Array:
        """Return lam + ridge r."""
        return lam + self.mu * r


@dataclass(frozen=True)
class MinimaxConcave(Penalty):
    """MCP (Zhang 2010): phi(r) = lam r - r^2 / (2 gamma) up to gamma lam, constant beyond; gamma > 0.

    For step < gamma the prox is firm thresholding. For step >= gamma the problem is concave up to gamma lam, so that
    the minimizer is 0 or r: r iff r > lam sqrt(step gamma).
    """

    gamma: float
    name = "mcp"
    convex = False

    def __post_init__(self) -> None:
        real("gamma", self.gamma, 0, open_low=True)

    @property
    def parameters(self) -> tuple[float, float]:
        """(gamma, 0)."""
        return self.gamma, 0.0

    def value(self, r: Array, lam: Any) -> Array:
        """Return lam m - m^2 / (2 gamma), m = min(r, gamma lam)."""
        m = array_namespace(r).where(r > self.gamma * lam, self.gamma * lam, r)  # NaN stays NaN, here and below
        return (lam - m / (2 * self.gamma)) * m

    def prox(self, r: Array, step: Any, lam: Any) -> Array:
        """Return the global minimizer."""
        xp = array_namespace(r)
        step = step + xp.zeros_like(r)
        large = step >= self.gamma
        shrunk = positive_part(r - step * lam) / xp.where(large, 1.0, 1.0 - step / self.gamma)
        kept = xp.where(large, r > xp.sqrt(step * self.gamma) * lam, r > self.gamma * lam)
        return xp.where(kept | xp.isnan(r), r, xp.where(large, 0.0, shrunk))

    def derivative(self, r: Array, lam: Any) -> Array:
        """Return max(lam - r / gamma, 0)."""
        return positive_part(lam - r / self.gamma)


@dataclass(frozen=True)
class SmoothlyClipped(Penalty):
    """SCAD (Fan & Li 2001), a > 1: phi' = lam up to lam, (a lam - r)_+ / (a - 1) beyond.

    For step < a - 1 the problem is strictly convex and each of three intervals of r has its formula. For larger steps
    the middle piece is concave: the minimizer is the soft-thresholded r or r itself, and their values cross at
    r = lam (a + 1 + step) / 2 where that soft-thresholded r is positive (step < a + 1), else at lam sqrt(step (a + 1)).
    """

    a: float
    name = "scad"
    convex = False

    def __post_init__(self) -> None:
        real("a", self.a, 1, open_low=True)

    @property
    def parameters(self) -> tuple[float, float]:
        """(a, 0)."""
        return self.a, 0.0

    def value(self, r: Array, lam: Any) -> Array:
        """Return phi(r) = lam r up to lam, then (2 a lam m - m^2 - lam^2) / (2 (a - 1)) with m = min(r, a lam)."""
        xp, a = array_namespace(r), self.a
        m = xp.where(r > a * lam, a * lam, r)
        return xp.where(r <= lam, lam * r, ((2 * a * lam - m) * m - lam * lam) / (2 * (a - 1)))

    def prox(self, r: Array, step: Any, lam: Any) -> Array:
        """Return the global minimizer."""
        xp, a = array_namespace(r), self.a
        step = step + xp.zeros_like(r)
        large = step >= a - 1
        soft = positive_part(r - step * lam)
        middle = r - step * (a * lam - r) / xp.where(large, 1.0, a - 1 - step)
        switch = lam * xp.where(step < a + 1, (a + 1 + step) / 2, xp.sqrt(step * (a + 1)))
        flat = r > xp.where(large, switch, a * lam + xp.zeros_like(r))
        return xp.where(flat, r, xp.where(large | (r <= lam * (1 + step)), soft, middle))

    def derivative(self, r: Array, lam: Any) -> Array:
        """Return lam up to lam, (a lam - r)_+ / (a - 1) beyond."""
        beyond = positive_part(self.a * lam - r) / (self.a - 1)
        return array_namespace(r).where(r <= lam, lam, beyond)


@dataclass(frozen=True)
class Capped(Penalty):
    """Capped l1 (Zhang 2010): phi(r) = lam min(r, cap), cap > 0.

    The minimizer is r itself above the cap, where it costs lam cap, or the soft-thresholded r below it.
    """

    cap: float
    name = "capped"
    convex = False

    def __post_init__(self) -> None:
        real("cap", self.cap, 0, open_low=True)

    @property
    def parameters(self) -> tuple[float, float]:
        """(cap, 0)."""
        return self.cap, 0.0

    def value(self, r: Array, lam: Any) -> Array:
        """Return lam min(r, cap)."""
        return lam * array_namespace(r).where(r > self.cap, self.cap, r)

    def prox(self, r: Array, step: Any, lam: Any) -> Array:
        """Return the global minimizer."""
        xp = array_namespace(r)
        step = step + xp.zeros_like(r)
        below = positive_part(r - step * lam)
        below = xp.where(below > self.cap, self.cap, below)
        cost = step * lam * (self.cap - below) - (below - r) ** 2 / 2  # of r above the cost below, times step
        return xp.where((r > self.cap) & (cost < 0) | xp.isnan(r), r, below)

    def derivative(self, r: Array, lam: Any) -> Array:
        """Return lam up to the cap, 0 beyond."""
        return array_namespace(r).where(r > self.cap, 0.0, lam + 0 * r)


@dataclass(frozen=True)
class Logarithmic(Penalty):
    """Log-sum (Candes, Wakin and Boyd 2008): phi(r) = lam eps log(1 + r / eps), eps > 0, of slope lam at zero.

    A stationary point r - step lam eps / (eps + x) = x > 0 solves a quadratic equation; the minimizer is its larger
    root or 0, whichever costs less.
    """

    eps: float
    name = "log_sum"
    convex = False

    def __post_init__(self) -> None:
        real("eps", self.eps, 0, open_low=True)

    @property
    def parameters(self) -> tuple[float, float]:
        """(eps, 0)."""
        return self.eps, 0.0

    def value(self, r: Array, lam: Any) -> Array:
        """Return lam eps log(1 + r / eps)."""
        return lam * self.eps * array_namespace(r).log1p(r / self.eps)

    def prox(self, r: Array, step: Any, lam: Any) -> Array:
        """Return the global minimizer."""
        xp, eps = array_namespace(r), self.eps
        step = step + xp.zeros_like(r)
        r, given = xp.where(xp.isfinite(r), r, 0.0), r
        square = (r + eps) ** 2 - 4 * step * lam * eps
        x = (r - eps + xp.sqrt(xp.where(square < 0, 0.0, square))) / 2
        possible = (square >= 0) & (x > 0)
        x = xp.where(possible, x, 0.0)
        gain = x * (2 * r - x) / 2 - step * lam * eps * xp.log1p(x / eps)  # over 0, times step
        free = ~xp.isfinite(given) | (step * lam == 0)
        return xp.where(free, given, xp.where(possible & (gain > 0), x, 0.0))

    def derivative(self, r: Array, lam: Any) -> Array:
        """Return lam eps / (eps + r)."""
        return lam * self.eps / (self.eps + r)


class Jump(Penalty):
    """A penalty with infinite slope at zero: zero is stationary whatever the gradient, and the prox jumps."""

    convex = False

    def slope(self, lam: Any) -> Any:
        """Return +inf, 0 where lam = 0."""
        if isinstance(lam, float):
            return math.inf if lam > 0 else 0.0
        return array_namespace(lam).where(lam > 0, math.inf, lam)


@dataclass(frozen=True)
class Counting(Jump):
    """l0: phi(r) = lam if r > 0, phi(0) = 0; prox r if r > sqrt(2 step lam), else 0."""

    name = "l0"

    def value(self, r: Array, lam: Any) -> Array:
        """Return lam where r > 0, else 0."""
        return array_namespace(r).where(r > 0, lam, lam * r)

    def prox(self, r: Array, step: Any, lam: Any) -> Array:
        """Return r where r > sqrt(2 step lam), else 0."""
        return array_namespace(r).where(r <= (2 * step * lam) ** 0.5, 0.0, r)

    def derivative(self, r: Array, lam: Any) -> float:
        """Return 0."""
        return 0.0


@dataclass(frozen=True)
class SquareRoot(Jump):
    """l1/2: phi(r) = lam sqrt(r); prox by half thresholding (Xu et al. 2012).

    With s = 2 step lam and the threshold h = 54^(1/3) / 4 s^(2/3) their angle is arccos((h / r)^(3/2) / sqrt 2).
    """

    name = "l_half"

    def value(self, r: Array, lam: Any) -> Array:
        """Return lam sqrt(r); its derivative in autograd is 0, not NaN, where r = 0."""
        xp, zero = array_namespace(r), r == 0
        return lam * xp.where(zero, 0.0, xp.sqrt(xp.where(zero, 1.0, r)))

    def prox(self, r: Array, step: Any, lam: Any) -> Array:
        """Return 2/3 r (1 + cos(2 pi / 3 - 2/3 angle)) where r > h, else 0; r itself where h = 0."""
        xp = array_namespace(r)
        threshold = 54 ** (1 / 3) / 4 * (2 * step * lam) ** (2 / 3) + xp.zeros_like(r)
        off = r <= threshold
        angle = xp.acos((threshold / xp.where(off, xp.maximum(threshold, xp.ones_like(r)), r)) ** 1.5 / math.sqrt(2))
        x = 2 / 3 * r * (1 + xp.cos(2 * math.pi / 3 - 2 / 3 * angle))
        return xp.where(off, 0.0, xp.where(threshold == 0, r, x))

    def derivative(self, r: Array, lam: Any) -> Array:
        """Return lam / (2 sqrt(r)), 0 where r = 0."""
        xp, zero = array_namespace(r), r == 0
        return xp.where(zero, 0.0, lam / (2 * xp.sqrt(xp.where(zero, 1.0, r))))
