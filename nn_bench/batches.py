"""The minibatches of an epoch: a shuffle that depends on seed and epoch alone, so that a run can go on anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from nn_bench.config import TrainConfig
from nn_bench.images import Images, augmented
from nn_bench.runtime import Runtime


class Batch(NamedTuple):
    """This process's part of a minibatch; its share of the whole, times the number of processes, is `weight`."""

    images: Tensor
    labels: Tensor
    weight: float


def generator(config: TrainConfig, epoch: int) -> torch.Generator:
    """Return the source of an epoch's random numbers; epoch 0 is the initialization."""
    return torch.Generator().manual_seed((config.seed + 1) * 1_000_003 + epoch)


def steps_per_epoch(config: TrainConfig, images: Images) -> int:
    """Return the number of minibatches of an epoch; the last may be smaller.

    Raises
    ------
    ValueError
        If a minibatch is larger than the training set.
    """
    if config.batch_size > len(images.train):
        raise ValueError(
            f"batch_size={config.batch_size} is larger than the {len(images.train)} training images: choose at most "
            "that many"
        )
    return -(-len(images.train) // config.batch_size)


def batches(config: TrainConfig, images: Images, run: Runtime, epoch: int) -> Iterator[Batch]:
    """Yield this process's part of every minibatch of an epoch.

    All processes draw the same shuffle and the same augmentation, and take every `world`-th image of a minibatch, so
    that the minibatches do not depend on the number of processes.
    """
    source = generator(config, epoch)
    order = torch.randperm(len(images.train), generator=source).to(images.train.device)
    for start in range(0, len(order), config.batch_size):
        rows = order[start : start + config.batch_size]
        pixels, labels = images.train[rows].to(run.device), images.train_labels[rows].to(run.device)
        if config.augment:
            pixels = augmented(pixels, images.pad, images.flip, source)
        pixels, labels = pixels[run.rank :: run.world], labels[run.rank :: run.world]
        x = images.normalized(pixels, run.dtype)
        if config.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        yield Batch(x, labels, run.world * len(labels) / len(rows))
