"""The scalar penalties as compiled functions: twins of manifold_id.regularizers.penalties, held equal by a test."""

from __future__ import annotations

import math

from numba import njit

CODES = {"abs": 0, "elastic_net": 1, "mcp": 2, "scad": 3, "l0": 4, "l_half": 5, "nonnegative": 6}


@njit(cache=True, nogil=True)
def prox(code, r, step, lam, p0):
    """Return argmin_{x >= 0} phi(x; lam) + (x - r)^2 / (2 step) for r >= 0; of two minimizers the smaller."""
    if lam == 0.0 and code != 1:
        return r
    if code == 0 or code == 6:
        return max(r - step * lam, 0.0)
    if code == 1:
        return max(r - step * lam, 0.0) / (1.0 + step * p0)
    if code == 2:
        return _mcp(r, step, lam, p0)
    if code == 3:
        return _scad(r, step, lam, p0)
    if code == 4:
        return r if r * r > 2.0 * step * lam else 0.0
    return _l_half(r, step, lam)


@njit(cache=True, nogil=True)
def _mcp(r, step, lam, gamma):
    """MCP: lam x - x^2 / (2 gamma) up to gamma lam, constant beyond."""
    if step >= gamma:  # concave up to gamma lam: the minimizer is an end
        return r if r * r > step * gamma * lam * lam else 0.0
    if r > gamma * lam:
        return r
    return max(r - step * lam, 0.0) / (1.0 - step / gamma)


@njit(cache=True, nogil=True)
def _scad_value(x, lam, a):
    if x <= lam:
        return lam * x
    if x <= a * lam:
        return (2.0 * a * lam * x - x * x - lam * lam) / (2.0 * (a - 1.0))
    return lam * lam * (a + 1.0) / 2.0


@njit(cache=True, nogil=True)
def _scad(r, step, lam, a):
    """SCAD: the best of the stationary points of its three pieces, which also serves steps beyond a - 1."""
    best = min(max(r - step * lam, 0.0), lam)
    cost = _scad_value(best, lam, a) + (best - r) ** 2 / (2.0 * step) if step > 0.0 else math.inf
    if step < a - 1.0:
        x = min(max(((a - 1.0) * r - a * lam * step) / (a - 1.0 - step), lam), a * lam)
        other = _scad_value(x, lam, a) + (x - r) ** 2 / (2.0 * step) if step > 0.0 else math.inf
        if other < cost:
            best, cost = x, other
    if r > a * lam and _scad_value(r, lam, a) < cost:
        return r
    return r if step == 0.0 else best


@njit(cache=True, nogil=True)
def _l_half(r, step, lam):
    """lam sqrt(x): the half-thresholding formula of Xu et al. (2012)."""
    scale = 2.0 * lam * step
    if r <= 54.0 ** (1.0 / 3.0) / 4.0 * scale ** (2.0 / 3.0):
        return 0.0
    angle = math.acos(scale / 8.0 * (r / 3.0) ** -1.5)
    return 2.0 / 3.0 * r * (1.0 + math.cos(2.0 * math.pi / 3.0 - 2.0 / 3.0 * angle))
