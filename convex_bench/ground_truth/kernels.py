"""The compiled loops: block coordinate descent on a quadratic model, and the sums over sparse rows that it needs."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numpy as np
from numba import njit

ROOT_STEPS = 40  # bound on the Newton steps of the scalar equation of a block; it takes about five
FULL_EVERY = 8  # epochs between two passes over the groups that are off


@njit(cache=True, nogil=True)
def _soft(x, threshold, nonnegative):
    if x > threshold:
        return x - threshold
    if x < -threshold and (not nonnegative or threshold == 0.0):  # no threshold: a free coordinate
        return x + threshold
    return 0.0


@njit(cache=True, nogil=True)
def minimize_block(z, G, lam, l1, nonnegative, sigma, Q, c, out):
    """out = argmin_v G (v - z) + (v - z)^T B (v - z) / 2 + lam |v| + sum l1 |v|, B = Q diag(sigma) Q^T.

    Exact where l1 = 0: in the eigenbasis v_k = c_k r / (sigma_k r + lam) with c = Q^T (B z - G), and r = |v| is the
    root of |c / (sigma r + lam)| = 1, whose reciprocal is concave: Newton from the left is monotone. With l1 > 0 one
    proximal-gradient step of length 1 / max(sigma).
    """
    m = len(z)
    top = sigma[m - 1]
    if m == 1:
        if top > 0.0:
            out[0] = _soft(z[0] - G[0] / top, (lam + l1[0]) / top, nonnegative)
        else:
            out[0] = 0.0 if abs(G[0]) <= lam + l1[0] and lam + l1[0] > 0.0 else z[0]
        return
    if top <= 0.0:
        for a in range(m):  # out[:] = z would compile the text of an error about shapes, for three seconds
            out[a] = z[a]
        return
    if l1[0] > 0.0:
        norm = 0.0
        for a in range(m):
            out[a] = _soft(z[a] - G[a] / top, l1[a] / top, False)
            norm += out[a] * out[a]
        norm = math.sqrt(norm)
        shrink = 1.0 - lam / (top * norm) if norm * top > lam else 0.0
        for a in range(m):
            out[a] *= shrink
        return
    total = 0.0
    for k in range(m):
        zk, gk = 0.0, 0.0
        for a in range(m):
            zk += Q[a * m + k] * z[a]
            gk += Q[a * m + k] * G[a]
        if lam == 0.0:  # a free block: the step to the minimum where there is curvature
            c[k] = zk - gk / sigma[k] if sigma[k] > 1e-13 * top else zk
        else:
            c[k] = max(sigma[k], 0.0) * zk - gk
        total += c[k] * c[k]
    total = math.sqrt(total)
    if lam > 0.0:
        if total <= lam:
            out[:] = 0.0
            return
        r = (total - lam) / top
        for _ in range(ROOT_STEPS):
            square, slope = 0.0, 0.0
            for k in range(m):
                s = max(sigma[k], 0.0)
                d = s * r + lam
                q = (c[k] / d) ** 2
                square += q
                slope += q * s / d
            norm = math.sqrt(square)
            step = square * (norm - 1.0) / slope if slope > 0.0 else 0.0
            r += step
            if step <= 4e-16 * r:
                break
        for k in range(m):
            c[k] *= r / (max(sigma[k], 0.0) * r + lam)
    for a in range(m):
        v = 0.0
        for k in range(m):
            v += Q[a * m + k] * c[k]
        out[a] = v


@njit(cache=True, nogil=True)
def descend_gram(H, G, z, start, lam, l1, scale, nonnegative, sigma, Q, q_start, epochs, tol):
    """Block coordinate descent on G (v - z) + (v - z)^T H (v - z) / 2 + psi(v), in place; G follows z.

    Stops when the largest change of a block, as a relative residual max(sigma) |change| / scale, is <= tol in a pass
    over all groups; returns that of the last such pass.
    """
    groups, m = len(lam), len(z)
    longest = 1
    for g in range(groups):
        longest = max(longest, start[g + 1] - start[g])
    c, out = np.empty(longest), np.empty(longest)
    last, full = np.inf, True
    for epoch in range(epochs):
        worst = 0.0
        for g in range(groups):
            lo, hi = start[g], start[g + 1]
            if not full:
                skip = lam[g] + l1[lo] > 0.0
                for a in range(lo, hi):
                    skip = skip and z[a] == 0.0
                if skip:
                    continue
            minimize_block(
                z[lo:hi], G[lo:hi], lam[g], l1[lo:hi], nonnegative, sigma[lo:hi], Q[q_start[g] : q_start[g + 1]], c, out
            )
            change = 0.0
            for a in range(lo, hi):
                d = out[a - lo] - z[a]
                if d != 0.0:
                    change += d * d
                    z[a] = out[a - lo]
                    for b in range(m):
                        G[b] += d * H[a, b]
            worst = max(worst, sigma[hi - 1] * math.sqrt(change) / scale[g])
        if full:
            last = worst
            if worst <= tol:
                break
        full = worst <= tol or (epoch + 1) % FULL_EVERY == 0
    return last


@njit(cache=True, nogil=True)
def take_columns(data, indices, indptr, local):
    """Return (data in float64, indices, indptr) of the columns j with local[j] >= 0, renumbered to that.

    Unsigned `indices` save the test for a negative index. No branch depends on the data.
    """
    n, total = len(indptr) - 1, 0
    for s in range(indptr[n]):
        total += local[indices[s]] >= 0
    part = np.zeros(n + 1, dtype=np.int64)
    values, places = np.empty(total + 1), np.empty(total + 1, dtype=np.int32)
    at = np.uint64(0)
    for i in range(n):
        for s in range(indptr[i], indptr[i + 1]):
            j = local[indices[s]]
            values[at] = data[s]  # stays or is overwritten by the next
            places[at] = j
            at += np.uint64(j >= 0)
        part[i + 1] = at
    return values[:total], places[:total], part


@njit(cache=True, nogil=True)
def gram_rows(data, indices, indptr, weights, local, ones, H):
    """H += sum_i weights_i x_i x_i^T over sparse rows with unsigned indices, lower triangle only.

    `local` maps a column to its place in H or -1; `ones` is the place of a column of ones, or -1.
    """
    place = np.empty(len(local) + 1, dtype=np.uint32)
    value = np.empty(len(local) + 1)
    for i in range(len(indptr) - 1):
        count = 0
        for s in range(indptr[i], indptr[i + 1]):
            j = local[indices[s]]
            place[count] = np.uint32(j)
            value[count] = data[s]
            count += j >= 0
        if ones >= 0:
            place[count] = np.uint32(ones)
            value[count] = 1.0
            count += 1
        for a in range(count):
            x = weights[i] * value[a]
            row = H[place[a]]
            for b in range(a + 1):
                row[place[b]] += x * value[b]


@njit(cache=True, nogil=True)
def hessian_product(data, indices, indptr, P, multi, V, out):
    """out += sum_i x_i (curvature of row i) x_i^T V over sparse rows in one pass; V and out are (columns, K)."""
    outputs = P.shape[1]
    m = np.empty(outputs)
    for i in range(len(indptr) - 1):
        lo, hi = indptr[i], indptr[i + 1]
        if outputs == 1:
            total = 0.0
            for s in range(lo, hi):
                total += data[s] * V[indices[s], 0]
            total *= P[i, 0]
            for s in range(lo, hi):
                out[indices[s], 0] += data[s] * total
            continue
        m[:] = 0.0
        for s in range(lo, hi):
            for k in range(outputs):
                m[k] += data[s] * V[indices[s], k]
        mean = 0.0
        if multi:
            for k in range(outputs):
                mean += P[i, k] * m[k]
        for k in range(outputs):
            m[k] = P[i, k] * (m[k] - mean)
        for s in range(lo, hi):
            for k in range(outputs):
                out[indices[s], k] += data[s] * m[k]


@njit(cache=True, nogil=True)
def logistic_parts(margins, y, value, derivative, curvature):
    """Write log(1 + exp(-y m)) and its two derivatives in m from one exponential a row."""
    for i in range(len(margins)):
        t = y[i] * margins[i]
        e = math.exp(-abs(t))
        q = 1.0 / (1.0 + e)
        value[i] = math.log1p(e) + max(-t, 0.0)
        derivative[i] = -y[i] * (e * q if t > 0.0 else q)
        curvature[i] = e * q * q


@njit(cache=True, nogil=True)
def _weight(P, multi, i, k, other):
    """Entry (k, other) of the loss's curvature in row i: P_ik, or for the multinomial loss of diag(p) - p p^T."""
    if not multi:
        return P[i, 0]
    return P[i, k] * ((1.0 if k == other else 0.0) - P[i, other])


