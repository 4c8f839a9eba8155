"""What one step works on, and its prox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from manifold_id.optim.joint import Along, join, split
from manifold_id.regularizers.base import Regularizer


class Step(NamedTuple):
    """The numbers of one step of one parameter; parameters with equal numbers are updated together."""

    prox: float  # the prox parameter tau: z = argmin_x tau psi(x) + |x - y|_d^2 / 2
    blend: float  # c: the new point is (1 - c) w + c z
    numbers: tuple[float, ...]  # what the method's own formulas need
    flush: bool = False  # whether entries below the smallest normal number become 0


class Slot(NamedTuple):
    """One parameter in one step."""

    w: Tensor  # the iterate: the parameter, or its float32 copy
    g: Tensor
    state: dict[str, Any]


def proximal(regularizer: Regularizer | None, y: Tensor, step: float, d: Tensor | None) -> Tensor:
    """Return argmin_x step psi(x) + |x - y|_d^2 / 2; y itself without a regularizer or at step 0."""
    if regularizer is None or step == 0:
        return y
    z = regularizer.prox(y, step) if d is None else regularizer.prox_metric(y, step, d)
    assert isinstance(z, Tensor)
    return z


def proximal_each(
    regularizer: Regularizer | None,
    ys: Sequence[Tensor],
    step: float,
    ds: Sequence[Tensor | None],
    joint: Sequence[Along] | None,
) -> list[Tensor]:
    """Return the prox of each tensor alone or, where groups span them, of all together, as plainly as can be."""
    if joint is None or regularizer is None or step == 0:
        return [proximal(regularizer, y, step, d) for y, d in zip(ys, ds, strict=True)]
    metric = [d for d in ds if d is not None]
    d = join(metric, joint, fill=1.0) if metric else None
    return split(proximal(regularizer, join(ys, joint), step, d), ys, joint)


def keep_gaps(
    regularizer: Regularizer | None,
    ys: Sequence[Tensor],
    ds: Sequence[Tensor | None] | None,
    zs: Sequence[Tensor],
    step: float,
    states: Sequence[dict[str, Any]],
) -> None:
    """Note in the states the duality gap of a prox in a metric that is solved by an inner loop (the nuclear norm)."""
    gap_of = getattr(regularizer, "metric_gap", None)
    if ds is None or step == 0 or gap_of is None:
        return
    for y, d, z, state in zip(ys, ds, zs, states, strict=True):
        if d is not None:
            state["gap"] = float(gap_of(z, y, step, d).max())
