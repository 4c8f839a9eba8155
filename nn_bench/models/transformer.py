"""A small Transformer encoder on image patches (Dosovitskiy et al., ICLR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 4


class TransformerEncoder(nn.Module):
    """4 x 4 patches - linear embedding with learned positions - pre-norm encoder layers - mean - linear.

    Width 64, 4 heads, 128 hidden units, 4 layers, dropout 0.1.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        if shape[1] % PATCH or shape[2] % PATCH:
            raise ValueError(f"images of {shape[1]} x {shape[2]} pixels do not divide into {PATCH} x {PATCH} patches")
        width, count = 64, (shape[1] // PATCH) * (shape[2] // PATCH)
        self.embed = nn.Linear(shape[0] * PATCH * PATCH, width)
        self.position = nn.Parameter(torch.empty(1, count, width).normal_(std=0.02))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) of images (n, channels, height, width)."""
        patches = functional.unfold(x, PATCH, stride=PATCH).transpose(1, 2)
        tokens = self.encoder(self.embed(patches) + self.position)
        logits: Tensor = self.head(tokens.mean(dim=1))
        return logits
