"""Learning rate and lambda of a method by an equal budget for all: the same number of points, one short run each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nn_bench.config import TrainConfig
from nn_bench.data import Images
from nn_bench.training import train


class Trial(NamedTuple):
    """One run of the search."""

    lr: float
    lam: float
    accuracy: float
    group_sparsity: float


def tune(
    config: TrainConfig, lrs: Sequence[float], lams: Sequence[float], floor: float, images: Images | None = None
) -> tuple[TrainConfig, list[Trial]]:
    """Return the config with the best of the pairs lrs x lams, and all trials.

    Best is the largest group sparsity among the trials whose accuracy is at least `floor`; if none is, the largest
    accuracy.
    """
    trials = list(_trials(config, lrs, lams, images))
    best = best_trial(trials, floor)
    return config.changed(lr=best.lr, lam=best.lam), trials


def best_trial(trials: Iterable[Trial], floor: float) -> Trial:
    """Return the sparsest trial of those at least as accurate as `floor`, else the most accurate one."""
    tried = list(trials)
    enough = [trial for trial in tried if trial.accuracy >= floor]
    if enough:
        return max(enough, key=lambda trial: (trial.group_sparsity, trial.accuracy))
    return max(tried, key=lambda trial: trial.accuracy)


def _trials(config: TrainConfig, lrs: Sequence[float], lams: Sequence[float], images: Images | None) -> Iterable[Trial]:
    for lr in lrs:
        for lam in lams:
            result = train(config.changed(lr=lr, lam=lam, tracked=False), images=images)
            yield Trial(lr, lam, result.accuracy, result.group_sparsity)
