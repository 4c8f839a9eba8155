"""Is w stationary, is its manifold certain, from how far does a step identify it? Functions of w and a gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real

STATIONARY = 1e-12  # the largest relative residual that is ever certified
DEGENERATE = 1e-8  # relative margins below this leave the manifold uncertain


@dataclass(frozen=True, eq=False)
class Certificate:
    """What the first-order conditions say about one point w.

    Attributes
    ----------
    residual : (atoms,) dist(-g, d psi(w)) / scale.
    absolute : (atoms,) the same without the division.
    scale : (atoms,) what an atom is relative to. See `certify`.
    codes : (atoms,) int8, the structure of w.
    margin : (atoms,) distance of -g to the relative boundary of d psi(w), absolute; +inf on smooth atoms.
    min_margin, relative_margin : the smallest margin, and the smallest margin / scale; +inf where all atoms are smooth.
    smallest_active : the smallest norm of an active penalized atom (entry, group, singular value, jump, distance to a
        bound: `Regularizer.atom_norms`); +inf where none is active, NaN where the regularizer does not know it.
    status : "certified": residual <= 1e-12 and relative margin >= 1e-8, everywhere; "degenerate": stationary, but a
        margin is smaller, so that rounding alone may change the manifold; "failed": not stationary.
    """

    residual: Array
    absolute: Array
    scale: Array
    codes: Array
    margin: Array
    min_margin: float
    relative_margin: float
    smallest_active: float
    status: str


def certify(
    w: Any, gradient: Any, regularizer: Regularizer, *, tol: float = STATIONARY, gradient_scale: float = 1.0
) -> Certificate:
    """Return the certificate of one point w, given the gradient of the smooth part at w (both of one shape).

    An atom's scale is lam_g = lam * weight_g of its group plus the entrywise l1 strength, and the largest of these for
    atoms without a penalty (an intercept, a group of weight 0). Where psi has no such form, the scale is its `lam`;
    where there is no lam > 0 either (box, simplex, no penalty), it is `gradient_scale`, a typical size of the gradient
    such as its largest entry at 0.

    Raises
    ------
    ValueError
        If the shapes differ, there are NaN or infinite entries, w has a batch axis, or tol is not in (0, 1e-12]:
        nothing with a larger relative residual is certified.
    """
    w, g = np.asarray(w, dtype=np.float64), np.asarray(gradient, dtype=np.float64)
    if w.shape != g.shape:
        raise ValueError(f"gradient has shape {g.shape}, but w has shape {w.shape}: they must agree")
    if not (np.isfinite(w).all() and np.isfinite(g).all()):
        raise ValueError("w and gradient must be finite: NaN or infinity found")
    tol = real("tol", tol, 0.0, STATIONARY, open_low=True)
    codes = np.asarray(regularizer.structure(w))
    if codes.ndim != 1:
        raise ValueError(f"w has shape {w.shape}, which is a batch for {regularizer!r}: certify one point at a time")
    absolute, margin = np.asarray(regularizer.residual(w, g)), np.asarray(regularizer.margin(w, g))
    scale = atom_scale(regularizer, w.shape, len(codes), real("gradient_scale", gradient_scale, 0.0, open_low=True))
    residual = absolute / scale
    relative = float(np.min(margin / scale, initial=math.inf))
    worst = float(np.max(residual, initial=0.0))
    status = "failed" if not worst <= tol else "degenerate" if relative < DEGENERATE else "certified"
    smallest = _smallest_active(regularizer, w, codes)
    min_margin = float(np.min(margin, initial=math.inf))
    return Certificate(residual, absolute, scale, codes, margin, min_margin, relative, smallest, status)


def _inner(regularizer: Regularizer) -> tuple[Regularizer, int]:
    """Return (the regularizer of the penalized rows, the number of free rows after them)."""
    rows = getattr(regularizer, "rows", 0)
    return (regularizer.regularizer, rows) if rows else (regularizer, 0)  # type: ignore[attr-defined]


def atom_scale(regularizer: Regularizer, shape: tuple[int, ...], atoms: int, fallback: float) -> Array:
    """Return (atoms,): what the residual and the margin of each atom are relative to, see `certify`."""
    inner, rows = _inner(regularizer)
    form = inner.separable((shape[0] - rows, *shape[1:]))
    if form is not None:
        part = form.lam[form.labels] if form.atoms == "entries" else form.lam
        scale = np.concatenate([np.asarray(part, dtype=np.float64) + form.l1, np.zeros(rows)])
    else:
        scale = np.full(atoms, float(getattr(inner, "lam", 0.0)))
    return np.where(scale > 0, scale, float(scale.max(initial=0.0)) or fallback)


def _smallest_active(regularizer: Regularizer, w: Array, codes: Array) -> float:
    inner, rows = _inner(regularizer)
    x = w[: w.shape[0] - rows]
    form = inner.separable(x.shape)
    if form is not None:
        flat = np.abs(x.reshape(-1))
        penalized = form.lam > 0
        if form.atoms == "entries":
            norms, kept = flat, penalized[form.labels] | (form.l1 > 0)
        else:
            norms = np.sqrt(np.bincount(form.labels, weights=flat**2, minlength=len(form.lam)))
            kept = penalized | (form.l1 > 0)
        norms = norms[kept & (codes[: len(norms)] > 0)]
    else:
        norms = np.asarray(inner.atom_norms(x)).reshape(-1)
        norms = norms[codes[: len(norms)] > 0]
    return float(np.min(norms, initial=math.inf))


def identification_radius(certificate: Certificate, lipschitz: float) -> float:
    r"""Return r such that one step of prox-gradient, of length 1/L, lands on the manifold from all x with |x - w| < r.

    For a separable convex psi, at a stationary w. Off atoms: with |x - w| = e, the sum of |x_i - w_i| L and
    |grad_i f(x) - grad_i f(w)| is <= 2 L e, which is at most the margin as long as e <= margin / (2 L); then the step's
    optimality condition holds at w_i. Active atoms: the step is nonexpansive, so they stay nonzero as long as e < the
    smallest active norm. Hence
    r = min(min_margin / (2 L), smallest_active).
    """
    lipschitz = real("lipschitz", lipschitz, 0.0, open_low=True)
    return min(max(certificate.min_margin, 0.0) / (2.0 * lipschitz), certificate.smallest_active)


def error_bound(step: float, lipschitz: float, strong_convexity: float) -> tuple[float, float]:
    r"""Return (R, G): bounds of the distance and of the suboptimality after a step of prox-gradient of norm `step`.

    For x+ = prox_{psi/L}(x - grad f(x)/L) and r = |x - x+|, xi = L (x - x+) - grad f(x) + grad f(x+) is a subgradient
    of F at x+ with |xi| <= L r, since I - grad f / L is nonexpansive for a convex L-smooth f. If F is mu-strongly
    convex, |x+ - w*| <= (L/mu) r = R and F(x+) - F* <= L^2 r^2 / (2 mu) = G.

    Raises ValueError unless 0 <= step and 0 < strong_convexity (mu) and 0 < lipschitz (L).
    """
    r, L = real("step", step, 0.0), real("lipschitz", lipschitz, 0.0, open_low=True)
    mu = real("strong_convexity", strong_convexity, 0.0, open_low=True)
    return L / mu * r, (L * r) ** 2 / (2.0 * mu)


def certified_codes(w: Any, gradient: Any, regularizer: Regularizer, radius: float, lipschitz: float) -> Array:
    r"""Return (atoms,) int8: 1 surely active at w*, 0 surely off, -1 undecided, when \|w - w*\| <= `radius`.

    `gradient` is taken at w, of an L-smooth f. Off: the gradient at w* differs by at most L radius, and w*_g = 0 where
    |grad_g f(w*)| < lam_g (for the sparse group lasso: where the soft-thresholded gradient is). Active: |w_g| > radius.

    Raises
    ------
    ValueError
        If the regularizer is not a sum of norms of entries or groups.
    """
    w, g = np.asarray(w, dtype=np.float64), np.asarray(gradient, dtype=np.float64)
    form = regularizer.separable(w.shape)
    if form is None or form.penalty not in ("abs", "elastic_net"):
        raise ValueError(f"regularizer={regularizer!r} is not a sum of norms: atoms cannot be certified one by one")
    radius, slack = real("radius", radius, 0.0), real("lipschitz", lipschitz, 0.0) * real("radius", radius, 0.0)
    rest = np.maximum(np.abs(g.reshape(-1)) - form.l1, 0.0)
    size = np.sqrt(np.bincount(form.labels, weights=rest**2, minlength=len(form.lam)))
    norms = np.sqrt(np.bincount(form.labels, weights=w.reshape(-1) ** 2, minlength=len(form.lam)))
    off, on = size + slack < form.lam, (norms > radius) | (form.lam + form.l1 == 0)
    if form.atoms == "entries":
        off = off[form.labels] | (np.abs(g.reshape(-1)) + slack < form.l1)
        on = np.abs(w.reshape(-1)) > radius
    return np.where(on, 1, np.where(off, 0, -1)).astype(np.int8)
