"""What is known of a tensor of the graph: a label for each index of each axis, and where its axes come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Source = tuple[str, int]  # a parameter or buffer by name, and its axis


class Axis(NamedTuple):
    """One axis: a label for each index, or None where nothing can be removed; of parameters, where it comes from."""

    ids: np.ndarray | None
    sources: frozenset[Source] = frozenset()


KEPT = Axis(None)


@dataclass(frozen=True)
class Value:
    """One tensor: its shape, its axes, and whether it depends on the network's inputs."""

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    live: bool
