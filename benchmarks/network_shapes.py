"""Shapes of the parameters of three networks, in the forms used for CIFAR-10 and MNIST; nothing else of them."""

Shape = tuple[int, ...]


def lenet5() -> list[Shape]:
    """LeNet-5, the small variant: 6 and 16 channels, 400-120-84-10; 62 thousand parameters."""
    shapes: list[Shape] = []
    for weight in ((6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)):
        shapes += [weight, weight[:1]]
    return shapes


def vgg19() -> list[Shape]:
    """VGG-19 with batch normalization and one linear layer; 20 million parameters."""
    shapes: list[Shape] = []
    width = 3
    for out in (64, 64, 128, 128, *[256] * 4, *[512] * 8):
        shapes += [(out, width, 3, 3), (out,), (out,), (out,)]
        width = out
    return [*shapes, (10, 512), (10,)]


def resnet50() -> list[Shape]:
    """ResNet-50 with a 3x3 stem; 23.5 million parameters."""
    shapes: list[Shape] = [(64, 3, 3, 3), (64,), (64,)]
    width = 64
    for planes, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            for weight in ((planes, width, 1, 1), (planes, planes, 3, 3), (4 * planes, planes, 1, 1)):
                shapes += [weight, weight[:1], weight[:1]]
            if block == 0:
                shapes += [(4 * planes, width, 1, 1), (4 * planes,), (4 * planes,)]
            width = 4 * planes
    return [*shapes, (10, 2048), (10,)]


NETWORKS = {"LeNet-5": lenet5, "VGG-19": vgg19, "ResNet-50": resnet50}
