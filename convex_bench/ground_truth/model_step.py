"""The minimizer of quadratic model + psi: coordinate descent finds the support, Newton on it settles the values."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

Array = np.ndarray
ROUNDS, STEPS = 15, 6
FLOOR = 1e-11  # below this relative residual lack of progress is taken for rounding


def minimize_model(model: Any, nonnegative: bool, tol: float) -> Array:
    """Return z with a relative residual of about `tol` in the model + psi, where it can be had in a bounded time."""
    last = np.inf
    for _ in range(ROUNDS):
        worst = model.descend(nonnegative, model.epochs, tol)
        if worst <= tol or (worst < FLOOR and worst > 0.5 * last):  # the latter: rounding, not progress
            break
        last = worst
        for _ in range(STEPS):
            if not newton_step(model, nonnegative, tol):
                break
    return model.z


def newton_only(model: Any, nonnegative: bool, tol: float) -> Array:
    """Return the minimizer on the support of the model's start, entries that change sign left out."""
    for _ in range(2 * STEPS):
        if not newton_step(model, nonnegative, tol):
            break
    return model.z


def parts(z: Array, arrays: dict[str, Any]) -> tuple[Array, Array, Array]:
    """Return (coordinates of the support, their group, |z_g| of every group)."""
    start, lam, l1 = arrays["start"], arrays["lam"], arrays["l1"]
    group = np.repeat(np.arange(len(lam)), np.diff(start))
    norms = np.sqrt(np.add.reduceat(z * z, start[:-1]))
    free = (lam[group] == 0) & (l1 == 0)
    S = np.flatnonzero(free | ((norms[group] > 0) & ((l1 == 0) | (z != 0))))
    return S, group, norms


def norm_curvature(z: Array, S: Array, group: Array, norms: Array, arrays: dict[str, Any], dense: bool) -> Any:
    """Return the Hessian of sum lam_g |z_g| on S, block diagonal, or None where all its blocks are zero."""
    curved = (np.diff(arrays["start"]) > 1) & (arrays["lam"] > 0) & (norms > 0)
    places = np.flatnonzero(curved[group[S]])  # in S
    if not places.size:
        return None
    mine = group[S[places]]
    sizes = np.bincount(mine, minlength=len(curved))
    rows, length = np.repeat(places, sizes[mine]), sizes[mine]
    ends = np.cumsum(length)
    columns = np.arange(ends[-1]) - np.repeat(ends - length - np.searchsorted(mine, mine), length)
    columns = places[columns]
    with np.errstate(invalid="ignore", divide="ignore"):
        x = z[S] / norms[group[S]]
    strength = (arrays["lam"] / np.where(norms > 0, norms, 1.0))[group[S[rows]]]
    values = strength * ((rows == columns) - x[rows] * x[columns])
    if dense:
        B = np.zeros((len(S), len(S)))
        B[rows, columns] = values
        return B
    return sparse.csr_array((values, (rows, columns)), shape=(len(S), len(S)))


def newton_step(model: Any, nonnegative: bool, tol: float = 0.0) -> bool:
    """Take one damped Newton step of the model on its support; return whether another one is worth it."""
    arrays, z = model.arrays, model.z
    lam, l1 = arrays["lam"], arrays["l1"]
    S, group, norms = parts(z, arrays)
    if S.size == 0:
        return False
    x, G, mine = z[S], model.G[S], group[S]
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(norms[mine] > 0, x / norms[mine], 0.0)
    slope = G + lam[mine] * unit + l1[S] * np.sign(x)
    worst = np.abs(slope / arrays["scale"][mine]).max()
    if worst <= 0.3 * tol:
        return False
    curvature = norm_curvature(z, S, group, norms, arrays, dense=hasattr(model, "H"))
    d, flat = model.solve(S, curvature, -slope, 0.1 * tol / worst)
    falls = flat is not None and -float(slope @ flat) > tol * float(arrays["scale"][mine] @ np.abs(flat))
    if falls and _slide(model, S, mine, x, flat):
        return True
    sizes = np.diff(arrays["start"])
    kinked = (l1[S] > 0) | ((sizes[mine] == 1) & (lam[mine] > 0))  # entries whose sign must stay

    def change(step: Array) -> float:
        linear = float(G @ step) + 0.5 * model.quadratic(S, step)
        new = np.sqrt(np.bincount(mine, weights=(x + step) ** 2, minlength=len(lam)))
        old = np.sqrt(np.bincount(mine, weights=x**2, minlength=len(lam)))
        return linear + float(lam @ (new - old)) + float(l1[S] @ (np.abs(x + step) - np.abs(x)))

    predicted = float(slope @ d)
    if not np.isfinite(predicted) or predicted >= 0.0:
        return False
    size = float(np.abs(G) @ np.abs(d)) + float(lam @ norms)
    t = 1.0
    for _ in range(30):
        step = t * d
        crossed = kinked & (x * (x + step) < 0)
        step[crossed] = -x[crossed]
        if nonnegative:
            step = np.where(lam[mine] > 0, np.maximum(step, -x), step)
        if -predicted * t <= 1e-15 * size or change(step) <= 1e-4 * t * predicted:
            model.move(S, step)
            model.z[S[crossed]] = 0.0
            return bool(crossed.any() or t < 1.0 or -predicted > 1e-15 * size)
        t *= 0.5
    return False


def _slide(model: Any, S: Array, mine: Array, x: Array, v: Array) -> bool:
    """Move along v, where the model is linear and falls, to the first zero of an entry or group; False if none.

    Along a direction without curvature every group moves in proportion to itself: x_g (1 + t a_g).
    """
    lam, l1 = model.arrays["lam"], model.arrays["l1"]
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where((l1[S] > 0) & (x != 0), v / x, 0.0)
        dots, squares = (np.bincount(mine, weights=part, minlength=len(lam)) for part in (v * x, x * x))
        groups = np.where((lam > 0) & (squares > 0), dots / squares, 0.0)
    rate = np.minimum(rate, groups[mine])
    if rate.min(initial=0.0) >= 0.0:
        return False
    step = -v / rate.min()
    gone = rate <= rate.min() * (1.0 - 1e-12)
    step[gone] = -x[gone]
    model.move(S, step)
    model.z[S[gone]] = 0.0
    return True
