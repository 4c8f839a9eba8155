"""RigL: sparse training that regrows weights by their gradient (Evci et al., ICML 2020)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from manifold_id.validation import real
from nn_bench.baselines.masks import MaskedSGD


class RigL(MaskedSGD):
    """SGD on a random mask of each tensor (the same share of every one); every `every` steps until T the share

        alpha / 2 (1 + cos(pi t / T)),      T = until * total_steps,

    of the kept weights, those of smallest magnitude, is dropped, and as many others, those with the largest gradient,
    are grown from zero. Unstructured: the param groups' regularizers only say which tensors are sparse.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        sparsity: float = 0.9,
        every: int = 100,
        until: float = 0.75,
        alpha: float = 0.3,
        total_steps: int = 1000,
    ) -> None:
        super().__init__(params, lr, momentum, weight_decay, sparsity, every, until, total_steps)
        self.alpha = real("alpha", alpha, 0, 1)
        for p, mask in zip(self.masked, self.masks, strict=True):
            off = torch.randperm(p.numel())[: int(self.sparsity * p.numel())]
            mask.reshape(-1)[off.to(p.device)] = False
        self.apply_masks()

    @torch.no_grad()
    def update_masks(self) -> None:
        """Drop the smallest kept weights, grow those with the largest gradient."""
        share = self.alpha / 2 * (1 + math.cos(math.pi * self.step_count / self.last_update))
        for p, mask in zip(self.masked, self.masks, strict=True):
            kept = int(mask.sum())
            count = min(int(share * kept), p.numel() - kept)
            if p.grad is None or not count:
                continue
            drop = torch.where(mask, p.abs(), math.inf).reshape(-1).topk(count, largest=False).indices
            grow = torch.where(mask, -1, p.grad.abs()).reshape(-1).topk(count).indices
            grown = torch.zeros_like(mask)
            grown.view(-1)[grow] = True
            p.masked_fill_(grown, 0)
            mask.view(-1)[drop] = False
            mask.logical_or_(grown)
