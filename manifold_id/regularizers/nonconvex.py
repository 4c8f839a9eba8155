"""The nonconvex penalties, on entries or groups: MCP, SCAD, l0, l1/2. Their prox is the exact global minimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manifold_id.regularizers.penalties import (
    Capped,
    Counting,
    Logarithmic,
    MinimaxConcave,
    Penalty,
    SmoothlyClipped,
    SquareRoot,
)
from manifold_id.regularizers.product import Product
from manifold_id.validation import real


@dataclass(frozen=True)
class MCP(Product):
    """psi = sum_g phi(|w_g|; lam weight_g), phi = lam r - r^2 / (2 gamma) up to gamma lam, then constant; gamma > 0.

    Entries, or groups as in GroupLasso. Zhang (2010); group MCP: Breheny & Huang (2015).
    """

    lam: float
    gamma: float = 3.0
    groups: Any = None
    axis: int | None = None
    weights: Any = "sqrt_size"
    event_ndim: Any = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", real("gamma", self.gamma, 0, open_low=True))
        super().__post_init__()

    @property
    def penalty(self) -> Penalty:
        """The minimax concave penalty."""
        return MinimaxConcave(self.gamma)


@dataclass(frozen=True)
class SCAD(Product):
    """psi = sum_g phi(|w_g|; lam weight_g), phi' = lam up to lam, then (a lam - r)_+ / (a - 1); a > 1.

    Entries, or groups as in GroupLasso. Fan & Li (2001).
    """

    lam: float
    a: float = 3.7
    groups: Any = None
    axis: int | None = None
    weights: Any = "sqrt_size"
    event_ndim: Any = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "a", real("a", self.a, 1, open_low=True))
        super().__post_init__()

    @property
    def penalty(self) -> Penalty:
        """The smoothly clipped absolute deviation."""
        return SmoothlyClipped(self.a)


@dataclass(frozen=True)
class CappedL1(Product):
    """psi = sum_g lam weight_g min(|w_g|, cap), cap > 0, on entries, or groups as in GroupLasso. Zhang (2010)."""

    lam: float
    cap: float = 1.0
    groups: Any = None
    axis: int | None = None
    weights: Any = "sqrt_size"
    event_ndim: Any = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "cap", real("cap", self.cap, 0, open_low=True))
        super().__post_init__()

    @property
    def penalty(self) -> Penalty:
        """The capped absolute value."""
        return Capped(self.cap)


@dataclass(frozen=True)
class LogSum(Product):
    """psi = sum_g lam weight_g eps log(1 + |w_g| / eps), eps > 0, on entries, or groups as in GroupLasso.

    Candes, Wakin and Boyd (2008), scaled so that the slope at zero is lam weight_g.
    """

    lam: float
    eps: float = 0.1
    groups: Any = None
    axis: int | None = None
    weights: Any = "sqrt_size"
    event_ndim: Any = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", real("eps", self.eps, 0, open_low=True))
        super().__post_init__()

    @property
    def penalty(self) -> Penalty:
        """The logarithm."""
        return Logarithmic(self.eps)


@dataclass(frozen=True)
class L0(Product):
    """psi = lam sum_g weight_g 1{w_g != 0} on entries, or on groups as in GroupLasso.

    The subdifferential at zero is the whole space: residual 0 and margin +inf of every atom that is off.
    """

    lam: float
    groups: Any = None
    axis: int | None = None
    weights: Any = "sqrt_size"
    event_ndim: Any = "auto"

    @property
    def penalty(self) -> Penalty:
        """lam 1{r > 0}."""
        return Counting()


@dataclass(frozen=True)
class LHalf(Product):
    """psi = lam sum_g weight_g |w_g|_2^(1/2) on entries, or on groups as in GroupLasso (Xu et al. 2012).

    The subdifferential at zero is the whole space: residual 0 and margin +inf of every atom that is off.
    """

    lam: float
    groups: Any = None
    axis: int | None = None
    weights: Any = "sqrt_size"
    event_ndim: Any = "auto"

    @property
    def penalty(self) -> Penalty:
        """lam sqrt(r)."""
        return SquareRoot()
