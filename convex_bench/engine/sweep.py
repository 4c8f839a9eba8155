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
# columns of the table of chunks: what it holds; first position in a plane; vectors in a plane; first plane; planes;
# from one vector of the strengths of entries to the next, 0 where all are equal
KIND, START, LENGTH, PLANE, PLANES, STRIDE = range(6)
EVERY = 255  # the bits of all lanes


class Penalty(NamedTuple):
    """The regularizer on the variable as it lies in the loop.

    Attributes
    ----------
    gathered
        The groups lie anywhere and `gathered.step` serves them, or in chunks and `sweep` does.
    chunks
        (chunks, 6) int64, the columns as above.
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
    """Changes of structure of a point, the first filled[0] entries, each packed into 64 bits; see `note`."""

    entries: np.ndarray
    filled: np.ndarray


@inner
def note(bits, codes, at, stamp, entries, count):
    """Set codes[at] to `bits`; if that is a change, log it as entry `count`. Return the number of entries.

    An entry is (step << 40) + (at << 16) + (new ^ old bits << 8) + new bits, with the step counted from the start of
    the block: stamp = step << 40. It is written in any case, for a branch would be mispredicted more often than not.
    """
    at, count = np.uint64(at), np.uint64(count)
    differ = np.int64(codes[at]) ^ bits
    codes[at] = bits
    entries[count] = stamp | (np.int64(at) << 16) | (differ << 8) | bits
    return np.int64(count) + (1 if differ != 0 else 0)


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
    penalty, width, vv, vo, po, pv, step, c, base, other, keep, v, learnt, w, z, x, x_start, x_plane, a, ahead,
    ahead_start, ahead_plane, coming, dots, lanes, two_points, codes_w, codes_z, stamp, log_w, log_z,
):  # fmt: skip
    """Do one step, in every plane, with y the new dual vector and z its prox:

        y = vv base + vo other + a x
        z = prox_{step psi}(po other + pv y)
        base <- base + learnt a x                   unless learnt = 0
        v <- y                                      if `keep`
        w <- (1 - c) w + c z
        dots = lanes of <w, ahead>

    `base` and `other` may be v and w themselves; `z` is memory. The row x begins at x_start, x_plane apart for the
    planes; so does `ahead`. The row of `ahead` that begins at `coming` is fetched into the cache.
    """
    c1, c2, p1, p2 = splat(vv), splat(vo), splat(po), splat(pv)
    old, new = splat(1.0 - c), splat(c)
    times, spread, zero = splat(step), splat(step * penalty.l1), splat(0.0)
    chunks, lam, code, entrywise = penalty.chunks, penalty.lam, penalty.code, penalty.l1 > 0.0
    count_w, count_z = log_w.filled[0], log_z.filled[0]
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
            dot, slope, more = load(dots, turn + plane * WIDTH), splat(a[plane]), splat(learnt * a[plane])
            start, at, stride = plane * width + first, (plane * width + first) // WIDTH, chunks[i, STRIDE]
            for m in range(length):
                j = first + m * WIDTH
                s = start + m * WIDTH
                o, b, xs = load(other, s), load(base, s), load(x, x_start + plane * x_plane + j)
                y = c1 * b + c2 * o + slope * xs
                if learnt != 0.0:
                    store(base, s, b + more * xs)
                if keep:
                    store(v, s, y)
                r = p1 * o + p2 * y
                if code == 0:
                    r = soft(r, times * load(lam, start + m * stride))
                else:
                    store(lanes, 0, r)
                    scalar_entries(code, lanes, step, lam, s, penalty.p0)
                    r = load(lanes, 0)
                count_z = note(nonzero(r), codes_z, at + m, stamp, log_z.entries, count_z)
                if c != 1.0:
                    r = old * load(w, s) + new * r
                store(w, s, r)
                dot = dot + r * load(ahead, ahead_start + plane * ahead_plane + j)
                if two_points:
                    count_w = note(nonzero(r), codes_w, at + m, stamp, log_w.entries, count_w)
            store(dots, turn + plane * WIDTH, dot)
            continue
        at = w.shape[0] // WIDTH + i
        square = zero
        for k in range(plane, planes):
            slope, more = splat(a[k]), splat(learnt * a[k])
            for m in range(length):
                j = first + m * WIDTH
                s = k * width + j
                o, b, xs = load(other, s), load(base, s), load(x, x_start + k * x_plane + j)
                y = c1 * b + c2 * o + slope * xs
                if learnt != 0.0:
                    store(base, s, b + more * xs)
                if keep:
                    store(v, s, y)
                r = p1 * o + p2 * y
                if entrywise:
                    r = soft(r, spread)
                store(z, k * width + m * WIDTH, r)
                square = square + r * r
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
        if not penalty.by_entry:
            was = codes_w[at] if two_points else codes_z[at]
            count_z = note(bits, codes_z, at, stamp, log_z.entries, count_z)
            if bits == 0 and was == 0:
                continue  # w stays zero
        support = zero
        for k in range(plane, planes):
            dot = load(dots, turn + k * WIDTH)
            for m in range(length):
                j = first + m * WIDTH
                s = k * width + j
                r = factor * load(z, k * width + m * WIDTH)
                if penalty.by_entry:
                    count_z = note(nonzero(r), codes_z, s // WIDTH, stamp, log_z.entries, count_z)
                if c != 1.0:
                    r = old * load(w, s) + new * r
                store(w, s, r)
                dot = dot + r * load(ahead, ahead_start + k * ahead_plane + j)
                if two_points:
                    if penalty.by_entry:
                        count_w = note(nonzero(r), codes_w, s // WIDTH, stamp, log_w.entries, count_w)
                    support = either(support, r)
            store(dots, turn + k * WIDTH, dot)
        if two_points and not penalty.by_entry:
            bits = nonzero(support)
            if chunks[i, KIND] == ONE_GROUP and bits != 0:
                bits = EVERY
            count_w = note(bits, codes_w, at, stamp, log_w.entries, count_w)
    log_w.filled[0], log_z.filled[0] = count_w, count_z
