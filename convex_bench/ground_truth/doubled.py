r"""The gradient of the mean loss in double-double arithmetic, with a bound of its own error.

A number is an unevaluated sum hi + lo of two doubles, 2^-104 accurate: sums by Knuth's TwoSum, products by Dekker's
TwoProduct (Dekker, Numer. Math. 18, 1971; Hida, Li and Bailey, ARITH 2001). The rows of X are exact. With u = 2^-53, s
the entries of a row that meet the support and k the rows that meet a column,

    |error of margin i|      <= dm_i = 8 s u^2 sum_j |x_ij w_j|
    |error of derivative i|  <= dd_i = |l'_i| (4 dm_i + EXP)     (EXP: of exp, relative; squared: dm_i + 4 u^2 |l'_i|)
    |error of the sum j|     <= sum_i |x_ij| dd_i + 8 k u^2 sum_i |x_ij l'_i|,

and u |g_j| for rounding the result to a double. The constants are several times what the proofs of the operations give.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
from numba import njit
from scipy import sparse

from convex_bench.problem import Problem
from convex_bench.problem.row_matrix import Design

Array = np.ndarray
U = 2.0**-53
EXP = 2.0**-80
LOSSES = {"squared": 0, "logistic": 1, "multinomial": 2}
LN2 = (0.6931471805599453, 2.3190468138462996e-17)
SIXTH = (0.16666666666666666, 9.25185853854297e-18)
BLOCK = 2**23  # entries of dense columns taken at a time


def _roots() -> Array:
    """Return hi and lo of 2^(j / 64), (64, 2)."""
    with localcontext() as context:
        context.prec = 50
        exact = [Decimal(2) ** (Decimal(j) / 64) for j in range(64)]
        return np.array([[float(value), float(value - Decimal(float(value)))] for value in exact])


ROOTS = _roots()


@dataclass(frozen=True, eq=False)
class Accurate:
    """A gradient of f with bounds, flat (size,) float64; entries of coordinates that were not asked for are 0.

    gradient : rounded to double.
    error : bound of its distance to the exact gradient at the point.
    size : (1/n) sum_i |x_ij l'_i|, the size of its terms.
    terms : c (1/n) sum_i |x_ij| u sum_k |x_ik w_k|, how far rounding w to doubles may move it.
    """

    gradient: Array
    error: Array
    size: Array
    terms: Array


@njit(inline="always")
def two_sum(a, b):
    """Return (s, e) with s + e = a + b exactly and s the double nearest to a + b."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@njit(inline="always")
def two_product(a, b):
    """Return (p, e) with p + e = a b exactly and p the double nearest to a b."""
    p = a * b
    t = 134217729.0 * a
    ah = t - (t - a)
    al = a - ah
    t = 134217729.0 * b
    bh = t - (t - b)
    bl = b - bh
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


@njit(inline="always")
def _add(ah, al, bh, bl):
    s, e = two_sum(ah, bh)
    t, f = two_sum(al, bl)
    e += t
    s, e = s + e, e - ((s + e) - s)
    e += f
    h = s + e
    return h, e - (h - s)


@njit(inline="always")
def _multiply(ah, al, bh, bl):
    p, e = two_product(ah, bh)
    e += ah * bl + al * bh
    h = p + e
    return h, e - (h - p)


@njit(inline="always")
def _divide(ah, al, bh, bl):
    q = ah / bh
    ph, pl = _multiply(q, 0.0, bh, bl)
    rh, rl = _add(ah, al, -ph, -pl)
    r = rh / bh
    ph, pl = _multiply(r, 0.0, bh, bl)
    rh, rl = _add(rh, rl, -ph, -pl)
    h, low = two_sum(q, r)
    return _add(h, low, rh / bh, 0.0)


