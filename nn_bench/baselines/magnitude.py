"""Gradual magnitude pruning (Zhu and Gupta 2017), of entries or of whole groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from manifold_id.regularizers import L1
from nn_bench.baselines.masks import MaskedSGD


class MagnitudePruning(MaskedSGD):
    """SGD that prunes the smallest weights over all tensors: at step t the share

        s_t = sparsity (1 - (1 - t / T)^3),      T = until * total_steps,

    of the atoms is off: entries if the param groups' regularizer is L1, else its groups (slices along `axis`), ranked
    by the mean square of their entries. What is pruned stays pruned.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        sparsity: float = 0.5,
        every: int = 20,
        until: float = 0.75,
        total_steps: int = 1000,
    ) -> None:
        super().__init__(params, lr, momentum, weight_decay, sparsity, every, until, total_steps)
        for regularizer in self.regularizers:
            if not isinstance(regularizer, L1) and getattr(regularizer, "axis", None) is None:
                raise ValueError(f"regularizer={regularizer!r}: MagnitudePruning prunes entries (L1) or slices (axis)")

    @torch.no_grad()
    def update_masks(self) -> None:
        """Prune to the share that is due at this step."""
        due = self.sparsity * (1 - (1 - min(self.step_count / self.last_update, 1.0)) ** 3)
        scores = [self._scores(p, m, r) for p, m, r in zip(self.masked, self.masks, self.regularizers, strict=True)]
        flat = torch.cat([s.reshape(-1) for s in scores])
        count = int(due * len(flat))
        if not count:
            return
        threshold = torch.kthvalue(flat, count).values
        self.masks = [m & (s > threshold) for m, s in zip(self.masks, scores, strict=True)]

    def _scores(self, p: Tensor, mask: Tensor, regularizer: Any) -> Tensor:
        """Return the mean square of each atom, in a shape that broadcasts to p's; -1 where it is off already."""
        squares = p.square().masked_fill(~mask, 0)
        if isinstance(regularizer, L1):
            return torch.where(mask, squares, -1)
        axes = [i for i in range(p.ndim) if i != regularizer.axis % p.ndim]
        return torch.where(mask.amax(axes, keepdim=True), squares.mean(axes, keepdim=True), -1)
