"""What an optimizer shows of a run: proximal points, their structure, its estimate of the gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from manifold_id.optim import foreach
from manifold_id.optim.checks import HALF
from manifold_id.optim.fused import shrink, supports
from manifold_id.optim.step import proximal


class Shown(Optimizer):
    """The part of the optimizers that looks and changes nothing."""

    _owners: dict[int, dict[str, Any]] | None  # the group of each parameter, by its id
    _active: dict[int, list[Tensor]]  # which groups the last step left active, by the state's id
    _frozen: dict[Tensor, Tensor]  # where a parameter may be nonzero, if SparseRetraining holds the rest at zero

    @torch.no_grad()
    def proximal_point(self, p: Tensor) -> Tensor:
        """Return z, the last output of the prox for parameter p: the point whose structure identifies.

        It is p itself where the method does not average, and before p's first step. In the state's dtype.
        """
        group = self._group_of(p)
        state, w = self.state.get(p, {}), self._iterate(p)
        z = self._proximal_point(group, w, state) if state.get("step") else w.clone()
        return z.masked_fill_(~self._frozen[p], 0) if p in self._frozen else z

    @torch.no_grad()
    def proximal_structure(self, p: Tensor) -> Tensor:
        """Return regularizer.structure(z), flat int8 codes, for a p whose group has a regularizer.

        For the group lasso along an axis the last step knows them already: no work, and no wait for the device.
        """
        group = self._group_of(p)
        if group["regularizer"] is None:
            raise ValueError("p has no regularizer: its structure is not defined")
        known = self._active.get(id(self.state.get(p)))
        if known and p not in self._frozen:
            return torch.cat(known).to(torch.int8)
        codes = group["regularizer"].structure(self.proximal_point(p))
        assert isinstance(codes, Tensor)
        return codes.reshape(-1)

    def _proximal_point(self, group: dict[str, Any], w: Tensor, state: dict[str, Any]) -> Tensor:
        return w.clone()

    def _proximal(self, group: dict[str, Any], y: Tensor, step: float, d: Tensor | None) -> Tensor:
        """Return the prox at a fresh y, the fast way where the group's options allow."""
        quick = y.device.type == "cpu" and group["foreach"] is None and group["fused"] is not False
        if quick and supports(y, group["regularizer"]) and (d is None or d.stride() == y.stride()):
            return shrink(group["regularizer"], y, step, d)
        if group["foreach"] is False:
            return proximal(group["regularizer"], y, step, d)
        return foreach.proximal_points(group["regularizer"], [y], step, None if d is None else [d])[0]

    def gradient_estimate(self, p: Tensor) -> Tensor | None:
        """Return the estimate of the gradient of f that the last step used for p (None before the first).

        Raises
        ------
        NotImplementedError
            For methods that use the minibatch's own gradient, which is p.grad.
        """
        raise NotImplementedError(f"{type(self).__name__} keeps no estimate of the gradient: it uses p.grad itself")

    def _iterate(self, p: Tensor) -> Tensor:
        """Return the iterate of p: its float32 copy where it is in half precision and has one."""
        exact: Tensor | None = self.state.get(p, {}).get("exact") if p.dtype in HALF else None
        return p.detach() if exact is None else exact

    def _group_of(self, p: Tensor) -> dict[str, Any]:
        if self._owners is None:
            self._owners = {id(q): group for group in self.param_groups for q in group["params"]}
        if id(p) not in self._owners:
            raise ValueError("p is not a parameter of this optimizer: give one of those it was built with")
        return self._owners[id(p)]
