"""The torch optimizers that users import, run on a quadratic for many seeds at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from convex_bench.theorems.synthetic import Noise, Quadratic
from manifold_id.theory.base import Assumption

Array = np.ndarray
NO_TORCH = Assumption("torch", 0.0, False, 'not installed: pip install "manifold-id[nn]"')


def torch_or_none() -> Any:
    """Return torch, or None where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    return torch


@dataclass(frozen=True, eq=False)
class Shown:
    """The optimizer after step t: its parameter, its proximal point, and its own state of that parameter as arrays."""

    t: int
    w: Array
    z: Array
    state: dict[str, Any]


def steps_of(
    make: Callable[[list[Any]], Any],
    problem: Quadratic,
    noise: Noise,
    start: Array,
    steps: int,
    seeds: int,
    seed: int,
    decay: float,
) -> Iterator[Shown]:
    """Yield what an optimizer shows after each step, with lr_t = lr t^-decay by torch's LambdaLR.

    One double precision parameter of shape (seeds, p) holds all seeds, so that psi must be a sum over entries. `make`
    gets the list of parameters.
    """
    torch = torch_or_none()
    rng = np.random.default_rng(seed)
    p = torch.nn.Parameter(torch.tensor(np.broadcast_to(start, (seeds, *start.shape)).copy()))
    optimizer = make([p])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: float(k + 1) ** -decay)
    for t in range(1, steps + 1):
        w = p.detach().numpy()
        p.grad = torch.tensor(problem.gradient(w) + noise(rng, w.shape))
        optimizer.step()
        schedule.step()
        state = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in optimizer.state[p].items()}
        yield Shown(t, p.detach().numpy().copy(), optimizer.proximal_point(p).detach().numpy().copy(), state)
