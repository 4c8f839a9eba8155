"""What all optimizers share: the checks, the three ways to compute a step, and the state on disk."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from manifold_id.optim import foreach
from manifold_id.optim.checks import HALF, check_common, check_momentum, check_names, check_parameters
from manifold_id.optim.fused import FusedStep, pays, supports
from manifold_id.optim.saved import (
    check_method,
    check_regularizers,
    check_shapes,
    check_state,
    restore_tensors,
    written,
)
from manifold_id.optim.shown import Shown
from manifold_id.optim.step import Slot, Step, keep_gaps, proximal_each
from manifold_id.regularizers.base import Regularizer

_FLUSH_EVERY = 32


class ProximalOptimizer(Shown):
    """Base of the optimizers: accumulate the gradient, form a centre y (and a metric d), take the prox, blend.

    A step of every method is

        (y, d) from the method's own recursion,      z = argmin_x tau psi(x) + |x - y|_d^2 / 2,
        w <- (1 - c) w + c z.

    A method's file has that recursion twice: for one tensor, plainly (`_accumulate`, `_center`), and for lists of
    tensors (`_foreach_center`); the methods with compiled kernels have it a third time (`_fused`).

    Param groups may carry their own `regularizer` (None: none), and every other argument. A parameter whose gradient
    is None is left alone and has no state; counters belong to parameters, so that one whose gradient first appears
    late starts from its own step 1. Parameters in bfloat16 and float16 keep their state and an exact copy of the
    iterate in float32; an entry of the parameter that was changed from outside replaces the copy's.

    `foreach`: None chooses; True computes with few launches over lists of tensors; False is the exact loop over
    tensors. On CPU None takes compiled kernels where there are any (`fused`: True insists, False forbids).
    A group's entry `joint`, one axis for each of its parameters, makes groups that span them: slice i of every
    parameter along its axis is one group, such as a filter with its bias and the batch normalization after it. The
    regularizer then acts on the matrix (groups, entries) of all slices and has axis=0; `group_parameters` with
    by="unit" makes such groups.
    `maximize` ascends. `weight_decay` adds weight_decay * w to the gradient unless the class says otherwise.

    With c < 1 an average never becomes exactly zero by itself. `proximal_point` gives z, which has the structure; and
    every 32 steps entries smaller than the dtype's smallest normal number are set to 0, so that what decays is in
    the end exactly zero and never slow (denormal).

    Raises
    ------
    TypeError, ValueError
        For an argument out of its range, a parameter that is not real floating point, a regularizer that does not
        fit a parameter's shape, or one without the exact prox that the method needs.
    ValueError
        By `step`, where OneCycleLR or CyclicLR cycles `momentum`, in torch's opposite meaning.
    RuntimeError
        By `step`, before anything changes, for a sparse gradient.
    """

    metric = False  # whether the subproblem has a diagonal metric
    stage_scaled: tuple[str, ...] = ()  # group entries that StageSchedule scales besides lr

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        regularizer: Regularizer | None,
        *,
        weight_decay: float,
        maximize: bool,
        foreach: bool | None,
        fused: bool | None,
        **defaults: Any,
    ) -> None:
        if isinstance(params, torch.nn.Module):
            raise TypeError(
                f"params is a {type(params).__name__}: pass its parameters, model.parameters(), or "
                "group_parameters(model, regularizer)"
            )
        common = {"weight_decay": weight_decay, "maximize": maximize, "foreach": foreach, "fused": fused, "joint": None}
        self._runner: FusedStep | None = None
        self._owners, self._active, self._frozen = None, {}, {}
        self._check_group({"lr": lr, "regularizer": regularizer, **defaults, **common, "params": []})
        super().__init__(params, {"lr": lr, "regularizer": regularizer, **defaults, **common})

    # ---------------------------------------------------------------- checks

    def _check_group(self, group: dict[str, Any]) -> None:
        """Check the numbers of a group; subclasses add their own."""
        check_common(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its parameters and its regularizer are checked against each other here, not at the first step.

        An entry whose name is almost that of an option is refused as a misspelling; others are kept, as torch does.
        """
        super().add_param_group(param_group)
        self._owners = None
        group = self.param_groups[-1]
        try:
            check_names(group, self.defaults)
            self._check_group(group)
            check_parameters(group, type(self).__name__, self.metric, self._fuses)
        except Exception:
            self.param_groups.pop()
            raise

    # ---------------------------------------------------------------- the step

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; `closure`, if given, recomputes the loss with gradients enabled and its value is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._update()
        return loss

    @torch._disable_dynamo  # torch.compile(optimizer.step) cannot trace the compiled kernels; the numbers stay the same
    def _update(self) -> None:
        """Update all parameters from their .grad."""
        for group in self.param_groups:
            self._check_group(group)
            check_momentum(group)
        reached = [(group, self._with_gradient(group)) for group in self.param_groups]
        self._active = {}
        for group, present in reached:
            buckets: dict[Any, list[Slot]] = {}
            for p in present:
                slot = self._slot(p, group)
                step = self._advance(group, slot.state)
                buckets.setdefault((step, slot.w.device, slot.w.dtype), []).append(slot)
            for (step, device, _), slots in buckets.items():
                self._run(group, step, device, slots)
            for p in present:
                if (exact := self.state[p].get("exact")) is not None:
                    p.copy_(exact)

    def _with_gradient(self, group: dict[str, Any]) -> list[Tensor]:
        """Return the group's parameters that have a gradient.

        Raises
        ------
        RuntimeError
            If a gradient is sparse, or some parameters of a joint group have one and others not.
        ValueError
            If the shape of a parameter is no longer that of its state.
        """
        present = [p for p in group["params"] if p.grad is not None and p.numel()]
        if any(p.grad.layout != torch.strided for p in present):
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients: build the layer with sparse=False, or make "
                "them dense by p.grad = p.grad.to_dense()"
            )
        if group.get("joint") is not None and 0 < len(present) < len(group["params"]):
            raise RuntimeError("some, but not all parameters of a group with `joint` have a gradient: leave those "
                               "that are frozen or not used out of its params")  # fmt: skip
        for i, p in enumerate(present):
            check_state(self.state.get(p, {}), p, i)
        return present

    def _slot(self, p: Tensor, group: dict[str, Any]) -> Slot:
        state = self.state[p]
        w = p.detach()
        if p.dtype in HALF:
            if "exact" not in state:
                state["exact"] = w.float()
            exact = state["exact"]
            exact.copy_(torch.where(exact.to(p.dtype) == w, exact, w.float()))
            w = exact
        else:
            state.pop("exact", None)  # of a parameter that was in half precision before
        if "step" not in state:
            state["step"] = 0
            self._init_state(state, w)
        return Slot(w, self._gradient(p, w, group), state)

    def _gradient(self, p: Tensor, w: Tensor, group: dict[str, Any]) -> Tensor:
        """Return p's gradient as the formulas want it, for the iterate w: dtype, sign, weight decay."""
        assert p.grad is not None
        g = p.grad.detach().resolve_neg()
        if g.dtype != w.dtype:
            g = g.to(w.dtype)
        if group["maximize"]:
            g = -g
        if group["weight_decay"] and self._couples_weight_decay:
            g = g.add(w, alpha=group["weight_decay"])
        return g

    _couples_weight_decay = True

    def _run(self, group: dict[str, Any], step: Step, device: torch.device, slots: list[Slot]) -> None:
        """Compute the step for parameters with the same numbers: compiled, over lists, or one by one."""
        choice, fused = group["foreach"], group["fused"]
        joint = group.get("joint")
        if device.type == "cpu" and fused is not False and choice is None and self._fuses and joint is None:
            psi = group["regularizer"]
            able = [(fused is True or pays(slot.w, psi)) and supports(slot.w, psi) for slot in slots]
            chosen = list(itertools.compress(slots, able))
            if chosen:
                if self._runner is None:
                    self._runner = FusedStep()
                self._runner.run(self, group, step, chosen)
                # autograd must see that the kernels changed the parameters
                torch.autograd.graph.increment_version([slot.w for slot in chosen])
            slots = [slot for slot, done in zip(slots, able, strict=True) if not done]
        if choice is False or any(type(slot.w) not in (Tensor, torch.nn.Parameter) for slot in slots):
            for part in [[slot] for slot in slots] if joint is None else [slots]:
                self._plain(group, step, part)
        elif slots:
            foreach.run(self, group, step, slots)

    @property
    def _fuses(self) -> bool:
        return type(self)._fused is not ProximalOptimizer._fused

    def _plain(self, group: dict[str, Any], step: Step, slots: list[Slot]) -> None:
        """The exact loop's body, for one tensor or for those of a joint group, and the oracle of the other two ways."""
        for w, g, state in slots:
            self._accumulate(w, g, state, step.numbers)
        ys, ds = zip(*[self._center(w, state, step.numbers) for w, _, state in slots], strict=True)
        zs = proximal_each(group["regularizer"], ys, step.prox, ds, group.get("joint"))
        keep_gaps(group["regularizer"], ys, ds, zs, step.prox, [state for _, _, state in slots])
        for (w, _, state), z in zip(slots, zs, strict=True):
            self._keep(state, z)
            if step.blend == 1:
                w.copy_(z)
            else:
                w.copy_((1 - step.blend) * w + step.blend * z)
            if step.flush:
                w.copy_(torch.where(w.abs() < torch.finfo(w.dtype).tiny, 0, w))

    def _flushes(self, state: dict[str, Any], blend: float) -> bool:
        return blend < 1 and state["step"] % _FLUSH_EVERY == 0

    # ---------------------------------------------------------------- what a method fills in

    @abstractmethod
    def _init_state(self, state: dict[str, Any], w: Tensor) -> None:
        """Create the tensors of the state at w."""

    @abstractmethod
    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        """Count one more step of the parameter and return its numbers."""

    @abstractmethod
    def _accumulate(self, w: Tensor, g: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        """Take the gradient into the state."""

    @abstractmethod
    def _center(self, w: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> tuple[Tensor, Tensor | None]:
        """Return (y, d); d is None where the metric is Euclidean."""

    @abstractmethod
    def _foreach_center(
        self, ws: list[Tensor], gs: list[Tensor], states: list[dict[str, Any]], numbers: tuple[float, ...]
    ) -> tuple[Sequence[Tensor], Sequence[Tensor] | None]:
        """Accumulate, and return fresh lists (ys, ds): the same formulas over lists."""

    def _fused(self, slot: Slot, numbers: tuple[Any, ...], y: Any, more: Any, span: tuple[int, int, int]) -> None:
        """Accumulate and fill y by a compiled kernel, for the entries of `span`.

        `more` is the metric d to be filled; without a metric, the sums of y^2 over the rows to be added to, or empty.
        """
        raise NotImplementedError

    def _keep(self, state: dict[str, Any], z: Tensor) -> None:
        """Store the proximal point, for methods that cannot form it again."""

    # ---------------------------------------------------------------- the state on disk

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._runner = None
        self._owners, self._active = None, {}
        self._frozen = getattr(self, "_frozen", {})  # a loaded state leaves it as it is

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and numbers; a regularizer is written as its repr, so nothing is unpickled."""
        return written(super().state_dict()) | {"method": type(self).__name__}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, bit for bit and in its own precision; tensors are copied.

        The optimizer keeps its own regularizers; they must be those of the state. To go on with others, load first
        and then assign group["regularizer"].

        Raises
        ------
        ValueError
            If the state is of another method, a regularizer differs from the saved one, a shape from the parameter's,
            or the groups do not match.
        """
        check_method(self, state_dict)
        check_regularizers(self, state_dict)
        check_shapes(self, state_dict)
        mine = [group["regularizer"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, own in zip(self.param_groups, mine, strict=True):
            group["regularizer"] = own
        restore_tensors(self, state_dict)
