"""Which rows a step sees: one compiled stream of random numbers for the loops and for the pure methods alike."""

from __future__ import annotations

import numpy as np

from convex_bench.engine.compiled import compiled, inner


def stream(seed: int, n: int, replacement: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (state, permutation) of a fresh stream: SplitMix64's counter and position; the epoch's order of rows.

    The same seed gives the same rows to every method (common random numbers).
    """
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    order = np.empty(0, np.int64) if replacement else np.arange(n, dtype=np.int64)
    return np.array([start, n], dtype=np.uint64), order


@inner
def _uniform(state):
    """Advance SplitMix64 (Steele, Lea and Flood 2014) and return a float in [0, 1) with 53 random bits."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    x = state[0]
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return float(x >> np.uint64(11)) * 2.0**-53


@compiled
def draw(state, order, n, rows):
    """Fill `rows` with the next minibatch: independent rows if `order` is empty, else the next of a reshuffled epoch.

    An epoch whose remaining rows do not fill a minibatch is cut short, so that no minibatch holds a row twice.
    """
    b = rows.shape[0]
    if order.shape[0] == 0:
        for r in range(b):
            rows[r] = int(_uniform(state) * n)
        return
    if state[1] + np.uint64(b) > np.uint64(n):
        for i in range(n - 1, 0, -1):  # Fisher-Yates
            j = int(_uniform(state) * (i + 1))
            order[i], order[j] = order[j], order[i]
        state[1] = np.uint64(0)
    start = int(state[1])
    for r in range(b):
        rows[r] = order[start + r]
    state[1] += np.uint64(b)
