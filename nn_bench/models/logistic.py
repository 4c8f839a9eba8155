"""Multinomial logistic regression on pixels."""

from __future__ import annotations

import math

from torch import nn


def logistic(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return x -> W x + b, started at 0 as in the RMDA paper's code: a convex problem."""
    layer = nn.Linear(math.prod(shape), classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), layer)
