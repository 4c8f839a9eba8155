"""One step of the variable in one pass: dual vector, prox, new iterate, structure, and the next row's product.

The groups are dealt out to *chunks* (see `chunks`), eight to a chunk, so that a group is one lane: norms, roots and
quotients of eight groups are computed together. Where that would waste memory, on a large group among small ones, the
group is spread over all lanes of a chunk of its own. Entries that are groups of their own fill chunks without norms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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


class Step(NamedTuple):
    """The coefficients of a step, see `sweep`, and whether v is kept."""

    vv: float
    vo: float
    po: float
    pv: float
    size: float
    c: float
    learnt: float
    keep: bool


class Vectors(NamedTuple):
    """The vectors of a step, see `sweep`; `base` and `other` may be v and w themselves, z is memory."""

    base: np.ndarray
    other: np.ndarray
    v: np.ndarray
    w: np.ndarray
    z: np.ndarray


class Row(NamedTuple):
    """A dense row: its entries for plane k begin at start + k plane of `values`."""

    values: np.ndarray
    start: int
    plane: int


class Watch(NamedTuple):
    """The structure of z, with `two_points` also that of w, and the logs of their changes; stamp = step << 32."""

    two_points: bool
    codes_w: np.ndarray
    codes_z: np.ndarray
    stamp: int
    log_w: Changes
    log_z: Changes


class _Factors(NamedTuple):
    """The coefficients of a step in all lanes: of base, other, and again other and v; of x in y, and in `base`."""

    c1: Any
    c2: Any
    p1: Any
    p2: Any
    slope: Any
    more: Any


class _Place(NamedTuple):
    """Where a plane of a chunk begins in the vectors, in x, in `ahead` and in the row to be fetched; its vectors."""

    start: int
    x: int
    ahead: int
    coming: int
    length: int


@inlined
def _place(x, ahead, coming, first, length, k, width):
    """Return the place of the chunk that begins at `first` in plane k."""
    at_x, at_ahead = x.start + k * x.plane + first, ahead.start + k * ahead.plane + first
    return _Place(k * width + first, at_x, at_ahead, coming + first, length)


@inlined
def _point(kind, keep, by, vectors, s, x, at):
    """Return the point whose prox is taken, at position s, where the row x has `at`; set v and `base` as `sweep` says.

    The coefficients vo, po are 0, 0 in AVERAGING and 0, 1 in DESCENT and LEARNING; the last one alone, and GENERAL,
    change `base`.
    """
    b, xs = load(vectors.base, s), load(x, at)
    y = by.c1 * b
    if kind == GENERAL:
        y = y + by.c2 * load(vectors.other, s)
    y = y + by.slope * xs
    if kind in (LEARNING, GENERAL):
        store(vectors.base, s, b + by.more * xs)
    if keep:
        store(vectors.v, s, y)
    if kind == AVERAGING:
        return by.p2 * y
    if kind == GENERAL:
        return by.p1 * load(vectors.other, s) + by.p2 * y
    return load(vectors.other, s) + by.p2 * y


@inlined
def _entries(
    kind, plain, keep, penalty, step, by, vectors, x, ahead, place, stride, dot, lanes, watch, count_w, count_z
):
    """Do a step of a chunk of entries; return the sum of products, and the numbers of entries of the logs.

    With `plain`, the penalty is the absolute value, c = 1 and w = z.
    """
    times, old, new, lam, code = splat(step.size), splat(1.0 - step.c), splat(step.c), penalty.lam, penalty.code
    for first in range(0, place.length, 8):
        bits_w, bits_z, count = np.uint64(0), np.uint64(0), min(8, place.length - first)
        for m in range(first, first + count):
            j = m * WIDTH
            s = place.start + j
            prefetch(ahead, place.coming + j)
            r = _point(kind, keep, by, vectors, s, x, place.x + j)
            if plain or code == 0:
                r = soft(r, times * load(lam, place.start + m * stride))
            else:
                store(lanes, 0, r)
                scalar_entries(code, lanes, step.size, lam, s, penalty.p0)
                r = load(lanes, 0)
            bits_z = (bits_z >> np.uint64(8)) | (np.uint64(nonzero(r)) << np.uint64(56))
            if not plain and step.c != 1.0:
                r = old * load(vectors.w, s) + new * r
            store(vectors.w, s, r)
            dot = dot + r * load(ahead, place.ahead + j)
            if not plain and watch.two_points:
                bits_w = (bits_w >> np.uint64(8)) | (np.uint64(nonzero(r)) << np.uint64(56))
        at = place.start // WIDTH + first
        count_z = note_word(bits_z, count, watch.codes_z, at, watch.stamp, watch.log_z, count_z)
        if not plain and watch.two_points:
            count_w = note_word(bits_w, count, watch.codes_w, at, watch.stamp, watch.log_w, count_w)
    return dot, count_w, count_z


@inlined
def _squares(kind, keep, l1, spread, by, vectors, z_at, x, ahead, place, square):
    """Set z to a plane of a chunk of groups, the part of the prox by entries done; return `square` plus its squares."""
    for j in range(0, place.length * WIDTH, WIDTH):
        prefetch(ahead, place.coming + j)
        r = _point(kind, keep, by, vectors, place.start + j, x, place.x + j)
        if kind == GENERAL and l1 > 0.0:
            r = soft(r, spread)
        store(vectors.z, z_at + j, r)
        square = square + r * r
    return square


@inner
def sweep(penalty, width, step, vectors, x, a, ahead, coming, dots, lanes, watch):
    """Do one step, in every plane, with y the new dual vector and z its prox:

        y = vv base + vo other + a x
        z = prox_{size psi}(po other + pv y)
        base <- base + learnt a x                   unless learnt = 0
        v <- y                                      if `keep`
        w <- (1 - c) w + c z
        dots = lanes of <w, ahead>

    x and `ahead` are rows, and `a` has a number for every plane. The row of `ahead` that begins at `coming` is fetched
    into the cache.
    """
    w, z, c, keep, two_points, stamp = vectors.w, vectors.z, step.c, step.keep, watch.two_points, watch.stamp
    codes_w, codes_z, log_w, log_z = watch.codes_w, watch.codes_z, watch.log_w, watch.log_z
    c1, c2, p1, p2 = splat(step.vv), splat(step.vo), splat(step.po), splat(step.pv)
    old, new, times, zero = splat(1.0 - c), splat(c), splat(step.size), splat(0.0)
    chunks, lam, code, l1, spread = penalty.chunks, penalty.lam, penalty.code, penalty.l1, splat(step.size * penalty.l1)
    plain = code == 0 and c == 1.0 and not two_points
    kind = GENERAL
    if step.vo == 0.0 and (step.po == 0.0 or step.po == 1.0):
        if step.learnt == 0.0:
            kind = AVERAGING if step.po == 0.0 else DESCENT
        elif step.po == 1.0 and not keep:
            kind = LEARNING
    if l1 > 0.0:
        kind = GENERAL
    count_w, count_z = log_w.filled[0], log_z.filled[0]
    fill(dots, 0.0)
    sums = dots.shape[0] // 2
    for i in range(chunks.shape[0]):
        first, length = chunks[i, START], chunks[i, LENGTH]
        plane, planes = chunks[i, PLANE], chunks[i, PLANE] + chunks[i, PLANES]
        turn = (i & 1) * sums  # two sums in turn: half the chain of additions
        if chunks[i, KIND] == ENTRIES:
            dot, stride = load(dots, turn + plane * WIDTH), chunks[i, STRIDE]
            by = _Factors(c1, c2, p1, p2, splat(a[plane]), splat(step.learnt * a[plane]))
            place = _place(x, ahead, coming, first, length, plane, width)
            if plain and kind == AVERAGING:
                dot, count_w, count_z = _entries(
                    AVERAGING, True, True, penalty, step, by, vectors, x.values, ahead.values, place, stride, dot,
                    lanes, watch, count_w, count_z,
                )  # fmt: skip
            elif plain and kind == LEARNING:
                dot, count_w, count_z = _entries(
                    LEARNING, True, False, penalty, step, by, vectors, x.values, ahead.values, place, stride, dot,
                    lanes, watch, count_w, count_z,
                )  # fmt: skip
            elif plain and kind == DESCENT:
                dot, count_w, count_z = _entries(
                    DESCENT, True, keep, penalty, step, by, vectors, x.values, ahead.values, place, stride, dot,
                    lanes, watch, count_w, count_z,
                )  # fmt: skip
            else:
                dot, count_w, count_z = _entries(
                    GENERAL, False, keep, penalty, step, by, vectors, x.values, ahead.values, place, stride, dot,
                    lanes, watch, count_w, count_z,
                )  # fmt: skip
            store(dots, turn + plane * WIDTH, dot)
            continue
        at = w.shape[0] // WIDTH + i
        square = zero
        for k in range(plane, planes):
            by = _Factors(c1, c2, p1, p2, splat(a[k]), splat(step.learnt * a[k]))
            place, z_at = _place(x, ahead, coming, first, length, k, width), k * width
            if kind == AVERAGING:
                square = _squares(AVERAGING, True, l1, spread, by, vectors, z_at, x.values, ahead.values, place, square)
            elif kind == LEARNING:
                square = _squares(LEARNING, False, l1, spread, by, vectors, z_at, x.values, ahead.values, place, square)
            elif kind == DESCENT:
                square = _squares(DESCENT, keep, l1, spread, by, vectors, z_at, x.values, ahead.values, place, square)
            else:
                square = _squares(GENERAL, keep, l1, spread, by, vectors, z_at, x.values, ahead.values, place, square)
        if chunks[i, KIND] == ONE_GROUP:
            square = splat(total(square))
        factor = zero
        threshold = times * load(lam, at * WIDTH)
        if code != 0:
            store(lanes, 0, sqrt(square))
            bits = scalar_shrinkage(code, lanes, step.size, lam, at * WIDTH, penalty.p0)
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
            ahead_at = ahead.start + k * ahead.plane + first
            if plain and not penalty.by_entry:
                for j in range(0, length * WIDTH, WIDTH):
                    r = factor * load(z, k * width + j)
                    store(w, start + j, r)
                    dot = dot + r * load(ahead.values, ahead_at + j)
                store(dots, turn + k * WIDTH, dot)
                continue
            for j in range(0, length * WIDTH, WIDTH):
                r, at_byte = factor * load(z, k * width + j), (start + j) // WIDTH
                if penalty.by_entry:
                    count_z = note(nonzero(r), codes_z, at_byte, stamp, log_z, count_z)
                if c != 1.0:
                    r = old * load(w, start + j) + new * r
                store(w, start + j, r)
                dot = dot + r * load(ahead.values, ahead_at + j)
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
