"""Problems whose solution, manifold and margin are known by construction: the dual certificate first, then the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from convex_bench.problem import Problem
from convex_bench.problem.losses import LOSSES
from manifold_id.regularizers import L1, GroupLasso
from manifold_id.validation import integer, real, unknown_name

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Planted:
    """A problem with its planted solution.

    Attributes
    ----------
    problem : Problem
    w : (p,) the solution, exact up to rounding.
    dual : (p,) the chosen certificate u = -(gradient of f at w), an element of d psi(w).
    codes : (atoms,) int8 structure of w.
    margin : (atoms,) distance of u to the relative boundary of d psi(w): lam_g - |u_g| of an off group, +inf of an
        active one. The smallest is the problem's nondegeneracy margin.
    X, y, groups : the data and the group label of every column.
    """

    problem: Problem
    w: Array
    dual: Array
    codes: Array
    margin: Array
    X: Array
    y: Array
    groups: Array

    @property
    def min_margin(self) -> float:
        """The smallest margin of the atoms."""
        return float(self.margin.min())


def planted(
    n: int = 1000,
    groups: int = 100,
    group_size: int = 10,
    active: int = 5,
    margin: float = 0.2,
    correlation: float = 0.0,
    noise: float = 1.0,
    lam: float | None = None,
    degenerate: bool = False,
    loss: str = "logistic",
    weights: Any = "sqrt_size",
    seed: int = 0,
) -> Planted:
    r"""Return a group lasso problem (lasso for groups of one) with known solution, manifold and margin.

    Parameters
    ----------
    n, groups, group_size, active : rows, groups, columns of a group, groups that are active at the solution.
    margin : in (0, 1]; off groups have \|u_g\| <= (1 - margin) lam_g, one of them with equality; lam_g = lam weight_g.
    correlation : in [0, 1); columns i and j are drawn with correlation^\|i - j\|.
    noise : scale of the noise. Squared: its standard deviation in y; logistic: y = sign(x w + noise * L) with L
        standard logistic, so that 1 is the logistic model and 0 gives separable classes.
    lam : strength; None takes half of the bound below for logistic, 0.5 mean((X w)^2) / (psi(w) / lam) for squared.
    degenerate : one off group (chosen at random) lies exactly on the boundary, \|u_g\| = lam_g, margin 0 to rounding.
    loss : "logistic" or "squared".
    weights : of the groups, as in GroupLasso.
    seed : of all random choices.

    Raises
    ------
    ValueError, TypeError
        For an argument outside its range; if lam is beyond the existence condition.

    Notes
    -----
    Construction. w (random directions on `active` groups) and the certificate u come first: u_g = lam_g w_g / \|w_g\|
    on active groups, on the others a random direction with length uniform in [0, (1 - margin) lam_g], one of them at
    the upper end. Then a design X0 and labels y are drawn from the model. With margins m = X0 w and loss
    derivatives d = l'(m, y) the rank-one change

        X = X0 + (n / \|d\|^2) d v^T,    v = -u - X0^T d / n

    gives X^T d / n = -u, which is stationarity, as long as it does not change the margins: X w = m iff <v, w> = 0 iff

        (1/n) sum_i d_i m_i = -<u, w> = -psi(w).                                                     (*)

    Squared: (*) holds after a multiple of m is added to the noise. Logistic: w, hence m and psi, is scaled by the s > 0
    with (1/n) sum_i t_i / (1 + exp(s t_i)) = psi(w), t_i = y_i m_i. The left side decreases strictly in s from
    mean(t) / 2 to a limit <= 0, so s exists, and is unique, iff lam < mean(t) / (2 psi(w) / lam).

    The solution is unique if X_S has full column rank (checked: n >= columns of S; random designs then have it) and the
    margin is positive.
    """
    n, groups = integer("n", n, 2), integer("groups", groups, 1)
    group_size, active = integer("group_size", group_size, 1), integer("active", active, 1, groups)
    margin, correlation = real("margin", margin, 0.0, 1.0, open_low=True), real("correlation", correlation, 0.0, 1.0)
    noise, lam = real("noise", noise, 0.0), None if lam is None else real("lam", lam, 0.0, open_low=True)
    if correlation == 1.0:
        raise ValueError("correlation=1.0 makes all columns equal: choose a number below 1")
    if loss not in ("logistic", "squared"):
        raise unknown_name("loss", loss, ("logistic", "squared"))
    if n < active * group_size:
        raise ValueError(f"n={n} rows cannot determine {active * group_size} active columns: raise n or lower active")
    if degenerate and active == groups:
        raise ValueError(f"degenerate=True needs an off group, but active={active} of groups={groups}: lower active")
    rng = np.random.default_rng(integer("seed", seed, 0))
    p = groups * group_size
    labels = np.repeat(np.arange(groups), group_size)

    X = _design(rng, n, p, correlation)
    support = np.sort(rng.choice(groups, active, replace=False))
    directions = rng.standard_normal((groups, group_size))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    blocks = np.zeros((groups, group_size))
    blocks[support] = directions[support] * rng.uniform(1.0, 2.0, (active, 1))
    w = blocks.reshape(p)
    w *= 2.0 / np.std(X @ w)  # margins of order one, whatever the number of active columns

    unit = GroupLasso(1.0, groups=group_size, weights=weights)
    form = unit.separable((p,))
    assert form is not None
    scale = form.lam  # the weight of every group
    if np.any(scale <= 0):
        raise ValueError(f"weights={weights!r} must be positive: a group of weight 0 is never off")
    per_lam = float(scale @ np.linalg.norm(w.reshape(groups, -1), axis=1))  # psi(w) / lam
    y, lam, factor = _labels(rng, loss, X @ w, per_lam, noise, lam)
    w = factor * w

    lam_g = lam * scale
    radius = rng.uniform(0.0, 1.0 - margin, groups)
    off = rng.permutation(np.setdiff1d(np.arange(groups), support))
    radius[off[:1]] = 1.0 - margin
    if degenerate:
        radius[off[-1:]] = 1.0
    radius[support] = 1.0
    dual = (lam_g * radius)[:, None] * directions
    for _ in range(2):  # the second round removes the rounding of the first
        d = LOSSES[loss].derivative(X @ w, y)
        X += np.outer(d, (-dual.reshape(p) - X.T @ d / n) * (n / (d @ d)))

    error = np.linalg.norm(X.T @ LOSSES[loss].derivative(X @ w, y) / n + dual.reshape(p)) / np.linalg.norm(dual)
    if error > 1e-12:
        raise ValueError(f"noise={noise} is so large that rounding hides the solution (residual {error:.1e}): lower it")

    regularizer = (
        L1(lam) if group_size == 1 and np.all(scale == 1.0) else GroupLasso(lam, groups=group_size, weights=weights)
    )
    problem = Problem(X, y, loss, regularizer)
    margin_g = np.where(np.isin(np.arange(groups), support), np.inf, lam_g * (1.0 - radius))
    codes = np.asarray(problem.regularizer.structure(w))
    return Planted(problem, w, dual.reshape(p), codes, margin_g, problem.X, y, labels)


def _design(rng: np.random.Generator, n: int, p: int, correlation: float) -> Array:
    """Return rows of a stationary Gaussian chain over the columns: correlation^|i - j|, variance 1."""
    X = rng.standard_normal((n, p))
    if correlation > 0:
        innovation = np.sqrt(1.0 - correlation**2)
        for j in range(1, p):
            X[:, j] = correlation * X[:, j - 1] + innovation * X[:, j]
    return X


def _labels(
    rng: np.random.Generator, loss: str, margins: Array, per_lam: float, noise: float, lam: float | None
) -> tuple[Array, float, float]:
    """Return labels, lam and a factor of w with which (*) holds; `per_lam` is psi(w) / lam."""
    n = len(margins)
    if loss == "logistic":
        y = np.where(margins + noise * rng.logistic(size=n) >= 0, 1.0, -1.0)
        if np.all(y == y[0]):
            raise ValueError(f"n={n} rows got labels of one class only: raise n or change seed")
        t = y * margins
        bound = float(np.mean(t)) / (2.0 * per_lam)
        if bound <= 0:
            raise ValueError(f"noise={noise} hides the signal in n={n} rows: lower noise or raise n")
        lam = 0.5 * bound if lam is None else lam
        if lam >= bound:
            raise ValueError(f"lam={lam} leaves no solution with these active groups: choose lam below {bound:.3g}")
        return y, lam, _scale(t, lam * per_lam)
    error = noise * rng.standard_normal(n)
    power = float(margins @ margins) / n
    lam = 0.5 * power / per_lam if lam is None else lam
    return error + margins * (1.0 + (lam * per_lam - float(error @ margins) / n) / power), lam, 1.0


def _scale(t: Array, psi: float) -> float:
    """Return the root s of mean(t / (1 + exp(s t))) = psi, which decreases in s."""
    from scipy.optimize import brentq  # takes a while to import, and studies of data do without

    def excess(s: float) -> float:
        return float(np.mean(t * expit(-s * t))) - psi

    high = 1.0
    while excess(high) > 0:
        high *= 2.0
    return float(brentq(excess, 0.0, high, xtol=1e-15, rtol=4 * np.finfo(float).eps))
