"""The scalar penalties as compiled functions: twins of manifold_id.regularizers.penalties, held equal by a test."""

from __future__ import annotations

import math

from convex_bench.engine.compiled import compiled, inner
from convex_bench.engine.lanes import WIDTH

CODES = {"abs": 0, "elastic_net": 1, "mcp": 2, "scad": 3, "l0": 4, "l_half": 5, "nonnegative": 6}


@compiled
def prox(code, r, step, lam, p0):
    """Return argmin_{x >= 0} phi(x; lam) + (x - r)^2 / (2 step) for r >= 0; of two minimizers the smaller.

    NaN stays NaN: the comparisons that lead to 0 are false for it.
    """
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
        return 0.0 if r * r <= 2.0 * step * lam else r
    return _l_half(r, step, lam)


@inner
def _mcp(r, step, lam, gamma):
    """MCP: lam x - x^2 / (2 gamma) up to gamma lam, constant beyond."""
    if step >= gamma:  # concave up to gamma lam: the minimizer is an end
        return 0.0 if r * r <= step * gamma * lam * lam else r
    if r > gamma * lam:
        return r
    return max(r - step * lam, 0.0) / (1.0 - step / gamma)


@inner
def _scad(r, step, lam, a):
    """SCAD: slope lam up to lam, falling to 0 at a lam, then constant lam^2 (a + 1) / 2."""
    if step < a - 1.0:  # convex subproblem: the piece follows from r
        if r <= lam * (1.0 + step):
            return max(r - step * lam, 0.0)
        if r <= a * lam:
            return ((a - 1.0) * r - a * lam * step) / (a - 1.0 - step)
        return r
    # concave in between: soft thresholding or r itself, whichever costs less
    switch = (a + 1.0 + step) / 2.0 if step < a + 1.0 else math.sqrt(step * (a + 1.0))
    return r if r > lam * switch else max(r - step * lam, 0.0)


@inner
def _l_half(r, step, lam):
    """lam sqrt(x): the half-thresholding formula of Xu et al. (2012)."""
    scale = 2.0 * lam * step
    if r <= 54.0 ** (1.0 / 3.0) / 4.0 * scale ** (2.0 / 3.0):
        return 0.0
    angle = math.acos(scale / 8.0 * (r / 3.0) ** -1.5)
    return 2.0 / 3.0 * r * (1.0 + math.cos(2.0 * math.pi / 3.0 - 2.0 / 3.0 * angle))


@inner
def scalar_shrinkage(code, norms, step, lam, at, p0):
    """Set the eight norms to |prox| / norm of their groups, for any penalty; return the bits of those not zero."""
    bits = 0
    for lane in range(WIDTH):
        length = prox(code, norms[lane], step, lam[at + lane], p0)
        norms[lane] = length / norms[lane] if length > 0.0 else 0.0
        if length > 0.0:
            bits |= 1 << lane
    return bits


@inner
def scalar_entries(code, point, step, lam, at, p0):
    """Set the eight entries to their prox, for any penalty."""
    for lane in range(WIDTH):
        x, strength = point[lane], lam[at + lane]
        if code == 6 and strength > 0.0:
            point[lane] = max(x - step * strength, 0.0)
        else:
            length = prox(code, abs(x), step, strength, p0)
            point[lane] = length if x >= 0.0 else -length
