"""Torch's contract over a pure method: `optimizer_of(MyMethod)` is an optimizer whose step is `MyMethod.update`.

Param groups, closures, schedulers, state on disk, half precision, groups that span tensors and the trackers come with
it. The built-in methods have accelerations (`optim.fast`), found by type; `plain_optimizer_of` leaves them aside.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from functools import cache
from typing import Any, NoReturn

import torch
from torch import Tensor

from manifold_id.methods.base import Method, State
from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.joint import join, split
from manifold_id.optim.step import Slot, Step
from manifold_id.regularizers import Zero
from manifold_id.regularizers.base import Regularizer

_SHOWN = ("t", "w", "z", "d")  # the fields that every State has
_PLAIN = (bool, int, float, str, type(None))


class Minibatch:
    """The oracle of one step: the gradient that backward() left, at the iterate alone."""

    def __init__(self, w: Tensor, g: Tensor, method: str) -> None:
        """Keep the iterate and its gradient."""
        self._w, self._g, self._method = w, g, method

    def __call__(self, w: Tensor) -> Tensor:
        """Return the gradient; raises NotImplementedError at another point than the iterate."""
        if w is not self._w and not torch.equal(w, self._w):
            self._refuse("the gradient at a second point")
        return self._g

    def full(self, w: Tensor) -> NoReturn:
        """Refuse: an optimizer sees minibatches."""
        self._refuse("the gradient of all data")

    def row_gradients(self, w: Tensor, rows: Any) -> NoReturn:
        """Refuse: an optimizer sees the mean over a minibatch."""
        self._refuse("gradients of single rows")

    @property
    def n(self) -> NoReturn:
        """Refuse."""
        self._refuse("the number of rows")

    @property
    def rows(self) -> NoReturn:
        """Refuse."""
        self._refuse("the rows of the minibatch")

    def _refuse(self, what: str) -> NoReturn:
        raise NotImplementedError(
            f"{self._method} asks for {what}, which a torch optimizer does not have: run it on a convex Problem"
        )


class MethodOptimizer(ProximalOptimizer):
    """The optimizer of one class of methods, `method`; made by `optimizer_of`.

    Arguments are the fields of the method, `lr` among them, and those that all optimizers share (see
    ProximalOptimizer). Numbers, names and tuples of them may differ between param groups and be moved by schedulers;
    other fields (a schedule object) are the same for all groups. At lr = 0 a step leaves parameter and state as
    they are. The state of a parameter holds the fields of the method's State: tensors and numbers.

    Raises
    ------
    TypeError, ValueError
        For what the method refuses, at construction.
    NotImplementedError
        At construction, where the method asks for more than the minibatch's gradient at the iterate, or its
        regularizer lacks a prox that it needs.
    """

    method: type[Method]

    def __init__(
        self,
        params: Iterable[Any],
        regularizer: Regularizer | None = None,
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
        **fields: Any,
    ) -> None:
        known = {f.name: f for f in dataclasses.fields(self.method) if f.init}  # type: ignore[arg-type]
        if unknown := set(fields) - set(known):
            raise TypeError(f"{self.method.__name__} has no {sorted(unknown)[0]!r}: it takes {', '.join(known)}")
        self._kept = weight_decay if "weight_decay" in known else None
        if "weight_decay" in known:
            fields["weight_decay"] = weight_decay
        example = self.method(**fields)
        values = {name: getattr(example, name) for name in known}
        self._fixed = {name: value for name, value in values.items() if not _is_plain(value)}
        entries = {name: value for name, value in values.items() if _is_plain(value)}
        lr = entries.pop("lr")
        entries.setdefault("weight_decay", weight_decay)
        super().__init__(params, lr, regularizer, maximize=maximize, foreach=False, fused=False, **entries)

    @property
    def _couples_weight_decay(self) -> bool:  # type: ignore[override]
        return self._kept is None

    def _method_of(self, group: dict[str, Any]) -> Method:
        names = [f.name for f in dataclasses.fields(self.method) if f.init]  # type: ignore[arg-type]
        return self.method(**{name: self._fixed[name] if name in self._fixed else group[name] for name in names})

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        if group["lr"] > 0:
            self._method_of(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, and try one step of the method on copies of its parameters."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        tried = [p for p in group["params"] if not p.is_meta and p.numel()]
        if group["lr"] <= 0 or not tried:
            return
        try:
            points = [p.detach().float() if p.dtype.itemsize < 4 else p.detach().clone() for p in tried]
            slopes = [torch.linspace(0.5, 1, w.numel(), dtype=w.dtype, device=w.device).view(w.shape) for w in points]
            slots = [Slot(w, g, {"step": 1}) for w, g in zip(points, slopes, strict=True)]
            for part in self._parts(group, slots):
                self._take(group, part)
        except Exception:
            self.param_groups.pop()
            raise

    # ---------------------------------------------------------------- the step

    def _init_state(self, state: dict[str, Any], w: Tensor) -> None:
        """Leave it to the first step, which knows the group."""

    def _advance(self, group: dict[str, Any], state: dict[str, Any]) -> Step:
        state["step"] += group["lr"] > 0
        return Step(0.0, 1.0, ())

    def _run(self, group: dict[str, Any], step: Step, device: torch.device, slots: list[Slot]) -> None:
        if group["lr"] > 0:
            for part in self._parts(group, slots):
                self._take(group, part)

    @staticmethod
    def _parts(group: dict[str, Any], slots: list[Slot]) -> list[list[Slot]]:
        return [[slot] for slot in slots] if group.get("joint") is None else [slots]

    def _take(self, group: dict[str, Any], slots: list[Slot]) -> None:
        """Take one step of the tensors that the regularizer sees together."""
        method, axes = self._method_of(group), group.get("joint")
        ws, states = [slot.w for slot in slots], [slot.state for slot in slots]

        def whole(tensors: list[Tensor]) -> Tensor:
            return tensors[0].clone() if axes is None else join(tensors, axes)

        w, g = whole(ws), whole([slot.g for slot in slots])
        start: Any = method.init(w)
        names = [f.name for f in dataclasses.fields(start) if f.name not in ("t", "w")]
        if states[0]["step"] > 1:
            values = {name: states[0].get(name, w) for name in names}  # z is left out where it is w
            values |= {
                k: whole([s[k] for s in states]) for k, v in values.items() if isinstance(v, Tensor) and v is not w
            }
            start = type(start)(t=states[0]["step"] - 1, w=w, **values)
        regularizer = Zero(None) if group["regularizer"] is None else group["regularizer"]
        oracle: Any = Minibatch(w, g, type(method).__name__)
        new: State = method.update(oracle, start, regularizer)
        kept = [name for name in names if not (name == "z" and new.z is new.w)]
        for state in states:
            state.pop("z", None)
        for name in kept:
            value = getattr(new, name)
            parts = [value] * len(slots)
            if isinstance(value, Tensor):
                parts = [value] if axes is None else split(value, ws, axes)
            for slot, part in zip(slots, parts, strict=True):
                slot.state[name] = part
        for slot, part in zip(slots, [new.w] if axes is None else split(new.w, ws, axes), strict=True):
            slot.w.copy_(part)

    def _proximal_points(self, group: dict[str, Any], ws: list[Tensor], states: list[dict[str, Any]]) -> list[Tensor]:
        return [state.get("z", w).clone() for w, state in zip(ws, states, strict=True)]

    def gradient_estimate(self, p: Tensor) -> Tensor | None:
        """Return d, the estimate of the gradient that the last step used for p (None before the first)."""
        return self.state.get(p, {}).get("d")

    def _accumulate(self, w: Tensor, g: Tensor, state: dict[str, Any], numbers: tuple[float, ...]) -> None:
        raise AssertionError("the method's own update takes the gradient")

    _center = _foreach_center = _accumulate  # type: ignore[assignment]


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(v, _PLAIN) for v in value))


@cache
def plain_optimizer_of(method: type[Method]) -> type[MethodOptimizer]:
    """Return the torch optimizer of a class of methods whose step is the method's own `update`.

    Raises
    ------
    TypeError
        If `method` is no subclass of Method that is a dataclass, or has no field `lr`.
    """
    if not (isinstance(method, type) and issubclass(method, Method) and dataclasses.is_dataclass(method)):
        raise TypeError(f"method={method!r} must be a class of methods: a frozen dataclass that subclasses Method")
    fields = [f for f in dataclasses.fields(method) if f.init]
    if "lr" not in [f.name for f in fields]:
        raise TypeError(
            f"{method.__name__} has no field 'lr', which param groups and schedulers need: name its step so"
        )
    own = [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=f.default if f.default is not dataclasses.MISSING else inspect.Parameter.empty,
        )
        for f in fields
    ]
    taken = {f.name for f in fields}
    shared = [p for name, p in inspect.signature(MethodOptimizer.__init__).parameters.items() if name not in taken]

    def __init__(self: MethodOptimizer, *args: Any, **kwargs: Any) -> None:
        MethodOptimizer.__init__(self, *args, **kwargs)

    positional = [p for p in shared if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    keyword = [p for p in shared if p.kind is inspect.Parameter.KEYWORD_ONLY]
    __init__.__signature__ = inspect.Signature([*positional, *own, *keyword])
    body = {"method": method, "__init__": __init__, "__doc__": method.__doc__, "__module__": method.__module__}
    return type(method.__name__, (MethodOptimizer,), body)