@njit(inline="always")
def _exp(ah, al, roots):
    """Return exp of a double-double <= 0 to the relative error EXP; 0 below -700, where doubles end.

    exp(a) = 2^(k / 64) exp(r) with |r| <= ln 2 / 128: of exp(r) - 1 = r + r^2 / 2 + r^3 / 6 + r^4 (...) the last part
    is below 2^-34 and a double holds enough of it.
    """
    if ah < -700.0:
        return 0.0, 0.0
    k = np.round(ah * (64.0 / LN2[0]))
    ph, pl = two_product(k, LN2[0] / 64.0)
    h, low = _add(ah, al, -ph, -pl)
    h, low = two_sum(h, low - k * (LN2[1] / 64.0))
    qh, ql = _multiply(h, low, h, low)
    ch, cl = _multiply(qh, ql, h, low)
    ch, cl = _multiply(ch, cl, SIXTH[0], SIXTH[1])
    rest = qh * qh * (1 / 24 + h * (1 / 120 + h * (1 / 720 + h * (1 / 5040 + h / 40320))))
    sh, sl = _add(ch, cl, rest, 0.0)
    sh, sl = _add(sh, sl, 0.5 * qh, 0.5 * ql)
    sh, sl = _add(sh, sl, h, low)
    j = int(k) & 63
    qh, ql = _multiply(sh, sl, roots[j, 0], roots[j, 1])
    sh, sl = _add(roots[j, 0], roots[j, 1], qh, ql)
    scale = 2.0 ** ((int(k) - j) >> 6)
    return sh * scale, sl * scale


@njit(cache=True)
def _derivatives(kind, mh, ml, dm, y, roots, dh, dl, dd):
    """Fill dh + dl = l' at margins mh + ml, (n, K) each, and the bounds dd of their errors."""
    n, outputs = mh.shape
    for i in range(n):
        if kind == 0:
            dh[i, 0], dl[i, 0] = _add(mh[i, 0], ml[i, 0], -y[i], 0.0)
            dd[i, 0] = dm[i] + 4.0 * U * U * abs(dh[i, 0])
            continue
        if kind == 1:
            sign = y[i]
            th, tl = sign * mh[i, 0], sign * ml[i, 0]
            eh, el = _exp(-abs(th), -tl if th > 0 else tl, roots)
            bh, bl = _add(1.0, 0.0, eh, el)
            if th > 0:
                qh, ql = _divide(eh, el, bh, bl)
            else:
                qh, ql = _divide(1.0, 0.0, bh, bl)
            dh[i, 0], dl[i, 0] = -sign * qh, -sign * ql
            dd[i, 0] = abs(qh) * (4.0 * dm[i] + EXP) + (1e-300 if eh == 0.0 else 0.0)
            continue
        top = 0
        for k in range(outputs):
            if mh[i, k] > mh[i, top]:
                top = k
        sh, sl, tiny = 0.0, 0.0, 0.0
        for k in range(outputs):
            ah, al = _add(mh[i, k], ml[i, k], -mh[i, top], -ml[i, top])
            if ah > 0.0:
                ah, al = 0.0, 0.0
            dh[i, k], dl[i, k] = _exp(ah, al, roots)
            tiny = 1e-300 if dh[i, k] == 0.0 else tiny
            sh, sl = _add(sh, sl, dh[i, k], dl[i, k])
        own = int(y[i])
        oh, ol = 0.0, 0.0
        for k in range(outputs):
            dh[i, k], dl[i, k] = _divide(dh[i, k], dl[i, k], sh, sl)
            if k != own:
                oh, ol = _add(oh, ol, dh[i, k], dl[i, k])
        dh[i, own], dl[i, own] = -oh, -ol  # p_y - 1 without cancellation
        for k in range(outputs):
            dd[i, k] = abs(dh[i, k]) * (8.0 * dm[i] + outputs * EXP) + tiny


@njit(cache=True)
def _margins_dense(A, wh, wl, mh, ml, size):
    """Add A (wh + wl) to the margins mh + ml, and the sums of |a_ij| |w_j| (largest over outputs) to size."""
    n, m = A.shape
    for i in range(n):
        for k in range(wh.shape[1]):
            h, low, total = mh[i, k], ml[i, k], 0.0
            for j in range(m):
                a = np.float64(A[i, j])
                ph, pl = two_product(a, wh[j, k])
                h, low = _add(h, low, ph, pl + a * wl[j, k])
                total += abs(ph)
            mh[i, k], ml[i, k] = h, low
            size[i, k] += total


@njit(cache=True)
def _margins_sparse(data, indices, indptr, wh, wl, mh, ml, size):
    for i in range(len(indptr) - 1):
        for k in range(wh.shape[1]):
            h, low, total = mh[i, k], ml[i, k], 0.0
            for e in range(indptr[i], indptr[i + 1]):
                a = np.float64(data[e])
                ph, pl = two_product(a, wh[indices[e], k])
                h, low = _add(h, low, ph, pl + a * wl[indices[e], k])
                total += abs(ph)
            mh[i, k], ml[i, k] = h, low
            size[i, k] += total


