"""The random start of RDA for networks (Jia et al. 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from manifold_id.validation import real, unknown_name

BOUNDS = {
    "s*sqrt(3/k)": lambda s, k: s * math.sqrt(3 / k),
    "sqrt(3*s/k)": lambda s, k: math.sqrt(3 * s / k),
    "s/sqrt(k)": lambda s, k: s / math.sqrt(k),
}


@torch.no_grad()
def rda_init_(
    module: nn.Module, s: float = 10.0, bound: str = "s*sqrt(3/k)", generator: torch.Generator | None = None
) -> nn.Module:
    """Draw the weights and biases of all convolutions and linear layers from U(-b, b), in place.

    k = (inputs of one output unit) = in_channels / groups * kernel area for a convolution, in_features for a linear
    layer; a bias uses the k of its layer. RDA averages from the origin, where a network's gradients vanish: its first
    point is the soft threshold of the first gradient, and enough of that gradient must exceed lam, hence the enlarged
    weights. Norm layers and embeddings keep their initial values. A tensor shared by two layers is drawn once.

    Parameters
    ----------
    s
        > 0; the paper's choice is 10 for a ResNet-18 on CIFAR-10, 2 to 60 elsewhere.
    bound
        The paper's formula for b can be read in three ways: "s*sqrt(3/k)" (variance s^2 / k: s = sqrt 2 is He's
        initialization), "sqrt(3*s/k)" (variance s / k), "s/sqrt(k)" (s = 1 is torch's own default).
    generator
        Source of the random numbers.

    Raises
    ------
    ValueError, TypeError
        For s <= 0 or an unknown bound, or a module without such a layer.

    References
    ----------
    X. Jia et al., "Make l1 regularization effective in training sparse CNN", Comput. Optim. Appl. 77, 2020, eq. (29).
    """
    real("s", s, 0, open_low=True)
    if bound not in BOUNDS:
        raise unknown_name("bound", bound, BOUNDS)
    drawn: set[Tensor] = set()
    for layer in module.modules():
        if not isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
            continue
        outputs = 0 if not getattr(layer, "transposed", False) else 1
        k = layer.weight.numel() // layer.weight.shape[outputs]
        if outputs:
            k = k // getattr(layer, "groups", 1)
        width = BOUNDS[bound](s, k)
        for p in (layer.weight, layer.bias):
            if p is not None and p not in drawn:
                p.uniform_(-width, width, generator=generator)
                drawn.add(p)
    if not drawn:
        raise ValueError(f"module={type(module).__name__} has no convolution or linear layer to initialize")
    return module
