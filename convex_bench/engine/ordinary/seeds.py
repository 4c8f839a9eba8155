"""One seed of a compiled run: its arrays, and the changes of structure taken out of its logs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from convex_bench.engine.changes import Gathered
from convex_bench.engine.lanes import WIDTH
from convex_bench.engine.ordinary import kernel as K
from convex_bench.engine.ordinary.layout import Layout, aligned_zeros
from convex_bench.engine.ordinary.sweep import Changes
from convex_bench.engine.rows import BLOCK
from convex_bench.engine.sampling import stream
from manifold_id.tracking import Trace

_LOG = 1 << 16  # entries a log holds before it is emptied


@dataclass
class Seed:
    """One seed after t steps.

    Attributes
    ----------
    layout, plan
        What it runs on, and how.
    state
        Its arrays, changed in place by the kernel.
    logs, changes
        Changes of structure of w and of z: those in the kernel's hands, and those before.
    """

    layout: Layout
    plan: K.Plan
    state: K.State
    logs: tuple[Changes, Changes]
    t: int = 0
    changes: tuple[Gathered, Gathered] = field(default_factory=lambda: (Gathered(), Gathered()))

    @classmethod
    def start(
        cls, layout: Layout, plan: K.Plan, w0: np.ndarray, seed: int, batch_size: int, replacement: bool = True
    ) -> Seed:
        """Return a seed before its first step from w0."""
        n, outputs = layout.rows.n, layout.rows.outputs
        w, z, anchor, previous = (layout.flatten(w0) for _ in range(4))
        v, u, mu, d, g, point, metric = (layout.zeros() for _ in range(7))
        codes = layout.codes(w0)
        segments = np.zeros((len(layout.penalty.chunks) + 1, 2), np.int64)
        segments[-1, 1] = layout.rows.width
        weight, r, h = (np.zeros((batch_size, outputs)) for _ in range(3))
        state = K.State(
            *stream(seed, n, replacement),
            np.zeros((K.AHEAD, batch_size), np.int64),
            np.zeros((1, outputs)),
            *(w, z, v, u, anchor, mu, previous, d),
            np.zeros((n if plan.second in (K.SNAPSHOT_POINT, K.TABLE) else 0, outputs)),
            *(g, point, metric, aligned_zeros(2 * WIDTH * outputs), aligned_zeros(WIDTH), segments),
            *(codes, codes.copy(), weight, r, h, np.ones(outputs)),
            *(np.zeros(BLOCK, np.int64), np.zeros((BLOCK, outputs))),
        )
        capacity = max(_LOG, 4 * len(codes))

        def log() -> Changes:
            bits = np.empty(capacity, np.uint64), np.empty(capacity, np.uint64)
            return Changes(np.empty(capacity, np.int64), *bits, np.zeros(1, np.int64))

        return cls(layout, plan, state, (log(), log()))

    def advance(self, coef: np.ndarray, base: int, stop: int) -> None:
        """Go on to step `stop`; row i of `coef` belongs to step base + 1 + i."""
        rows, penalty = self.layout.rows, self.layout.penalty
        while self.t < stop:
            self.t = K.advance(rows, penalty, self.plan, coef, base, self.t, stop, self.state, *self.logs)
            for log, changes in zip(self.logs, self.changes, strict=True):
                changes.add(*self._atoms(*(column[: log.filled[0]] for column in log[:3])))
                log.filled[0] = 0

    def trace(self, which: int, initial: np.ndarray) -> Trace:
        """Return the changes of w (0) or of z (1), from the codes of the start on, as a trace."""
        return self.changes[which].trace(initial, self.t)

    def _atoms(self, where: np.ndarray, differ: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return step, atom and new code of the changes in one log, by step, then by atom."""
        entry, bit = np.nonzero(_bits(differ))
        step, new = where[entry] >> 32, _bits(bits)[entry, bit].astype(np.int8)
        atom = self.layout.atom[WIDTH * (where[entry] & 0xFFFFFFFF) + bit]
        order = np.lexsort((atom, step))
        order = order[atom[order] >= 0]
        return step[order], atom[order], new[order]


def _bits(words: np.ndarray) -> np.ndarray:
    """Return the bits of each word, (words, 64), the lowest first."""
    return np.unpackbits(words.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
