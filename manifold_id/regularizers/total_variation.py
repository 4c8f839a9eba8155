"""Total variation in one dimension and the fused lasso."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from array_api_compat import array_namespace, device

from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import real


def _to_numpy(w: Any, dtype: Any = np.float64) -> np.ndarray:
    """Return w as a C-ordered NumPy array; a torch tensor is detached, widened on its device and copied to the CPU."""
    if not isinstance(w, np.ndarray) and hasattr(w, "detach"):
        w = w.detach().double().cpu().numpy()
    return np.asarray(w, dtype=dtype, order="C")


def _like(result: np.ndarray, w: Array, dtype: Any = None) -> Array:
    """Return a NumPy array in the namespace and on the device of w, by default in w's dtype."""
    xp = array_namespace(w)
    return xp.asarray(result, dtype=w.dtype if dtype is None else getattr(xp, dtype), device=device(w))


@dataclass(frozen=True)
class TotalVariation(Regularizer):
    """psi(w) = lam sum_i |w_{i+1} - w_i| + l1 sum_i |w_i| on w of shape (*batch, n); the fused lasso where l1 > 0.

    Atoms are the n - 1 gaps, with code 1 at a jump; where l1 > 0 the n entries follow, with code 1 where nonzero. The
    manifold holds the points that are constant between the jumps, and 0 on the pieces with code 0.

    prox and prox_metric are exact and take O(n) for a point: a dynamic program with compiled loops (numba), in float64
    on the CPU whatever the array (a torch tensor is copied there and back, and no gradient flows through). Entries of
    one piece are exactly equal, and zeros exact. In a metric that varies along a piece the two terms do not decouple
    (soft-thresholding the prox of total variation would break the pieces), so that the program carries both.

    Write -g = D^T y + l1 q with (D w)_i = w_{i+1} - w_i, so that y_i = sum_{j<=i} (g_j + l1 q_j) and y_0 = y_n = 0.
    Then -g lies in the subdifferential iff y_i = lam sign of the jump, |y_i| <= lam at the other gaps, q_i = sign w_i
    where w_i is not 0 and |q_i| <= 1 elsewhere. `residual` and `margin` are measured on these dual variables, in units
    of g:

    l1 = 0: y is the running sum of g. residual is the distance of y_i to its interval or point, and at least the
    violation |sum g| of y_n = 0, which has no gap of its own. margin = lam - |y_i|, +inf at a jump.

    l1 > 0: each constant piece stands alone, between y = lam sign of the jumps at its ends (0 at the ends of w). On a
    nonzero piece y is the running sum of g + l1 q from the left end: its gaps have margin lam - |y_i| and the residual
    max(|y_i| - lam, 0), its entries margin +inf and as residual the violation at the right end. On a zero piece q is
    free: all gaps and entries share the largest theta such that some y obeys |y_i| <= lam - theta and
    |y_i - y_{i-1} - g_i| <= l1 - theta; the margin is theta and the residual max(-theta, 0), the amount by which lam
    and l1 would have to grow. Jumps have residual 0 (their condition is in the entries of their pieces), margin +inf.

    Raises
    ------
    TypeError, ValueError
        Unless lam and l1 are finite numbers >= 0; by `residual`, for l1 = 0 and n = 1, where there is no atom.

    References
    ----------
    N. A. Johnson, "A dynamic programming algorithm for the fused lasso and L0-segmentation", Journal of Computational
    and Graphical Statistics 22 (2013), for d = 1 and l1 = 0.
    """

    lam: float
    l1: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "lam", real("lam", self.lam, 0))
        object.__setattr__(self, "l1", real("l1", self.l1, 0))

    def value(self, w: Array) -> Array:
        """Return psi(w), one number for each point of the batch."""
        xp = array_namespace(w)
        total = self.lam * xp.sum(xp.abs(w[..., 1:] - w[..., :-1]), axis=-1)
        return total + self.l1 * xp.sum(xp.abs(w), axis=-1) if self.l1 else total

    def prox(self, w: Array, step: Array) -> Array:
        """Return argmin_x psi(x) + |x - w|^2 / (2 step). `step` >= 0 is a number, or one for each batch point.

        A point with a NaN or infinite entry becomes NaN: its entries depend on each other.
        """
        return self._solve(w, step, np.ones(w.shape[-1]))

    def prox_metric(self, w: Array, step: Array, d: Array) -> Array:
        """Return argmin_x psi(x) + sum_j d_j (x_j - w_j)^2 / (2 step), for a metric d > 0 of w's shape."""
        return self._solve(w, step, _to_numpy(d))

    def _solve(self, w: Array, step: Array, d: np.ndarray) -> Array:
        from manifold_id.regularizers.total_variation_kernel import fused_prox

        n = w.shape[-1]
        v = _to_numpy(w).reshape(-1, n)
        d = np.ascontiguousarray(np.broadcast_to(d, w.shape)).reshape(-1, n)
        steps = np.broadcast_to(_to_numpy(step), w.shape[:-1]).reshape(-1)
        fine = np.isfinite(v).all(axis=1) & np.isfinite(d).all(axis=1)
        x = np.empty_like(v)
        v, d = np.where(fine[:, None], v, 0.0), np.where(fine[:, None], d, 1.0)
        fused_prox(v, d, self.lam * steps, self.l1 * steps, x)
        x[~fine] = math.nan
        return _like(x.reshape(w.shape), w)

    def structure(self, w: Array) -> Array:
        """Return int8 codes (*batch, n - 1): 1 at a jump; where l1 > 0 then (*batch, n): 1 where nonzero."""
        xp = array_namespace(w)
        jumps = w[..., 1:] != w[..., :-1]
        return xp.astype(xp.concat([jumps, w != 0], axis=-1) if self.l1 else jumps, xp.int8)

    def residual(self, w: Array, g: Array) -> Array:
        """Return the violation of the dual conditions for each atom; zero everywhere means that w is stationary."""
        if self.l1:
            return self._dual(w, g)[1]
        if w.shape[-1] == 1:
            raise ValueError("TotalVariation(l1=0) is 0 on a point with one entry and has no atom there: use Zero()")
        xp = array_namespace(w)
        y = xp.cumulative_sum(g, axis=-1)
        jump = self.lam * xp.sign(w[..., 1:] - w[..., :-1])
        inside = xp.clip(y[..., :-1], -self.lam, self.lam)
        violation = xp.abs(y[..., :-1] - xp.where(jump != 0, jump, inside))
        return xp.maximum(violation, xp.abs(y[..., -1:]))

    def margin(self, w: Array, g: Array) -> Array:
        """Return the distance of the dual variables of each atom to their bounds: +inf at jumps and nonzero entries."""
        if self.l1:
            return self._dual(w, g)[0]
        xp = array_namespace(w)
        slack = self.lam - xp.abs(xp.cumulative_sum(g, axis=-1)[..., :-1])
        return xp.where(w[..., 1:] != w[..., :-1], xp.inf, slack)

    def _dual(self, w: Array, g: Array) -> tuple[Array, Array]:
        from manifold_id.regularizers.total_variation_kernel import fused_dual

        n = w.shape[-1]
        points, gradients = (_to_numpy(a).reshape(-1, n) for a in (w, g))
        fine = np.isfinite(points).all(axis=1) & np.isfinite(gradients).all(axis=1)
        points, gradients = (np.where(fine[:, None], a, 0.0) for a in (points, gradients))
        margin, residual = (np.empty((len(points), 2 * n - 1)) for _ in range(2))
        fused_dual(points, gradients, self.lam, self.l1, margin, residual)
        margin[~fine] = residual[~fine] = math.nan
        shape = (*w.shape[:-1], 2 * n - 1)
        return _like(margin.reshape(shape), w), _like(residual.reshape(shape), w)

    def atom_norms(self, w: Array) -> Array:
        """Return the jumps' sizes and, where l1 > 0, the entries'."""
        xp = array_namespace(w)
        jumps = xp.abs(w[..., 1:] - w[..., :-1])
        return xp.concat([jumps, xp.abs(w)], axis=-1) if self.l1 else jumps

    def dimension(self, codes: Array, shape: tuple[int, ...] | None = None) -> Any:
        """Return the number of constant pieces that are free to move, for each point of the batch."""
        xp = array_namespace(codes)
        active = codes > 0
        if not self.l1:
            return 1 + xp.sum(active, axis=-1, dtype=xp.int64)
        n = (codes.shape[-1] + 1) // 2
        jumps, nonzero = active[..., : n - 1], active[..., n - 1 :]
        first = xp.astype(nonzero[..., 0], xp.int64)
        return first + xp.sum(jumps & nonzero[..., 1:], axis=-1, dtype=xp.int64)

    def tangent(self, codes: Array, v: Array, w: Array | None = None) -> Array:
        """Return v averaged over each constant piece, and 0 on the pieces held at 0. In float64 on the CPU, as prox."""
        n = v.shape[-1]
        active = np.broadcast_to(_to_numpy(codes, np.int8) > 0, (*v.shape[:-1], codes.shape[-1]))
        flat, active = _to_numpy(v).reshape(-1, n), active.reshape(-1, codes.shape[-1])
        starts = np.concatenate([np.ones((len(flat), 1), bool), active[:, : n - 1]], axis=1)
        piece = np.cumsum(starts) - 1  # pieces of all points, numbered on
        mean = np.bincount(piece, weights=flat.reshape(-1)) / np.bincount(piece)
        result = mean[piece].reshape(flat.shape)
        if self.l1:
            result = np.where(active[:, n - 1 :], result, 0.0)
        return _like(result.reshape(v.shape), v)

    def lambda_max(self, g: Array) -> float:
        """Return the smallest lam for which 0 is stationary, l1 / lam kept; exact.

        Raises
        ------
        NotImplementedError
            For l1 = 0, when solutions for large lam are constants other than 0, and for lam = 0.
        """
        if not (self.l1 and self.lam):
            raise NotImplementedError("TotalVariation has a lambda_max only with lam > 0 and l1 > 0")
        from manifold_id.regularizers.total_variation_kernel import slack

        g = _to_numpy(g).reshape(-1)
        return -slack(g, 0.0, 0.0, 0.0, 1.0, 0.0, self.l1 / self.lam) if np.isfinite(g).all() else math.nan

    def with_lam(self, lam: float) -> Self:
        """Return the same regularizer with another lam; l1 / lam is kept."""
        return dataclasses.replace(self, lam=lam, l1=self.l1 * lam / self.lam if self.lam else self.l1)
