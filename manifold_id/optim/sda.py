"""SDA: simple dual averaging, RDA without a regularizer (Nesterov 2009)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from manifold_id.optim.rda import RDA


class SDA(RDA):
    """SDA: w_t = -lr sqrt(t) gbar_t, with gbar_t the mean of all gradients and lr = 1 / gamma.

    RDA with psi = 0; a param group with a regularizer is refused.

    References
    ----------
    Y. Nesterov, "Primal-dual subgradient methods for convex problems", Mathematical Programming 120, 2009.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | None = None,
        *,
        gamma: float | None = None,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, gamma=gamma, weight_decay=weight_decay, maximize=maximize, foreach=foreach, fused=fused
        )  # fmt: skip

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        if group["regularizer"] is not None:
            raise ValueError(f"regularizer={group['regularizer']!r}: SDA has none, use RDA")
