"""The networks of the experiments, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from manifold_id.validation import unknown_name
from nn_bench.models.lenet import lenet5, lenet5_small
from nn_bench.models.logistic import logistic
from nn_bench.models.mlp import mlp
from nn_bench.models.resnet import resnet
from nn_bench.models.transformer import TransformerEncoder
from nn_bench.models.vgg import vgg
from nn_bench.planted import near_teacher

Shape = tuple[int, int, int]
MODELS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "logistic": logistic,
    "mlp": mlp,
    "mlp-small": partial(mlp, widths=(32,)),
    "planted-student": near_teacher,
    "lenet5": lenet5,
    "lenet5-small": lenet5_small,
    "vgg16-bn": partial(vgg, 16),
    "vgg19-bn": partial(vgg, 19),
    "resnet18": partial(resnet, 18),
    "resnet50": partial(resnet, 50),
    "transformer": TransformerEncoder,
}


def build_model(name: str, shape: Shape, classes: int) -> nn.Module:
    """Return the named network for images of `shape` (channels, height, width), torch's initialization.

    Raises
    ------
    ValueError
        For an unknown name, or images too small for the network.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return MODELS[name](shape, classes)


__all__ = ["MODELS", "build_model"]
