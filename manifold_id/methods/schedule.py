"""Stages of a run: restarts, the step size and the momentum weight as functions of the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from manifold_id.validation import integer, real, unknown_name

MOMENTUM_RULES = ("constant", "divide", "sqrt")


class Stage(NamedTuple):
    """Where step t = 1, 2, ... stands: one number each, or arrays of the shape of t."""

    k: np.ndarray  # step within the stage, from 1
    factor: np.ndarray  # multiplies the step size
    momentum: np.ndarray  # weight c of the new point


@dataclass(frozen=True)
class Stages:
    """Restarts after the steps in `milestones`; each multiplies the step size by `factor`.

    Parameters
    ----------
    milestones
        Increasing step counts >= 1; after each of them the method restarts (its anchor becomes the iterate, its sums
        are emptied).
    factor
        gamma in (0, 1].
    momentum
        What becomes of c: "constant"; "divide": c <- min(c / gamma, 1) at each milestone, the rule of the RMDA paper's
        code; "sqrt": from the last milestone on c_j = min(c sqrt(j), 1) with j = 1, 2, ... the steps since, the rule
        of the RAMDA code.

    Raises
    ------
    ValueError, TypeError
        If a parameter is outside its range.
    """

    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    momentum: str = "constant"

    def __post_init__(self) -> None:
        if not isinstance(self.milestones, (list, tuple)):
            raise TypeError(f"milestones={self.milestones!r} must be a list of steps, such as [1000, 2000]")
        object.__setattr__(self, "milestones", tuple(integer("milestones", m, 1) for m in self.milestones))
        if any(b <= a for a, b in zip(self.milestones, self.milestones[1:], strict=False)):
            raise ValueError(f"milestones={self.milestones} must increase")
        real("factor", self.factor, 0, 1, open_low=True)
        if self.momentum not in MOMENTUM_RULES:
            raise unknown_name("momentum", self.momentum, MOMENTUM_RULES)

    def at(self, t: np.ndarray | int, momentum: float) -> Stage:
        """Return the stage of step(s) t >= 1 for an initial momentum weight c in (0, 1]."""
        step = np.asarray(t, dtype=np.int64)
        marks = np.asarray(self.milestones, dtype=np.int64)
        stage = np.searchsorted(marks, step, side="left")
        k = step - np.concatenate([[0], marks])[stage]
        c = np.full(step.shape, float(momentum))
        if self.momentum == "divide":
            c = np.minimum(momentum / self.factor**stage, 1.0)
        elif self.momentum == "sqrt":
            c = np.where(stage == len(marks), np.minimum(momentum * np.sqrt(k), 1.0), c)
        return Stage(k, self.factor ** stage.astype(float), c)


def momentum_weight(value: float) -> float:
    """Check c, the weight of the new point (or new gradient): a number in (0, 1]."""
    return real("momentum", value, 0, 1, open_low=True)


def step_size(value: float) -> float:
    """Check lr: a finite number > 0."""
    return real("lr", value, 0, open_low=True)
