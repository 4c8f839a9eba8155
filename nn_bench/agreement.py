"""How far the structure of a trained network is the planted one, over the steps of its run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manifold_id.optim.tracking import OptimizerTracker
from nn_bench.planted import PlantedImages
from nn_bench.result import TrainResult


@dataclass(frozen=True, eq=False)
class Agreement:
    """Precision and recall of the active groups of a planted tensor over the steps of a run.

    `identified_at` is the step from which the structure is the planted one until the end, None if it is not at the end
    or only for less than half of the run.
    """

    tensor: str
    steps: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    identified_at: int | None


def agreements(result: TrainResult, planted: PlantedImages, proximal: bool = True) -> list[Agreement]:
    """Compare the structure of every tensor whose truth is known, of the proximal point or of the parameter."""
    return [agreement(result, name, codes, proximal) for name, codes in planted.codes.items()]


def agreement(
    result: TrainResult, tensor: str, codes: np.ndarray, proximal: bool = True, points: int = 100
) -> Agreement:
    """Compare the structure of one tensor at `points` steps of a run with the true codes.

    Raises
    ------
    ValueError
        If the run was not tracked, has no such tensor, or the number of codes differs.
    """
    whole = result.prox_trace if proximal else result.trace
    layers = {layer["name"]: layer for layer in result.facts["layers"]}
    if whole is None or tensor not in layers:
        raise ValueError(f"tensor={tensor!r} was not followed: choose one of {', '.join(layers) or 'a tracked run'}")
    trace = OptimizerTracker.part(whole, layers[tensor]["start"], layers[tensor]["stop"])
    steps = np.unique(np.linspace(0, trace.steps, points).round().astype(int))
    precision, recall = trace.precision_recall(codes, steps)
    return Agreement(tensor, steps, precision, recall, trace.identified_at(codes))
