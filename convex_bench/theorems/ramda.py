"""RAMDA and RMDA as torch optimizers: the update solves its subproblem, and the proximal points identify."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convex_bench.theorems.case import last_decades
from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.shipped import NO_TORCH, steps_of, torch_or_none
from convex_bench.theorems.synthetic import gaussian
from manifold_id.theory.base import Assumption, Power, Theorem, Verdict, decide, unmet
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.exponent import exponent_near
from manifold_id.theory.identified import identification
from manifold_id.theory.structure_record import StructureRecord, compare

Array = np.ndarray

RAMDA_SHIPPED = Theorem(
    name="ramda-optimizer",
    title="The shipped optimizers RAMDA and RMDA solve their subproblems, average the noise away and identify",
    statement="z_k = argmin <V_k, W> + |W - W^0|^2_{D_k} / 2 + alpha_k psi(W), V_k = sum s g, alpha_k = sum s, s_k = "
    "lr_k sqrt k, D_k = cbrt(sum s g^2) + eps for RAMDA, sqrt k for RMDA. Then u_k = -(V_k + D_k (z_k - W^0)) / "
    "alpha_k lies in d psi(z_k); with lr_k = lr k^-a, 1/2 < a < 1, z_k converges, V_k / alpha_k - grad f(W*) falls "
    "like k^-1/2 off the support, and z_k lies on the manifold from some step on.",
    latex=r"-\tfrac1{\alpha_k}\big(V_k+D_k(z_k-W^0)\big)\in\partial\psi(z_k),\qquad"
    r"\exists T_0\,\forall k\ge T_0:\ z_k\in\mathcal M",
    source="RAMDA: NeurIPS 2024, arXiv 2403.14398; RMDA: Huang and Lee, ICLR 2022, whose abstracts state "
    "identification. The inclusion is the subproblem's optimality condition; the exponent is derived as in "
    "variance-reduction: off the support the error is a martingale average with weights s.",
    measured="`manifold_id.optim.RAMDA` and `.RMDA` in double precision, with torch's LambdaLR, on a quadratic with "
    "Gaussian noise. From their own state and the gradients that they were given, summed anew: the distance of u_k to "
    "d psi(z_k) relative to its terms, at every step; the exponent of the error of V_k / alpha_k on the off "
    "coordinates, 99 % interval within 0.2 of -1/2; the exponent of |z_k - W*|, negative; and the share of "
    "identified runs.",
    control="`manifold_id.optim.ProxSGD` with the same lr_k, steps, seeds and start: no average. And the parameter "
    "itself under momentum 0.1, which keeps a factor 0.9^k of old nonzero entries.",
)

ROUNDING, WIDTH = 1e-9, 0.2
MARGIN, SIGMA, DECAY = 0.3, 0.3, 0.7
LR = {"RAMDA": 0.5, "RMDA": 2.0, "ProxSGD": 2.0}


def estimate(steps: Array, errors: Array) -> Verdict:
    """Return the verdict on the error of V / alpha off the support, (k, seeds) at `steps`."""
    assumed = Assumption("smallest error", float(errors.min()), bool(errors.min() > 0))
    return exponent_near(steps, errors, -0.5, WIDTH, assumed, what="exponent of the error")


def inclusion(outside: Array, wrong: dict[float, float]) -> Verdict:
    """Return the verdict on the distances of u to d psi(z), relative, (steps, seeds); `wrong` has the largest distance
    for relative errors of D."""
    worst = float(outside.max())
    seen = [error for error, distance in wrong.items() if distance > ROUNDING]
    return decide(
        worst <= ROUNDING,
        (Assumption("steps", len(outside), len(outside) > 0),),
        f"u_k lies in d psi(z_k) to {worst:.1e}",
        f"relative distance <= {ROUNDING:g}",
        worst,
        seeds=outside.shape[1],
        samples=outside.size,
        power=(Power("relative error of D", 0.0, above=min(seen, default=np.nan)),),
    )


def run(name: str, size: Size, seed: int, *, point: str = "z", momentum: float = 1.0, control: bool = False) -> Verdict:
    """Run one optimizer from one away from the solution; judge identification, and of dual averaging all of it."""
    if torch_or_none() is None:
        return unmet(NO_TORCH)
    from manifold_id import methods, optim

    problem, kind = l1_quadratic(MARGIN, seed), getattr(optim, name)
    psi, off, start = problem.regularizer, problem.codes <= 0, problem.w + 1.0
    seeds, steps = max(50, size.seeds // 2), size.steps(1000)
    extra = {"eps": 1e-2} if name == "RAMDA" else {}

    def make(params: list[Any]) -> Any:
        return kind(params, lr=LR[name], momentum=momentum, regularizer=psi, **extra)

    kept: dict[str, list[Array]] = {"outside": [], "error": [], "far": []}
    flags, marks = np.zeros((2, steps, seeds), dtype=bool), last_decades(steps, 20)
    wrong = dict.fromkeys((1e-8, 1e-6, 1e-3), 0.0)
    V, U, alpha = np.zeros((seeds, len(start))), np.zeros((seeds, len(start))), 0.0
    pure: Any = methods.RAMDA(LR[name], momentum, eps=1e-2) if name == "RAMDA" else methods.RMDA(LR[name], momentum)
    own, apart = pure.init(np.broadcast_to(start, V.shape)), 0.0
    rng = np.random.default_rng(seed)  # the noise of `steps_of`, drawn again
    before = np.broadcast_to(start, V.shape)
    for shown in steps_of(make, problem, gaussian(SIGMA), start, steps, seeds, seed, DECAY):
        g = problem.gradient(before) + gaussian(SIGMA)(rng, V.shape)
        s = LR[name] * shown.t ** (0.5 - DECAY)
        own = replace(pure, lr=LR[name] * shown.t**-DECAY).update(lambda w, g=g: g, own, psi)
        apart = max(apart, float(np.abs(own.z - shown.z).max()))
        V, U, alpha, before = V + s * g, U + s * g * g, alpha + s, shown.w
        D = np.cbrt(U) + 1e-2 if name == "RAMDA" else np.sqrt(shown.t)
        pull = D * (shown.z - start) / alpha
        scale = np.abs(V / alpha).max(axis=1) + np.abs(pull).max(axis=1) + 1
        kept["outside"].append(psi.residual(shown.z, V / alpha + pull).max(axis=1) / scale)
        if shown.t in marks:
            kept["error"].append(np.linalg.norm((V / alpha + problem.dual)[:, off], axis=1))
            kept["far"].append(np.linalg.norm(getattr(shown, point) - problem.w, axis=1))
            for e in wrong:
                wrong[e] = max(
                    wrong[e], float((psi.residual(shown.z, V / alpha + (1 + e) * pull).max(axis=1) / scale).max())
                )
        flags[:, shown.t - 1] = compare(psi.structure(getattr(shown, point)), problem.codes)
    arrays = {key: np.array(values) for key, values in kept.items()}
    found = identification(
        StructureRecord(*flags), problem.margin, SIGMA, long_enough=control, distance=(marks, arrays["far"])
    )
    if control:
        return found
    parts = ("inclusion", inclusion(arrays["outside"], wrong)), ("estimate", estimate(marks, arrays["error"]))
    return all_hold(*parts, ("identification", found), ("the pure method", same(apart, steps, seeds)))


def same(apart: float, steps: int, seeds: int) -> Verdict:
    """Return the verdict on the largest difference of the optimizer's and the pure method's proximal points."""
    return decide(
        apart <= ROUNDING,
        (Assumption("steps", steps, steps > 0),),
        f"points of `manifold_id.methods` and of the optimizer differ by at most {apart:.1e}",
        f"at most {ROUNDING:g}",
        apart,
        seeds=seeds,
        samples=steps * seeds,
    )


def check(size: Size, seed: int) -> Verdict:
    """Judge both optimizers."""
    return all_hold(*_flat("RAMDA", run("RAMDA", size, seed)), *_flat("RMDA", run("RMDA", size, seed)))


def _flat(name: str, verdict: Verdict) -> list[tuple[str, Verdict]]:
    return [(name, replace(verdict, parts=()))]


def control(size: Size, seed: int) -> Verdict:
    """Use no average; and read the parameter under momentum."""
    return all_fail(
        ("ProxSGD", run("ProxSGD", size, seed, control=True)),
        ("RAMDA, momentum 0.1, the parameter", run("RAMDA", size, seed, point="w", momentum=0.1, control=True)),
        ("RMDA, momentum 0.1, the parameter", run("RMDA", size, seed, point="w", momentum=0.1, control=True)),
    )


CHECK = Check(RAMDA_SHIPPED, check, control, "the torch optimizers on a quadratic whose noise is known")
