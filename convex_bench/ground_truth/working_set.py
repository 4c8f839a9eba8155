"""Prox-Newton on a growing working set: the solver behind `solve`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convex_bench.ground_truth.form import Form, restrict
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.model_step import minimize_model, newton_only
from convex_bench.ground_truth.quadratic import ColumnModel, GramModel

Array = np.ndarray
DENSE, SPARSE = 2500, 1000  # coordinates up to which the Hessian of a working set is formed, by the kind of rows
FIRST = 100  # coordinates of the first working set
GOAL = 1e-14  # the loop goes on to here while it makes progress
STALL = 4  # iterations without halving the residual that end it


@dataclass
class Iterate:
    """A point with what is known about it; w is flat."""

    w: Array
    margins: Array
    value: float  # f(w) without ridge
    gradient: Array  # of f without ridge, flat
    residual: Array  # of each group, relative to form.scale
    steps: int = 0
    supports: list[Array] = field(default_factory=list)  # the active groups of the last iterates

    @property
    def worst(self) -> float:
        """The largest relative residual."""
        return float(self.residual.max())


def evaluate(smooth: Smooth, form: Form, w: Array, margins: Array | None = None) -> Iterate:
    """Return the Iterate of a flat w; `margins` saves their computation where they are known."""
    if margins is None:
        margins = smooth.margins(w)
    gradient = smooth.gradient(margins)
    residual = form.residual(w, gradient + form.ridge * w) / form.scale
    return Iterate(w, margins, smooth.value(margins), gradient, residual)


def choose(form: Form, at: Iterate, tol: float) -> Array:
    """Return the working set: active groups, and those off that violate most, up to twice the active coordinates."""
    active = form.active(at.w)
    sizes = np.diff(form.start)
    violators = np.flatnonzero(~active & (at.residual > tol))
    violators = violators[np.argsort(-at.residual[violators], kind="stable")]
    budget = max(FIRST, 2 * int(sizes[active].sum()))
    inside = np.cumsum(sizes[violators]) <= budget
    if inside.size:
        inside[0] = True
    active[violators[inside]] = True
    return np.flatnonzero(active)


def model_at(smooth: Smooth, form: Form, at: Iterate, groups: Array) -> tuple[Array, Any]:
    """Return (flat coordinates of `groups`, the quadratic model of f + ridge on them)."""
    coords, arrays = restrict(form, groups)
    kind = GramModel if len(coords) <= (SPARSE if smooth.sparse else DENSE) else ColumnModel
    g = at.gradient[coords] + form.ridge[coords] * at.w[coords]
    P = smooth.curvature(at.margins)
    return coords, kind(smooth, coords, P, form.ridge[coords], g, at.w[coords], arrays)


def step_to(smooth: Smooth, form: Form, at: Iterate, coords: Array, z: Array, slope: float) -> Iterate | None:
    """Return the first point w + t (z - w), t = 1, 1/2, ..., that lowers F enough; None where none does.

    `slope` is <gradient of f + ridge, z - w>. Once F cannot tell the points apart the full step is taken.
    """
    target = at.w.copy()
    target[coords] = z
    direction = target - at.w
    psi = form.value(at.w)
    decrease = slope + form.value(target) - psi - 0.5 * float(form.ridge @ (target**2 - at.w**2))
    decrease += 0.5 * float(form.ridge @ direction**2)
    dm = smooth.margins(direction)
    F = at.value + psi
    blind = abs(decrease) <= 1e-12 * (abs(at.value) + abs(psi))
    t = 1.0
    for _ in range(40):
        w = target if t == 1.0 else at.w + t * direction
        margins = at.margins + t * dm
        value = smooth.value(margins) + form.value(w)
        if blind or value - F <= 1e-4 * t * min(decrease, 0.0):
            return evaluate(smooth, form, w, None if blind else margins)
        t *= 0.5
    return None


def run(smooth: Smooth, form: Form, start: Array, tol: float, max_steps: int = 100) -> Iterate:
    """Return the best point found from a flat start; its `worst` says how good it is."""
    at = best = evaluate(smooth, form, start)
    supports: list[Array] = []
    steps, halved, idle = 0, at.worst, 0
    while steps < max_steps and at.worst > GOAL and idle < STALL:
        groups = choose(form, at, 0.01 * tol)
        coords, model = model_at(smooth, form, at, groups)
        slope_of = at.gradient[coords] + form.ridge[coords] * at.w[coords]
        z = minimize_model(model, form.nonnegative, max(at.worst * min(0.1, at.worst), GOAL))
        new = step_to(smooth, form, at, coords, z, float(slope_of @ (z - at.w[coords])))
        steps += 1
        if new is None:
            break
        quick = new.worst < 0.1 * at.worst
        at = new
        supports = [*supports[-3:], form.active(at.w)]
        if at.worst < best.worst:
            best = at
        if at.worst <= 0.5 * halved:
            halved, idle = at.worst, 0
        elif at.worst <= 1e4 * tol or len(groups) == len(form.lam) or steps > 30:
            idle += 1
        if best.worst <= 0.2 * tol and not quick:
            break
    best.steps, best.supports = steps, supports
    return best


def run_on(smooth: Smooth, form: Form, start: Iterate, groups: Array, tol: float, max_steps: int = 20) -> Iterate:
    """Return the best point found by Newton on the fixed support `groups` from `start`, set to zero elsewhere."""
    w = np.zeros_like(start.w)
    coords, _ = restrict(form, groups)
    w[coords] = start.w[coords]
    at = best = evaluate(smooth, form, w)
    for step in range(max_steps):
        if at.worst <= GOAL or groups.size == 0:
            break
        coords, model = model_at(smooth, form, at, groups)
        g = at.gradient[coords] + form.ridge[coords] * at.w[coords]
        z = newton_only(model, form.nonnegative, GOAL)
        new = step_to(smooth, form, at, coords, z, float(g @ (z - at.w[coords])))
        if new is None:
            break
        done = new.worst > 0.5 * at.worst and step > 2
        at = new
        best = at if at.worst < best.worst else best
        best.steps = step + 1
        if done:
            break
    return best
