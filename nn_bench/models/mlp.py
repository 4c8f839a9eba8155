"""The fully connected network of the RMDA paper's code."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

WIDTHS = (512, 256, 128, 64, 32, 16)


def mlp(shape: tuple[int, int, int], classes: int, widths: tuple[int, ...] = WIDTHS) -> nn.Module:
    """Return pixels - 512 - 256 - 128 - 64 - 32 - 16 - classes, or other widths between, with ReLU."""
    sizes = (math.prod(shape), *widths)
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
