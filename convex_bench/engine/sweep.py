"""One step of the variable in one pass: dual vector, prox, new iterate, structure, and the next row's product.

The groups are dealt out to *chunks* (see `chunks`), eight to a chunk, so that a group is one lane: norms, roots and
quotients of eight groups are computed together. Where that would waste memory, on a large group among small ones, the
group is spread over all lanes of a chunk of its own. Entries that are groups of their own fill chunks without norms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from convex_bench.engine.compiled import inner
from convex_bench.engine.lanes import (
    WIDTH,
    above,
    either,
    load,
    nonzero,
    prefetch,
    shrinkage,
    soft,
    splat,
    sqrt,
    store,
    total,
)
from convex_bench.engine.penalties import prox
from convex_bench.engine.rows import fill

# what a chunk holds: eight groups, one to a lane; one group; entries
GROUPS, ONE_GROUP, ENTRIES = range(3)
# columns of the table of chunks: what it holds; first position in a plane; vectors in a plane; first plane; planes
KIND, START, LENGTH, PLANE, PLANES = range(5)
EVERY = 255  # the bits of all lanes


class Penalty(NamedTuple):
    """The regularizer on the variable as it lies in the loop.

    Attributes
    ----------
    gathered
        The groups lie anywhere and `gathered.step` serves them, or in chunks and `sweep` does.
    chunks
        (chunks, 5) int64, the columns as above.
    lam
        Strength of every slot (see `chunks`), or of every group where gathered.
    code, p0, l1
        The scalar penalty (`penalties.CODES`) and its parameter; strength of the entrywise part.
    by_entry
        Structure is that of the entries, though groups are penalized.
    gptr, gidx, aptr, aidx
        Positions of the groups and of the atoms; read where gathered.
    """

    gathered: bool
    chunks: np.ndarray
    lam: np.ndarray
    code: int
    p0: float
    l1: float
    by_entry: bool
    gptr: np.ndarray
    gidx: np.ndarray
    aptr: np.ndarray
    aidx: np.ndarray


class Changes(NamedTuple):
    """Changes of structure of a point, the first filled[0] entries: at `step`, the byte codes[at] became `bits`.

    `differ` says which of the bits are new.
    """

    step: np.ndarray
    at: np.ndarray
    bits: np.ndarray
    differ: np.ndarray
    filled: np.ndarray


@inner
def note(bits, codes, at, t, changes):
    """Log that codes[at] becomes `bits`, and set it."""
    i = changes.filled[0]
    changes.step[i], changes.at[i], changes.bits[i], changes.differ[i] = t, at, bits, bits ^ codes[at]
    changes.filled[0] = i + 1
    codes[at] = bits


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


@inner
def sweep(
    penalty, width, t, vv, vo, po, pv, step, c, v, base, other, w, x, x_start, x_plane, a, ahead, ahead_start,
    ahead_plane, coming, dots, lanes, two_points, codes_w, codes_z, log_w, log_z,
):  # fmt: skip
    """Do step t, in every plane:

        v <- vv base + vo other + a x
        z  = prox_{step psi}(po other + pv v)
        w <- (1 - c) w + c z
        dots = lanes of <w, ahead>

    `base` and `other` may be v and w themselves. The row x begins at x_start, x_plane apart for the planes; so does
    `ahead`. The row of `ahead` that begins at `coming` is fetched into the cache.
    """
    c1, c2, p1, p2 = splat(vv), splat(vo), splat(po), splat(pv)
    old, new = splat(1.0 - c), splat(c)
    times, spread, zero = splat(step), splat(step * penalty.l1), splat(0.0)
    chunks, lam, code, entrywise = penalty.chunks, penalty.lam, penalty.code, penalty.l1 > 0.0
    fill(dots, 0.0)
    sums = dots.shape[0] // 2
    for i in range(chunks.shape[0]):
        first, length = chunks[i, START], chunks[i, LENGTH]
        plane, planes = chunks[i, PLANE], chunks[i, PLANE] + chunks[i, PLANES]
        turn = (i & 1) * sums  # two sums in turn: half the chain of additions
        if coming >= 0:
            for m in range(length):
                prefetch(ahead, coming + first + m * WIDTH)
        if chunks[i, KIND] == ENTRIES:
            dot, slope, at = load(dots, turn + plane * WIDTH), splat(a[plane]), (plane * width + first) // WIDTH
            for m in range(length):
                j = first + m * WIDTH
                s = plane * width + j
                o = load(other, s)
                y = c1 * load(base, s) + c2 * o + slope * load(x, x_start + plane * x_plane + j)
                store(v, s, y)
                z = p1 * o + p2 * y
                if code == 0:
                    z = soft(z, times * load(lam, s))
                else:
                    store(lanes, 0, z)
                    scalar_entries(code, lanes, step, lam, s, penalty.p0)
                    z = load(lanes, 0)
                r = z
                if c != 1.0:
                    r = old * load(w, s) + new * z
                store(w, s, r)
                dot = dot + r * load(ahead, ahead_start + plane * ahead_plane + j)
                bits = nonzero(z)
                if bits != codes_z[at + m]:
                    note(bits, codes_z, at + m, t, log_z)
                if two_points:
                    bits = nonzero(r)
                    if bits != codes_w[at + m]:
                        note(bits, codes_w, at + m, t, log_w)
            store(dots, turn + plane * WIDTH, dot)
            continue
        at = w.shape[0] // WIDTH + i
        square = zero
        for k in range(plane, planes):
            slope = splat(a[k])
            for m in range(length):
                j = first + m * WIDTH
                s = k * width + j
                o = load(other, s)
                y = c1 * load(base, s) + c2 * o + slope * load(x, x_start + k * x_plane + j)
                store(v, s, y)
                z = p1 * o + p2 * y
                if entrywise:
                    z = soft(z, spread)
                square = square + z * z
        if chunks[i, KIND] == ONE_GROUP:
            square = splat(total(square))
        factor = zero
        threshold = times * load(lam, at * WIDTH)
        if code != 0:
            store(lanes, 0, sqrt(square))
            bits = scalar_shrinkage(code, lanes, step, lam, at * WIDTH, penalty.p0)
            factor = load(lanes, 0)
        else:
            bits = above(square, threshold * threshold)
            if bits != 0:
                norm = sqrt(square)
                factor = shrinkage(norm, threshold)
                bits = above(norm, threshold)
        by_group = not penalty.by_entry
        if by_group:
            was = codes_w[at] if two_points else codes_z[at]
            if bits != codes_z[at]:
                note(bits, codes_z, at, t, log_z)
            if bits == 0 and was == 0:
                continue  # w stays zero
        support = zero
        for k in range(plane, planes):
            dot = load(dots, turn + k * WIDTH)
            for m in range(length):
                j = first + m * WIDTH
                s = k * width + j
                z = p1 * load(other, s) + p2 * load(v, s)
                if entrywise:
                    z = soft(z, spread)
                z = factor * z
                r = z
                if c != 1.0:
                    r = old * load(w, s) + new * z
                store(w, s, r)
                dot = dot + r * load(ahead, ahead_start + k * ahead_plane + j)
                if penalty.by_entry:
                    bits = nonzero(z)
                    if bits != codes_z[s // WIDTH]:
                        note(bits, codes_z, s // WIDTH, t, log_z)
                    if two_points:
                        bits = nonzero(r)
                        if bits != codes_w[s // WIDTH]:
                            note(bits, codes_w, s // WIDTH, t, log_w)
                elif two_points:
                    support = either(support, r)
            store(dots, turn + k * WIDTH, dot)
        if two_points and by_group:
            bits = nonzero(support)
            if chunks[i, KIND] == ONE_GROUP and bits != 0:
                bits = EVERY
            if bits != codes_w[at]:
                note(bits, codes_w, at, t, log_w)
