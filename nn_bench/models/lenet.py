"""LeNet-5 in the two sizes of the RMDA paper's code (LeCun et al., Proc. IEEE 86, 1998)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def lenet5(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the large form: 5 x 5 convolutions to 20 and 50 channels, ReLU and 2 x 2 max pooling, then 500 units."""
    return _lenet(shape, classes, (20, 50), 0, (500,))


def lenet5_small(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the small form: 6 and 16 channels, the first convolution padded by 2, then 120 and 84 units."""
    return _lenet(shape, classes, (6, 16), 2, (120, 84))


def _lenet(
    shape: tuple[int, int, int], classes: int, channels: tuple[int, int], padding: int, units: tuple[int, ...]
) -> nn.Module:
    sides = [((side + 2 * padding - 4) // 2 - 4) // 2 for side in shape[1:]]
    if min(sides) < 1:
        raise ValueError(f"images of {shape[1]} x {shape[2]} pixels are too small for LeNet-5: choose model='mlp'")
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(shape[0], channels[0], 5, padding=padding),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(channels[0], channels[1], 5),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
    )
    inputs = channels[1] * sides[0] * sides[1]
    for i, width in enumerate(units, 1):
        layers[f"fc{i}"], layers[f"relu{i + 2}"] = nn.Linear(inputs, width), nn.ReLU()
        inputs = width
    layers[f"fc{len(units) + 1}"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)
