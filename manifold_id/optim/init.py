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
        For s <= 0 or an unknown bound; a module without such a layer, or with one whose weight is computed
        (parametrized, pruned) or not yet there (lazy). Nothing is drawn then.

    References
    ----------
    X. Jia et al., "Make l1 regularization effective in training sparse CNN", Comput. Optim. Appl. 77, 2020, eq. (29).
    """
    real("s", s, 0, open_low=True)
    if bound not in BOUNDS:
        raise unknown_name("bound", bound, BOUNDS)
    if not isinstance(module, nn.Module):
        raise TypeError(f"module={type(module).__name__} must be a torch.nn.Module")
    known = (nn.modules.conv._ConvNd, nn.Linear)
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, known)}
    for name, layer in layers.items():
        if layer._parameters.get("weight") is None:
            raise ValueError(f"the weight of layer {name!r} is computed from other tensors (parametrized or pruned): "
                             "call rda_init_ before, or remove that first")  # fmt: skip
        if isinstance(layer.weight, nn.parameter.UninitializedParameter):
            raise ValueError(f"layer {name!r} is lazy and has no weight yet: run the model once before rda_init_")
    drawn: set[Tensor] = set()
    for layer in layers.values():
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