@njit(cache=True)
def _sums_dense(A, dh, dl, dd, lost, gh, gl, size, error, terms):
    """Add A^T (dh + dl) to gh + gl, and the sums of |a_ij| times |d_i|, dd_i, lost_i to size, error, terms."""
    n, m = A.shape
    for i in range(n):
        for j in range(m):
            a = np.float64(A[i, j])
            if a == 0.0:
                continue
            for k in range(dh.shape[1]):
                ph, pl = two_product(a, dh[i, k])
                gh[j, k], gl[j, k] = _add(gh[j, k], gl[j, k], ph, pl + a * dl[i, k])
                size[j, k] += abs(ph)
                error[j, k] += abs(a) * dd[i, k]
                terms[j, k] += abs(a) * lost[i, k]


@njit(cache=True)
def _sums_sparse(data, indices, indptr, dh, dl, dd, lost, gh, gl, size, error, terms):
    for i in range(len(indptr) - 1):
        for e in range(indptr[i], indptr[i + 1]):
            a, j = np.float64(data[e]), indices[e]
            for k in range(dh.shape[1]):
                ph, pl = two_product(a, dh[i, k])
                gh[j, k], gl[j, k] = _add(gh[j, k], gl[j, k], ph, pl + a * dl[i, k])
                size[j, k] += abs(ph)
                error[j, k] += abs(a) * dd[i, k]
                terms[j, k] += abs(a) * lost[i, k]


def _blocks(problem: Problem, columns: Array, rows: slice) -> Design:
    """Return design[rows][:, columns], dense or CSR, of X's dtype."""
    plain = columns[columns < problem.n_features]
    part = problem.X[rows] if rows != slice(0, problem.n) else problem.X
    part = _taken(part, plain, problem.n_features)
    if len(plain) < len(columns):
        ones = np.ones((part.shape[0], 1), dtype=part.dtype)
        part = (
            sparse.hstack([part, sparse.csr_array(ones)], format="csr")
            if sparse.issparse(part)
            else np.hstack([part, ones])
        )
    return sparse.csr_array(part) if sparse.issparse(part) else np.ascontiguousarray(part)


def _taken(part: Design, plain: Array, columns: int) -> Design:
    if len(plain) == columns:
        return part
    return part[:, plain] if sparse.issparse(part) else np.take(part, plain, axis=1)


def accurate_gradient(problem: Problem, w: Array, low: Array, coords: Array) -> Accurate:
    """Return the gradient of f at w + low on the flat coordinates `coords`, with its error bound.

    w, low : flat (size,) float64, low the part of the point below the last digit of w (zero for the point w itself).
    """
    K, n = problem.n_outputs, problem.n
    W, V = w.reshape(-1, K), low.reshape(-1, K)
    support = np.flatnonzero(W.any(axis=1) | V.any(axis=1))
    columns = np.unique(coords // K)
    kind = LOSSES[problem.loss.name]
    y = problem.y.astype(np.float64)
    gh, gl, size, error, terms = (np.zeros((len(columns), K)) for _ in range(5))
    step = n if sparse.issparse(problem.X) else max(1, BLOCK // max(len(columns), len(support), 1))
    most = int(support.size)
    for begin in range(0, n, step):
        rows = slice(begin, min(begin + step, n))
        count = rows.stop - rows.start
        mh, ml, total, dh, dl, dd = (np.zeros((count, K)) for _ in range(6))
        A = _blocks(problem, support, rows)
        wh, wl = np.ascontiguousarray(W[support]), np.ascontiguousarray(V[support])
        if sparse.issparse(A):
            _margins_sparse(A.data, A.indices, A.indptr, wh, wl, mh, ml, total)
        else:
            _margins_dense(A, wh, wl, mh, ml, total)
        bound = 8.0 * (most + 1) * U * U * total.max(axis=1)
        _derivatives(kind, mh, ml, bound, y[rows], ROOTS, dh, dl, dd)
        lost = U * total * problem.loss.curvature_bound
        B = A if np.array_equal(support, columns) else _blocks(problem, columns, rows)
        if sparse.issparse(B):
            _sums_sparse(B.data, B.indices, B.indptr, dh, dl, dd, lost, gh, gl, size, error, terms)
        else:
            _sums_dense(B, dh, dl, dd, lost, gh, gl, size, error, terms)
    gradient = (gh + gl) / n
    error = (error + 8.0 * (n + 1) * U * U * size) / n * (1.0 + 1e-9) + 3.0 * U * np.abs(gradient)
    parts = []
    for values in (gradient, error, size / n, terms / n):
        full = np.zeros_like(W)
        full[columns] = values
        parts.append(full.ravel())
    return Accurate(*parts)
