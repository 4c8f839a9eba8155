"""VGG-16 and VGG-19 with batch normalization, in the form for CIFAR (Simonyan and Zisserman, ICLR 2015)."""

from __future__ import annotations

from torch import nn

REPEATS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


def vgg(depth: int, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return five blocks of 3 x 3 convolutions, each ended by max pooling, and one linear layer on what is left."""
    sides = [side // 32 for side in shape[1:]]
    if min(sides) < 1:
        raise ValueError(f"images of {shape[1]} x {shape[2]} pixels are too small for VGG: it needs 32 x 32")
    layers: list[nn.Module] = []
    inputs = shape[0]
    for repeat, width in zip(REPEATS[depth], WIDTHS, strict=True):
        for _ in range(repeat):
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * sides[0] * sides[1], classes))
