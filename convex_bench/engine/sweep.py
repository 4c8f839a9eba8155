"""One step of the variable in one pass: dual vector, prox, new iterate, structure, and the next row's product.

The groups are dealt out to *chunks* (see `chunks`), eight to a chunk, so that a group is one lane: norms, roots and
quotients of eight groups are computed together. Where that would waste memory, on a large group among small ones, the
group is spread over all lanes of a chunk of its own. Entries that are groups of their own fill chunks without norms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from convex_bench.engine.changes import note, note_word
from convex_bench.engine.compiled import inlined, inner
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
from convex_bench.engine.penalties import scalar_entries, scalar_shrinkage
from convex_bench.engine.rows import fill

# what a chunk holds: eight groups, one to a lane; one group; entries
GROUPS, ONE_GROUP, ENTRIES = range(3)
# columns of the table of chunks: what it holds; first position in a plane; vectors in a plane; first plane; planes;
# from one vector of the strengths of entries to the next, 0 where all are equal
KIND, START, LENGTH, PLANE, PLANES, STRIDE = range(6)
EVERY = 255  # the bits of all lanes
# what the vectors of a step are made of, see `_point`; the loops are compiled for each
AVERAGING, DESCENT, LEARNING, GENERAL = range(4)


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
    """Changes of structure of a point, the first filled[0] entries.

    The bits of the codes from byte `at` on that are set in `differ` (uint64) became those of `bits`, at step `step`;
    where = (step << 32) + at.
    """

    where: np.ndarray
    differ: np.ndarray
    bits: np.ndarray
    filled: np.ndarray


@inlined
def _point(kind, keep, c1, c2, p1, p2, slope, more, base, other, v, x, s, at):
    """Return the point whose prox is taken, at position s, where the row x has `at`; set v and `base` as `sweep` says.

    The coefficients vo, po are 0, 0 in AVERAGING and 0, 1 in DESCENT and LEARNING; the last one alone, and GENERAL,
    change `base`.
    """
    b, xs = load(base, s), load(x, at)
    y = c1 * b
    if kind == GENERAL:
        y = y + c2 * load(other, s)
    y = y + slope * xs
    if kind in (LEARNING, GENERAL):
        store(base, s, b + more * xs)
    if keep:
        store(v, s, y)
    if kind == AVERAGING:
        return p2 * y
    if kind == GENERAL:
        return p1 * load(other, s) + p2 * y
    return load(other, s) + p2 * y


@inlined
def _entries(
    kind, plain, keep, penalty, start, length, stride, step, c, c1, c2, p1, p2, slope, more, base, other, v, w, x, x_at,
    ahead, ahead_at, coming, dot, lanes, two_points, codes_w, codes_z, stamp, log_w, log_z, count_w, count_z,
):  # fmt: skip
    """Do a step of a chunk of entries; return the sum of products, and the numbers of entries of the logs.

    With `plain`, the penalty is the absolute value, c = 1 and w = z.
    """
    times, old, new, lam, code = splat(step), splat(1.0 - c), splat(c), penalty.lam, penalty.code
    for first in range(0, length, 8):
        bits_w, bits_z, count = np.uint64(0), np.uint64(0), min(8, length - first)
        for m in range(first, first + count):
            j = m * WIDTH
            s = start + j
            prefetch(ahead, coming + j)
            r = _point(kind, keep, c1, c2, p1, p2, slope, more, base, other, v, x, s, x_at + j)
            if plain or code == 0:
                r = soft(r, times * load(lam, start + m * stride))
            else:
                store(lanes, 0, r)
                scalar_entries(code, lanes, step, lam, s, penalty.p0)
                r = load(lanes, 0)
            bits_z = (bits_z >> np.uint64(8)) | (np.uint64(nonzero(r)) << np.uint64(56))
            if not plain and c != 1.0:
                r = old * load(w, s) + new * r
            store(w, s, r)
            dot = dot + r * load(ahead, ahead_at + j)
            if not plain and two_points:
                bits_w = (bits_w >> np.uint64(8)) | (np.uint64(nonzero(r)) << np.uint64(56))
        at = start // WIDTH + first
        count_z = note_word(bits_z, count, codes_z, at, stamp, log_z, count_z)
        if not plain and two_points:
            count_w = note_word(bits_w, count, codes_w, at, stamp, log_w, count_w)
    return dot, count_w, count_z


@inlined
def _squares(kind, keep, l1, spread, z, z_at, start, length, c1, c2, p1, p2, slope, more, base, other, v, x, x_at,
             ahead, coming, square):  # fmt: skip
    """Set z to a plane of a chunk of groups, the part of the prox by entries done; return `square` plus its squares."""
    for j in range(0, length * WIDTH, WIDTH):
        prefetch(ahead, coming + j)
        r = _point(kind, keep, c1, c2, p1, p2, slope, more, base, other, v, x, start + j, x_at + j)
        if kind == GENERAL and l1 > 0.0:
            r = soft(r, spread)
        store(z, z_at + j, r)
        square = square + r * r
    return square


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
    old, new, times, spread, zero = splat(1.0 - c), splat(c), splat(step), splat(step * penalty.l1), splat(0.0)
    chunks, lam, code = penalty.chunks, penalty.lam, penalty.code
    plain = code == 0 and c == 1.0 and not two_points
    kind = GENERAL
    if vo == 0.0 and (po == 0.0 or po == 1.0):
        if learnt == 0.0:
            kind = AVERAGING if po == 0.0 else DESCENT
        elif po == 1.0 and not keep:
            kind = LEARNING
    if penalty.l1 > 0.0:
        kind = GENERAL
    count_w, count_z = log_w.filled[0], log_z.filled[0]
    fill(dots, 0.0)
    sums = dots.shape[0] // 2
    for i in range(chunks.shape[0]):
        first, length = chunks[i, START], chunks[i, LENGTH]
        plane, planes = chunks[i, PLANE], chunks[i, PLANE] + chunks[i, PLANES]
        turn = (i & 1) * sums  # two sums in turn: half the chain of additions
        if chunks[i, KIND] == ENTRIES:
            dot, slope, more = load(dots, turn + plane * WIDTH), splat(a[plane]), splat(learnt * a[plane])
            start, stride, fetched = plane * width + first, chunks[i, STRIDE], coming + first
            x_at, ahead_at = x_start + plane * x_plane + first, ahead_start + plane * ahead_plane + first
            if plain and kind == AVERAGING:
                dot, count_w, count_z = _entries(
                    AVERAGING, True, True, penalty, start, length, stride, step, c, c1, c2, p1, p2, slope, more, base,
                    other, v, w, x, x_at, ahead, ahead_at, fetched, dot, lanes, two_points, codes_w, codes_z, stamp,
                    log_w, log_z, count_w, count_z,
                )  # fmt: skip
            elif plain and kind == LEARNING:
                dot, count_w, count_z = _entries(
                    LEARNING, True, False, penalty, start, length, stride, step, c, c1, c2, p1, p2, slope, more, base,
                    other, v, w, x, x_at, ahead, ahead_at, fetched, dot, lanes, two_points, codes_w, codes_z, stamp,
                    log_w, log_z, count_w, count_z,
                )  # fmt: skip
            elif plain and kind == DESCENT:
                dot, count_w, count_z = _entries(
                    DESCENT, True, keep, penalty, start, length, stride, step, c, c1, c2, p1, p2, slope, more, base,
                    other, v, w, x, x_at, ahead, ahead_at, fetched, dot, lanes, two_points, codes_w, codes_z, stamp,
                    log_w, log_z, count_w, count_z,
                )  # fmt: skip
            else:
                dot, count_w, count_z = _entries(
                    GENERAL, False, keep, penalty, start, length, stride, step, c, c1, c2, p1, p2, slope, more, base,
                    other, v, w, x, x_at, ahead, ahead_at, fetched, dot, lanes, two_points, codes_w, codes_z, stamp,
                    log_w, log_z, count_w, count_z,
                )  # fmt: skip
            store(dots, turn + plane * WIDTH, dot)
            continue
        at = w.shape[0] // WIDTH + i
        square = zero
        for k in range(plane, planes):
            slope, more, start = splat(a[k]), splat(learnt * a[k]), k * width + first
            x_at, fetched = x_start + k * x_plane + first, coming + first
            if kind == AVERAGING:
                square = _squares(
                    AVERAGING, True, penalty.l1, spread, z, k * width, start, length, c1, c2, p1, p2, slope, more, base,
                    other, v, x, x_at, ahead, fetched, square,
                )  # fmt: skip
            elif kind == LEARNING:
                square = _squares(
                    LEARNING, False, penalty.l1, spread, z, k * width, start, length, c1, c2, p1, p2, slope, more, base,
                    other, v, x, x_at, ahead, fetched, square,
                )  # fmt: skip
            elif kind == DESCENT:
                square = _squares(
                    DESCENT, keep, penalty.l1, spread, z, k * width, start, length, c1, c2, p1, p2, slope, more, base,
                    other, v, x, x_at, ahead, fetched, square,
                )  # fmt: skip
            else:
                square = _squares(
                    GENERAL, keep, penalty.l1, spread, z, k * width, start, length, c1, c2, p1, p2, slope, more, base,
                    other, v, x, x_at, ahead, fetched, square,
                )  # fmt: skip
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
            count_z = note(bits, codes_z, at, stamp, log_z, count_z)
            if bits == 0 and was == 0:
                continue  # w stays zero
        support = zero
        for k in range(plane, planes):
            dot, start = load(dots, turn + k * WIDTH), k * width + first
            ahead_at = ahead_start + k * ahead_plane + first
            if plain and not penalty.by_entry:
                for j in range(0, length * WIDTH, WIDTH):
                    r = factor * load(z, k * width + j)
                    store(w, start + j, r)
                    dot = dot + r * load(ahead, ahead_at + j)
                store(dots, turn + k * WIDTH, dot)
                continue
            for j in range(0, length * WIDTH, WIDTH):
                r, at_byte = factor * load(z, k * width + j), (start + j) // WIDTH
                if penalty.by_entry:
                    count_z = note(nonzero(r), codes_z, at_byte, stamp, log_z, count_z)
                if c != 1.0:
                    r = old * load(w, start + j) + new * r
                store(w, start + j, r)
                dot = dot + r * load(ahead, ahead_at + j)
                if two_points:
                    if penalty.by_entry:
                        count_w = note(nonzero(r), codes_w, at_byte, stamp, log_w, count_w)
                    support = either(support, r)
            store(dots, turn + k * WIDTH, dot)
        if two_points and not penalty.by_entry:
            bits = nonzero(support)
            if chunks[i, KIND] == ONE_GROUP and bits != 0:
                bits = EVERY
            count_w = note(bits, codes_w, at, stamp, log_w, count_w)
    log_w.filled[0], log_z.filled[0] = count_w, count_z
