"""Where every coordinate lies in the loop: groups dealt out to chunks of eight lanes, padded with zeros.

A *position* is a feature's place in a plane; there is one plane for each output, and a row of the design lies like a
plane. A *slot* is a place for one strength and one bit of structure: those of the entries come first, at c width +
position, then the eight lanes of each chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convex_bench.engine.lanes import WIDTH
from convex_bench.engine.ordinary.sweep import ENTRIES, GROUPS, ONE_GROUP

_LONGEST = 16  # vectors of entries in a chunk
_OVERHEAD = 64  # how many numbers could be worked on in the time that a chunk costs beyond its entries


@dataclass(frozen=True)
class Chunks:
    """The chunks of a partition.

    Attributes
    ----------
    table
        (chunks, 5) int64, the columns of `sweep` but for the last, which depends on the strengths.
    position
        (features,) position of each feature.
    width
        Positions of a plane, a multiple of eight.
    group
        (slots,) the group of each slot, -1 where it has none: padding, and entries of larger groups.
    twin
        (slots,) whether the slot is another one of its group: of a group that is spread over all lanes.
    """

    table: np.ndarray
    position: np.ndarray
    width: int
    group: np.ndarray
    twin: np.ndarray


def round_up(count: int) -> int:
    """Return the next multiple of eight."""
    return -(-count // WIDTH) * WIDTH


def _split(sizes: np.ndarray) -> list[tuple[int, int]]:
    """Return (first, count) of the groups of each chunk, for sizes that do not increase: the cheapest way.

    A chunk holds either one group in all lanes, or up to eight, which costs eight times the first.
    """
    n = len(sizes)
    cost, count = np.zeros(n + 1), np.empty(n, dtype=int)
    for i in range(n - 1, -1, -1):
        after = min(i + WIDTH, n)
        alone, together = round_up(sizes[i]) + cost[i + 1], WIDTH * sizes[i] + cost[after]
        cost[i], count[i] = (alone, 1) if alone < together else (together, after - i)
        cost[i] += _OVERHEAD
    chunks, i = [], 0
    while i < n:
        chunks.append((i, int(count[i])))
        i += count[i]
    return chunks


def deal(labels: np.ndarray) -> Chunks | None:
    """Return the chunks of a partition given by the group of every coordinate, (features, outputs).

    None where a group is neither a single entry nor whole rows.
    """
    features, outputs = labels.shape
    sizes = np.bincount(labels.ravel())
    single = (sizes[labels] == 1).all(axis=1)
    rows = np.flatnonzero(~single)
    own = labels[rows, 0]
    names, counts = np.unique(own, return_counts=True)
    if (labels[rows] != own[:, None]).any() or (sizes[names] != counts * outputs).any():
        return None
    by_size = np.argsort(-counts, kind="stable")
    first = (np.cumsum(counts) - counts)[by_size]
    rows, names, counts = rows[np.argsort(own, kind="stable")], names[by_size], counts[by_size]
    position = np.empty(features, dtype=np.int64)
    table, lanes, start = [], [], 0
    for i, count in _split(counts):
        spread = count == 1 and counts[i] > 1
        for lane in range(count):
            members = rows[first[i + lane] : first[i + lane] + counts[i + lane]]
            position[members] = start + (np.arange(len(members)) if spread else lane + WIDTH * np.arange(len(members)))
        length = round_up(counts[i]) // WIDTH if spread else int(counts[i])
        table.append((ONE_GROUP if spread else GROUPS, start, length, 0, outputs))
        lanes.append(
            np.full(WIDTH, names[i]) if spread else np.append(names[i : i + count], np.full(WIDTH - count, -1))
        )
        start += WIDTH * length
    entries = np.flatnonzero(single)
    position[entries] = start + np.arange(len(entries))
    width = start + round_up(len(entries))
    for plane in range(outputs):
        for at in range(start, width, WIDTH * _LONGEST):
            table.append((ENTRIES, at, min(_LONGEST, (width - at) // WIDTH), plane, 1))
    group = np.full(outputs * width + WIDTH * len(table), -1)
    group[: outputs * width].reshape(outputs, width)[:, position[entries]] = labels[entries].T
    if lanes:
        group[outputs * width :][: WIDTH * len(lanes)] = np.concatenate(lanes)
    kind = np.array([row[0] for row in table])
    twin = np.zeros(len(group), dtype=bool)
    twin[outputs * width :] = (kind == ONE_GROUP).repeat(WIDTH) & (np.arange(WIDTH * len(table)) % WIDTH > 0)
    return Chunks(np.array(table, dtype=np.int64), position, width, group, twin)
