"""A small image set and short configs, shared by the tests of training."""

from __future__ import annotations

import torch

from nn_bench.config import TrainConfig
from nn_bench.images import Images

torch.set_num_threads(1)


def images(rows: int = 96, classes: int = 4, side: int = 8, channels: int = 1, seed: int = 0) -> Images:
    """Return noisy copies of one random pattern for each class."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 256, (classes, channels, side, side), generator=generator)

    def part(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(n) % classes
        noise = torch.randint(-60, 61, (n, channels, side, side), generator=generator)
        return (patterns[labels] + noise).clamp(0, 255).to(torch.uint8), labels

    (train, train_labels), (test, test_labels) = part(rows), part(40)
    scale = (0.5,) * channels, (0.3,) * channels
    return Images("patterns", train, train_labels, test, test_labels, classes, *scale, pad=1, flip=False)


def config(**settings: object) -> TrainConfig:
    """Return a short run of a multilayer network on the CPU."""
    given: dict = {"model": "mlp", "epochs": 4, "batch_size": 32, "lr": 0.05, "lam": 1e-3, "device": "cpu"}
    return TrainConfig(**(given | settings))