@njit(cache=True, nogil=True)
def block_hessians(indptr, rows, values, column, output, P, multi, start, q_start, blocks):
    """Write the Hessian blocks of the groups, one after the other, each row-major; columns are sparse (CSC)."""
    n = len(P)
    work = np.zeros(n)
    for g in range(len(start) - 1):
        lo, m = start[g], start[g + 1] - start[g]
        for a in range(m):
            ja, ka = column[lo + a], output[lo + a]
            for s in range(indptr[ja], indptr[ja + 1]):
                work[rows[s]] = values[s]
            for b in range(a + 1):
                jb, kb = column[lo + b], output[lo + b]
                total = 0.0
                for s in range(indptr[jb], indptr[jb + 1]):
                    i = rows[s]
                    if work[i] != 0.0:
                        total += work[i] * values[s] * _weight(P, multi, i, ka, kb)
                blocks[q_start[g] + a * m + b] = blocks[q_start[g] + b * m + a] = total / n
            for s in range(indptr[ja], indptr[ja + 1]):
                work[rows[s]] = 0.0


@njit(cache=True, nogil=True)
def descend_columns(
    indptr, rows, values, column, output, P, multi, dm, dot, g0, ridge, w, z, start, lam, l1, scale, nonnegative, sigma,
    Q, q_start, epochs, tol,
):  # fmt: skip
    """As `descend_gram` without forming H: dm = X (z - w), (n, K), carries the state; dot_i = sum_k p_ik dm_ik."""
    groups, n = len(lam), len(P)
    longest = 1
    for g in range(groups):
        longest = max(longest, start[g + 1] - start[g])
    c, out, G = np.empty(longest), np.empty(longest), np.empty(longest)
    last, full = np.inf, True
    for epoch in range(epochs):
        worst = 0.0
        for g in range(groups):
            lo, hi = start[g], start[g + 1]
            if not full:
                skip = lam[g] + l1[lo] > 0.0
                for a in range(lo, hi):
                    skip = skip and z[a] == 0.0
                if skip:
                    continue
            for a in range(lo, hi):
                k, total = output[a], 0.0
                if multi:
                    for s in range(indptr[column[a]], indptr[column[a] + 1]):
                        i = rows[s]
                        total += values[s] * P[i, k] * (dm[i, k] - dot[i])
                else:
                    for s in range(indptr[column[a]], indptr[column[a] + 1]):
                        i = rows[s]
                        total += values[s] * P[i, 0] * dm[i, 0]
                G[a - lo] = g0[a] + total / n + ridge[a] * (z[a] - w[a])
            minimize_block(
                z[lo:hi],
                G[: hi - lo],
                lam[g],
                l1[lo:hi],
                nonnegative,
                sigma[lo:hi],
                Q[q_start[g] : q_start[g + 1]],
                c,
                out,
            )
            change = 0.0
            for a in range(lo, hi):
                d = out[a - lo] - z[a]
                if d != 0.0:
                    change += d * d
                    z[a] = out[a - lo]
                    k = output[a]
                    for s in range(indptr[column[a]], indptr[column[a] + 1]):
                        i = rows[s]
                        dm[i, k] += d * values[s]
                        if multi:
                            dot[i] += d * values[s] * P[i, k]
            worst = max(worst, sigma[hi - 1] * math.sqrt(change) / scale[g])
        if full:
            last = worst
            if worst <= tol:
                break
        full = worst <= tol or (epoch + 1) % FULL_EVERY == 0
    return last
