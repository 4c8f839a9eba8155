"""A calendar of the groups that may change without being touched: one list a step, over one block of steps.

A group is in at most one valid entry, that of its `due` step; entries that were overtaken stay in their list and are
passed over. What lies beyond the block is left out: the calendar is filled anew, from the state alone, at the start of
every call of a loop, and so holds no memory of earlier blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from convex_bench.engine.compiled import compiled, inlined

NEVER = np.iinfo(np.int64).max
SLACK = 1e-12  # relative: an entry may come due a step too early by rounding, never too late


class Calendar(NamedTuple):
    """The lists, linked: `heads[i]` is the first entry of step base + 1 + i, -1 where there is none.

    `links` and `groups` hold the next entry and the group of each entry, `due` the step of each group's valid entry
    (NEVER where it has none), `used` the number of entries.
    """

    heads: np.ndarray  # (steps of a block,) int32
    links: np.ndarray  # (capacity,) int32
    groups: np.ndarray  # (capacity,) int32
    due: np.ndarray  # (groups,) int64
    used: np.ndarray  # (1,) int64


def calendar(block: int, groups: int) -> Calendar:
    """Return an empty calendar for blocks of at most `block` steps."""
    capacity = 4 * groups + (1 << 14)
    lists = (np.empty(block, np.int32), np.empty(capacity, np.int32), np.empty(capacity, np.int32))
    return Calendar(*lists, np.full(groups, NEVER), np.zeros(1, np.int64))


@compiled
def clear(calendar):
    """Empty the calendar."""
    calendar.heads[:] = -1
    calendar.due[:] = NEVER
    calendar.used[0] = 0


@inlined
def enter(calendar, base, g, step):
    """Enter group g at a step of the block in place of the entry it has."""
    e = calendar.used[0]
    calendar.groups[e] = g
    calendar.links[e] = calendar.heads[step - base - 1]
    calendar.heads[step - base - 1] = e
    calendar.due[g] = step
    calendar.used[0] = e + 1


@compiled
def first_step(clock, base, t, key):
    """Return the first step after t at which the increasing clock reaches `key`, up to rounding; NEVER if none does.

    Sought around the step that would be the one if the clock went at an even pace, at distances that double.
    """
    low, high, key = t - base, clock.shape[0], key * (1.0 - SLACK)
    if low >= high or clock[high - 1] < key:
        return NEVER
    first, last, width = low, high - 1, 1
    even = (key - clock[low]) / (clock[last] - clock[low]) * (last - low) if last > low else 0.0
    guess = low + int(min(max(even, 0.0), last - low))
    if clock[guess] < key:
        first = guess + 1
        while first + width <= last and clock[first + width - 1] < key:
            first, width = first + width, 2 * width
        last = min(last, first + width - 1)
    else:
        last = guess
        while last - width >= first and clock[last - width] >= key:
            last, width = last - width, 2 * width
        first = max(first, last - width + 1)
    while first < last:
        middle = (first + last) >> 1
        if clock[middle] < key:
            first = middle + 1
        else:
            last = middle
    return base + 1 + first


@inlined
def enter_by_clock(calendar, clock, base, t, g, key):
    """Enter group g where the clock reaches `key`, unless it has an earlier entry, which will look again."""
    if clock[clock.shape[0] - 1] < key * (1.0 - SLACK):
        return
    due = calendar.due[g]
    if due == NEVER or clock[due - base - 1] >= key * (1.0 - SLACK):
        step = first_step(clock, base, t, key)
        if step < due:
            enter(calendar, base, g, step)


def aligned(rows: int, columns: int) -> np.ndarray:
    """Return zeros whose rows of `columns` numbers, a power of two up to 8, each lie within one cache line."""
    flat = np.zeros(rows * columns + 8)
    skip = -flat.ctypes.data % 64 // 8
    return flat[skip : skip + rows * columns].reshape(rows, columns)


def log(capacity: int) -> np.ndarray:
    """Return a log of changes of structure, one number each, in whose order they are by step, then by atom."""
    return np.empty(capacity, np.int64)


@inlined
def log_change(log, count, t, atom, new):
    """Write change number `count`: at step t the code of an atom becomes `new`, 0 or 1. Return the new count."""
    log[count] = (t << 32) + (np.int64(atom) << 1) + new
    return count + 1


def read_log(log: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return step, atom and new code of each change in a log."""
    return log >> 32, (log >> 1 & 0x7FFFFFFF).astype(np.int32), (log & 1).astype(np.int8)
