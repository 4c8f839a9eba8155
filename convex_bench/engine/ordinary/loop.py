"""The ordinary loop as the driver takes it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convex_bench.engine.driver import Compiled
from convex_bench.engine.ordinary.layout import lay_out
from convex_bench.engine.ordinary.seeds import Seed

BLOCK = 16384  # steps between two looks at the clock, the keyboard and the logs


class OrdinaryLoop:
    """Every coordinate at every step: any method with a recursion, any penalty with a code."""

    def __init__(self, what: Compiled) -> None:
        """Lay the problem out."""
        setting, recursion = what.setting, what.recursion
        self.setting = setting
        self.layout = lay_out(setting.problem, what.separable, recursion.ignores_regularizer, recursion.gathers)
        self.plan = recursion.plan(setting.method)
        self.two_points = bool(self.plan.two_points)
        self._z = recursion.iterate == "z"

    def blocks(self, marks: np.ndarray) -> Iterator[tuple[int, int]]:
        """Yield blocks of at most BLOCK steps from mark to mark."""
        done = 0
        for mark in marks.tolist():
            while done < mark:
                yield done, (stop := min(mark, done + BLOCK))
                done = stop

    def fresh(self, seed: int) -> Seed:
        """Return a seed before its first step."""
        setting = self.setting
        return Seed.start(self.layout, self.plan, setting.start, seed, setting.batch_size, setting.replacement)

    def advance(self, coef: np.ndarray, base: int, stop: int, seed: Seed) -> None:
        """Go on to step `stop`."""
        seed.advance(coef, base, stop)

    def points(self, coef: np.ndarray, seeds: list[Seed]) -> tuple[np.ndarray, np.ndarray]:
        """Return iterates and estimates, (seeds, *shape)."""
        shape = self.setting.problem.shape
        iterates = np.stack([s.state.z if self._z else s.state.w for s in seeds])
        return self.layout.restore(iterates, shape), self.layout.restore(np.stack([s.state.d for s in seeds]), shape)
