"""A certified ground truth: the point, its value, and the proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np

Array = np.ndarray


class Lazy:
    """A dataclass field of type float that may be given as a function, called when it is first read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.slot = f"_{name}"

    def __get__(self, instance: Any, owner: type | None = None) -> float:
        if instance is None:
            raise AttributeError("the field has no default")
        value = instance.__dict__[self.slot]
        if callable(value):
            value = instance.__dict__[self.slot] = float(value())
        return float(value)

    def __set__(self, instance: Any, value: float | Callable[[], float]) -> None:
        instance.__dict__[self.slot] = value


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """The minimizer of a problem with its certificate. Atoms are those of the problem's regularizer.

    Attributes
    ----------
    w : of the problem's shape, exact zeros off the support; the last row is the intercept where there is one.
    value : F(w).
    gap : duality gap of w and a feasible dual point, up to the rounding of F; +inf where none is known, and where
        columns without a penalty may be dependent (the solution is not proved unique): no dual point is feasible then.
    residual : (atoms,) distance of minus the gradient at w + low to the subdifferential, relative to `scale` of the
        atom, with a bound of its rounding error. Coordinates without a penalty are each judged by the size of their own
        gradient's terms; of an atom of several the worst of these ratios stands here.
    scale : (atoms,) lam_g plus the entrywise l1 strength; for atoms without a penalty the size of their gradient's
        terms, (1/n) sum_i |x_ij l_i'|.
    codes : (atoms,) int8 structure.
    margin : (atoms,) absolute distance to the relative boundary of the subdifferential, +inf on smooth atoms.
    min_margin, relative_margin : smallest margin; smallest margin / scale.
    smallest_active : smallest norm of an active penalized atom, +inf where none is.
    curvature : smallest eigenvalue of the Hessian of F on the tangent space of the manifold (restricted strong
        convexity). 0 up to rounding: the solution on this manifold is not unique (duplicate columns): the
        codes are then those of one solution, and others may have fewer or more active atoms. +inf on a single point.
    lipschitz : Lipschitz constant of the gradient of f. These two are computed when first read.
    status : "certified" (residual <= 1e-12 with its rounding error, every atom proved), "degenerate" (stationary,
        but an atom is not proved, or a relative margin or the smallest active group relative to its prox-gradient
        threshold is below 1e-8: the manifold is not certain) "failed" (a relative residual above the tolerance) or
        "unattained" (no minimizer exists: `value` is the infimum, approached along `direction` from near w).
    reason : why the status is not "certified", with the remedy; empty where it is.
    low : of w's shape. The certified point is w + low: zero, unless no double is near enough to the solution (columns
        far from their mean); then what lies below the last digit of w.
    radius : the solution is within this Euclidean distance of w; +inf where none is proved (the solution not unique).
    direction : of w's shape, along which F falls for ever; None where F has a minimizer.
    proved : (atoms,) bool, atoms proved to be on or off at every solution as `codes` says.
    solver, method : who solved it, and how, in words.
    seconds, iterations : wall time and Newton (or prox-gradient) steps.
    witness : F at the first solver's own answer where the solver is "cvxpy", else NaN.
    intercepted : whether the last row of w is an intercept.
    names : (atoms,) str, what the user called the groups; None where atoms have numbers alone, from 0.
    """

    w: Array
    value: float
    gap: float
    residual: Array
    scale: Array
    codes: Array
    margin: Array
    min_margin: float
    relative_margin: float
    smallest_active: float
    curvature: float | Lazy = Lazy()
    lipschitz: float | Lazy = Lazy()
    status: str = "failed"
    solver: str = ""
    method: str = ""
    seconds: float = 0.0
    iterations: int = 0
    witness: float = float("nan")
    intercepted: bool = False
    names: Array | None = None
    reason: str = ""
    low: Array | None = None
    radius: float = float("inf")
    proved: Array | None = None
    direction: Array | None = None

    @property
    def coef(self) -> Array:
        """W without the intercept."""
        return self.w[:-1] if self.intercepted else self.w

    @property
    def intercept(self) -> Any:
        """The intercept: a number, one for each class for the multinomial loss, 0.0 where there is none."""
        return self.w[-1] if self.intercepted else 0.0

    @property
    def active(self) -> int:
        """The number of active atoms."""
        return int((self.codes > 0).sum())

    def name(self, atom: int) -> str:
        """Return what an atom is called: its name, or its number."""
        return str(atom) if self.names is None else str(self.names[atom])

    def __repr__(self) -> str:
        worst = float(self.residual.max(initial=0.0))
        atoms = f"{self.active} of {len(self.codes)} atoms"
        return f"<Solution {self.status}: value {self.value:.12g}, {atoms}, residual {worst:.1e}>"

    def _proved(self) -> str:
        """Return how many atoms are proved, and the radius of the ball that holds the solution."""
        if self.proved is None:
            return "nothing"
        return f"{int(self.proved.sum())} of {len(self.proved)} atoms, solution within {self.radius:.1e}"

    def _named(self) -> str:
        """Return ": " and the names of the active atoms, as many as a line holds; nothing where they have none."""
        if self.names is None or not self.active:
            return ""
        return ": " + shorten(", ".join(map(str, self.names[self.codes > 0])), 80, placeholder=" ...")

    def __str__(self) -> str:
        """Return a table of two columns."""
        rows = [
            ("status", self.status + (f": {self.reason}" if self.reason else "")),
            ("objective", f"{self.value:.15g}"),
            ("duality gap", f"{self.gap:.1e}"),
            ("largest relative residual", f"{self.residual.max(initial=0.0):.1e}"),
            ("active atoms", f"{self.active} of {len(self.codes)}" + self._named()),
            ("smallest margin", f"{self.min_margin:.3g} ({self.relative_margin:.3g} of its scale)"),
            ("smallest active norm", f"{self.smallest_active:.3g}"),
            ("restricted curvature", f"{self.curvature:.3g}"),
            ("Lipschitz constant", f"{self.lipschitz:.3g}"),
            ("proved", self._proved()),
            ("solver", f"{self.solver}, {self.iterations} steps, {self.seconds:.3f} s"),
            ("method", self.method),
        ]
        return "\n".join(f"{name:<26}{text}" for name, text in rows)
