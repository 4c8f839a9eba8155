"""The smallest curvature of F along the manifold at a solution."""

from __future__ import annotations

import math

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh

from convex_bench.ground_truth.centring import Centred
from convex_bench.ground_truth.form import Form, restrict
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.model_step import norm_curvature, parts
from convex_bench.problem import Problem

Array = np.ndarray
DENSE = 2500  # dimensions of the tangent space up to which all of the Hessian is formed


def form_curvature(problem: Problem, form: Form, w: Array, frame: Centred | None = None) -> float:
    """Return the smallest eigenvalue of the Hessian of f + ridge + sum lam_g |w_g| on the support of a flat w.

    Where columns are far from their mean it is that of the centred problem `frame`, taken back: as 1 over the largest
    eigenvalue of the inverse, which has no cancellation.

    Beyond DENSE dimensions by Lanczos to about 1e-6 of the largest eigenvalue. +inf where the support is empty.
    """
    groups = np.flatnonzero(form.active(w))
    if groups.size == 0:
        return math.inf
    coords, arrays = restrict(form, groups)
    z = w[coords]
    S, group, norms = parts(z, arrays)
    if S.size == 0:
        return math.inf
    dense = S.size <= DENSE
    psi = norm_curvature(z, S, group, norms, arrays, dense=dense)
    ridge = form.ridge[coords[S]]
    if dense:
        at, point = (problem, w.reshape(problem.shape))
        if frame is not None:
            at, point = frame.problem, frame.start(point)
        smooth = Smooth(at)
        H = smooth.gram(coords[S], smooth.curvature(at.margins(point)))
        H = H + np.diag(ridge) + (0.0 if psi is None else psi)
        smallest = linalg.eigh(H, eigvals_only=True, subset_by_index=[0, 0])[0]
        if frame is None or smallest <= len(H) * np.finfo(float).eps * np.trace(H):
            return float(smallest)
        back = frame.back(coords[S])
        inverse = back @ linalg.solve(H, back.T, assume_a="pos")
        return 1.0 / float(linalg.eigh(inverse, eigvals_only=True)[-1])

    def product(v: Array) -> Array:
        full = np.zeros_like(w)
        full[coords[S]] = v.reshape(-1)
        smooth = problem.hessian_product(w.reshape(problem.shape), full.reshape(problem.shape)).ravel()
        return smooth[coords[S]] + ridge * v.reshape(-1) + (0.0 if psi is None else psi @ v.reshape(-1))

    start = np.random.default_rng(0).standard_normal(S.size)
    operator = LinearOperator((S.size, S.size), matvec=product, dtype=np.float64)
    top = float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-3, return_eigenvectors=False)[0])
    shifted = LinearOperator((S.size, S.size), matvec=lambda v: top * v.reshape(-1) - product(v), dtype=np.float64)
    return top - float(eigsh(shifted, k=1, which="LA", v0=start, tol=1e-6, return_eigenvectors=False)[0])


def affine_curvature(problem: Problem, w: Array, codes: Array) -> float:
    """Return the same for a psi that is affine along affine manifolds (total variation, box, simplex).

    NaN for the nuclear norm, whose manifold is curved, and beyond DENSE coordinates.
    """
    size = w.size
    if type(problem.penalty).__name__ not in ("TotalVariation", "Box", "Simplex", "Zero") or size > DENSE:
        return math.nan
    identity = np.eye(size).reshape(size, *w.shape)
    project = np.stack([problem.regularizer.tangent(codes, v, w).reshape(-1) for v in identity], axis=1)
    values, basis = linalg.eigh(project)
    T = basis[:, values > 0.5]
    if T.shape[1] == 0:
        return math.inf
    return float(linalg.eigh(T.T @ problem.hessian(w) @ T, eigvals_only=True)[0])
