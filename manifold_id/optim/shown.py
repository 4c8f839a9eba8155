"""What an optimizer shows of a run: proximal points, their structure, its estimate of the gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from manifold_id.optim import foreach
from manifold_id.optim.checks import HALF
from manifold_id.optim.fused import shrink, supports
from manifold_id.optim.joint import join
from manifold_id.optim.step import proximal_each


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
        if not self.state.get(p, {}).get("step"):
            z = self._iterate(p).clone()
        else:
            members = _members(group, p)
            zs = self._proximal_points(group, [self._iterate(q) for q in members], [self.state[q] for q in members])
            z = next(z for q, z in zip(members, zs, strict=True) if q is p)
        return z.masked_fill_(~self._frozen[p], 0) if p in self._frozen else z

    @torch.no_grad()
    def proximal_structure(self, p: Tensor) -> Tensor:
        """Return regularizer.structure(z), flat int8 codes, for a p whose group has a regularizer.

        Where groups span tensors, the codes are those of these groups. For the group lasso along an axis the last step
        knows them already: no work, and no wait for the device.
        """
        group = self._group_of(p)
        if group["regularizer"] is None:
            raise ValueError("p has no regularizer: its structure is not defined")
        known = self._active.get(id(self.state.get(p)))
        if known and p not in self._frozen:
            return torch.cat(known).to(torch.int8)
        joint = group.get("joint")
        points = [self.proximal_point(q) for q in _members(group, p)]
        codes = group["regularizer"].structure(points[0] if joint is None else join(points, joint))
        assert isinstance(codes, Tensor)
        return codes.reshape(-1)

    def _proximal_points(self, group: dict[str, Any], ws: list[Tensor], states: list[dict[str, Any]]) -> list[Tensor]:
        """Return the proximal points of one parameter, or of all of a joint group."""
        return [w.clone() for w in ws]

    def _proximal(self, group: dict[str, Any], ys: list[Tensor], step: float, ds: list[Tensor] | None) -> list[Tensor]:
        """Return the prox at fresh ys, the fast way where the group's options allow."""
        psi, joint = group["regularizer"], group.get("joint")
        if group["foreach"] is False:
            return proximal_each(psi, ys, step, [None] * len(ys) if ds is None else ds, joint)
        quick = ys[0].device.type == "cpu" and group["foreach"] is None and group["fused"] is not False
        if quick and joint is None and all(supports(y, psi) for y in ys):
            if ds is None:
                return [shrink(psi, y, step, None) for y in ys]
            if all(d.stride() == y.stride() for y, d in zip(ys, ds, strict=True)):
                return [shrink(psi, y, step, d) for y, d in zip(ys, ds, strict=True)]
        return foreach.proximal_points(psi, ys, step, ds, joint)

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


def _members(group: dict[str, Any], p: Tensor) -> list[Tensor]:
    """Return the parameters that have their prox together with p."""
    return [p] if group.get("joint") is None else group["params"]
