"""ResNet-18 and ResNet-50 in the form for CIFAR: 3 x 3 stem, no pooling before the stages (He et al., CVPR 2016)."""

from __future__ import annotations

from torch import Tensor, nn

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
WIDTHS = (64, 128, 256, 512)


class _Residual(nn.Module):
    """relu(body(x) + shortcut(x))."""

    def __init__(self, body: nn.Sequential, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = body
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(inputs, outputs, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)]


def _basic(inputs: int, width: int, stride: int) -> _Residual:
    body = [*_convolution(inputs, width, 3, stride), nn.ReLU(), *_convolution(width, width, 3)]
    return _Residual(nn.Sequential(*body), inputs, width, stride)


def _bottleneck(inputs: int, width: int, stride: int) -> _Residual:
    body = [*_convolution(inputs, width, 1), nn.ReLU(), *_convolution(width, width, 3, stride), nn.ReLU()]
    body += _convolution(width, 4 * width, 1)
    return _Residual(nn.Sequential(*body), inputs, 4 * width, stride)


def resnet(depth: int, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return stem, four stages of residual blocks (halving the image three times), mean over pixels, linear layer."""
    layers: list[nn.Module] = [*_convolution(shape[0], WIDTHS[0], 3), nn.ReLU()]
    inputs = WIDTHS[0]
    for stage, (count, width) in enumerate(zip(BLOCKS[depth], WIDTHS, strict=True)):
        for i in range(count):
            stride = 2 if stage and i == 0 else 1
            layers.append(_basic(inputs, width, stride) if depth == 18 else _bottleneck(inputs, width, stride))
            inputs = width if depth == 18 else 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
