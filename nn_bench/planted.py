"""Data whose true structure is known: inputs that do not matter, labels of a teacher network with zero groups."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from manifold_id.validation import integer, real
from nn_bench.images import Images


@dataclass(frozen=True, eq=False)
class PlantedImages:
    """An image set and the codes of the groups that its labels depend on, by the name of a tensor.

    `codes` holds int8 codes of those tensors of the student whose structure is determined; the others are free.
    """

    images: Images
    codes: dict[str, np.ndarray]


def irrelevant_inputs(
    rows: int = 1000, inputs: int = 40, relevant: int = 10, classes: int = 4, noise: float = 0.0, seed: int = 0
) -> PlantedImages:
    """Return "images" of `inputs` x 1 x 1 pixels, of which only `relevant` ones decide the label.

    The pixels are independent and uniform; the labels are the largest output of a random two-layer teacher, centred,
    that sees the relevant pixels alone, and are replaced by random ones with probability `noise`. The student is the
    `mlp`, whose first tensor "1.weight" has one column for each pixel: those of irrelevant pixels should be zero.
    """
    integer("relevant", relevant, 1, inputs)
    source = torch.Generator().manual_seed(seed)
    place = torch.randperm(inputs, generator=source)[:relevant].sort().values
    hidden = torch.randn(inputs, 32, generator=source)
    mask = torch.zeros(inputs, 1)
    mask[place] = 1
    layers = [hidden * mask, torch.randn(32, classes, generator=source)]
    images, _ = _labelled(rows, (inputs, 1, 1), layers, noise, source)
    codes = np.zeros(inputs, np.int8)
    codes[place.numpy()] = 1
    return PlantedImages(images, {"1.weight": codes})


def irrelevant_channels(
    rows: int = 4000, channels: int = 8, relevant: int = 3, classes: int = 4, noise: float = 0.0, seed: int = 0
) -> PlantedImages:
    """Return images of 16 x 16 pixels with `channels`, of which only `relevant` ones decide the label.

    Every image has one fixed pattern of its class in the relevant channels, under noise; the other channels hold noise
    alone. The student is LeNet-5, whose "conv1.weight" has one group for each input channel.
    """
    integer("relevant", relevant, 1, channels)
    real("noise", noise, 0, 1)
    source = torch.Generator().manual_seed(seed)
    place = torch.randperm(channels, generator=source)[:relevant].sort().values
    patterns = torch.zeros(classes, channels, 16, 16)
    patterns[:, place] = torch.randn(classes, relevant, 16, 16, generator=source)

    def part(n: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(classes, (n,), generator=source)
        pixels = 127.5 + 40 * (0.5 * patterns[labels] + torch.randn(n, channels, 16, 16, generator=source))
        return pixels.clamp(0, 255).to(torch.uint8), _flipped(labels, classes, noise, source)

    images = _set(part(rows), part(max(rows // 2, 100)), classes, channels, 40 / 255)
    codes = np.zeros(channels, np.int8)
    codes[place.numpy()] = 1
    return PlantedImages(images, {"conv1.weight": codes})


def sparse_teacher(
    rows: int = 1000, inputs: int = 30, units: int = 20, active: int = 5, classes: int = 4, seed: int = 0
) -> tuple[PlantedImages, nn.Sequential]:
    """Return data labelled by a teacher (inputs - units - classes, ReLU) of whose hidden units only `active` count.

    The second value is the teacher: the columns of "3.weight" are zero for the other units. Those of a student that
    starts near it (see `near_teacher`), whose units are so the teacher's, should become zero.
    """
    integer("active", active, 1, units)
    source = torch.Generator().manual_seed(seed)
    place = torch.randperm(units, generator=source)[:active].sort().values
    mask = torch.zeros(units)
    mask[place] = 1
    first = torch.randn(inputs, units, generator=source) / inputs**0.5
    second = torch.randn(units, classes, generator=source) * mask[:, None]
    images, mean = _labelled(rows, (inputs, 1, 1), [first, second], 0.0, source)
    linear = nn.Linear(inputs, units), nn.Linear(units, classes)
    with torch.no_grad():
        for layer, weight, bias in zip(linear, (first, second), (torch.zeros(units), -mean), strict=True):
            layer.weight.copy_(weight.T)
            layer.bias.copy_(bias)
    teacher = nn.Sequential(nn.Flatten(), linear[0], nn.ReLU(), linear[1])
    return PlantedImages(images, {"3.weight": mask.numpy().astype(np.int8)}), teacher


def near_teacher(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a copy of the teacher of "planted-teacher", its weights under normal noise of a tenth of their deviation.

    The noise is drawn from torch's global generator.

    Raises
    ------
    ValueError
        If the images are not those of "planted-teacher".
    """
    _, teacher = _teacher()
    if (shape, classes) != ((teacher[1].in_features, 1, 1), teacher[3].out_features):
        raise ValueError(f"model='planted-student' has no teacher for {classes} classes of images {shape}: "
                         "use it with data='planted-teacher'")  # fmt: skip
    student = deepcopy(teacher)
    with torch.no_grad():
        for weight in (p for p in student.parameters() if p.ndim > 1):
            weight.add_(0.1 * weight.std() * torch.randn_like(weight))
    return student


def _labelled(
    rows: int, shape: tuple[int, int, int], layers: list[Tensor], noise: float, source: torch.Generator
) -> tuple[Images, Tensor]:
    """Return uniform pixels with labels of a two-layer ReLU teacher, and the mean outputs, which are taken off."""
    real("noise", noise, 0, 1)
    tests = max(rows // 2, 100)
    pixels = torch.randint(0, 256, (rows + tests, *shape), generator=source)
    x = (pixels.reshape(rows + tests, -1) / 255 - 0.5) * 12**0.5
    outputs = functional.relu(x @ layers[0]) @ layers[1]
    classes = layers[1].shape[1]
    mean = outputs.mean(dim=0)
    labels = _flipped((outputs - mean).argmax(dim=1), classes, noise, source)
    pixels = pixels.to(torch.uint8)
    parts = (pixels[:rows], labels[:rows]), (pixels[rows:], labels[rows:])
    return _set(*parts, classes, shape[0], 12**-0.5), mean


def _flipped(labels: Tensor, classes: int, noise: float, source: torch.Generator) -> Tensor:
    other = torch.randint(classes, labels.shape, generator=source)
    return torch.where(torch.rand(labels.shape, generator=source) < noise, other, labels)


def _set(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, channels: int, std: float) -> Images:
    scale = (0.5,) * channels, (std,) * channels
    return Images("planted", *train, *test, classes, *scale, pad=0, flip=False)


_teacher = cache(sparse_teacher)

# each is made once a process: a comparison asks for it at every run
PLANTED: dict[str, Callable[[], PlantedImages]] = {
    "planted-inputs": cache(irrelevant_inputs),
    "planted-channels": cache(irrelevant_channels),
    "planted-teacher": lambda: _teacher()[0],
}
