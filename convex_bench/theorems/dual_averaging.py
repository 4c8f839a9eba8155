"""Dual averaging: the dual average is a subgradient at every step and decides the structure."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.synthetic import gaussian
from manifold_id.methods import RDA, RMDA
from manifold_id.methods.base import Method
from manifold_id.regularizers import L1, Box, GroupLasso, NonnegativeL1, NuclearNorm
from manifold_id.regularizers.base import Regularizer
from manifold_id.theory.base import Assumption, Curve, Evidence, Power, Theorem, Verdict, decide
from manifold_id.theory.combine import all_hold
from manifold_id.theory.curves import log_steps
from manifold_id.theory.intervals import every

Array = np.ndarray

DUAL_AVERAGING = Theorem(
    name="dual-averaging-inclusion",
    title="Dual averaging identifies through the dual average alone",
    statement="z_t = argmin <V_t, w> + alpha_t psi(w) + beta_t |w - w_0|^2 / 2. Then u_t = -V_t/alpha_t - "
    "(beta_t/alpha_t)(z_t - w_0) lies in d psi(z_t); an atom i has z_{t,i} = w*_i iff -V_{t,i}/alpha_t + "
    "(beta_t/alpha_t)(w_{0,i} - w*_i) lies in d psi_i(w*_i); and if z_t converges with V_t/alpha_t - grad f(z_t) "
    "-> 0 and beta_t/alpha_t -> 0, its limit is stationary.",
    latex=r"-\tfrac{V_t}{\alpha_t}-\tfrac{\beta_t}{\alpha_t}(z_t-w_0)\in\partial\psi(z_t),\qquad "
    r"z_{t,i}=w_i^*\iff-\tfrac{V_{t,i}}{\alpha_t}+\tfrac{\beta_t}{\alpha_t}(w_{0,i}-w_i^*)\in\partial\psi_i(w_i^*)",
    source="Derived. The first two statements are the optimality condition of the subproblem. The third, the "
    "stationarity of limits of Huang and Lee (ICLR 2022), takes limits in the inclusion: V_t/alpha_t -> grad "
    "f(z*), the pull vanishes, and the graph of d psi is closed.",
    measured="The distance of u_t to d psi(z_t), relative to the size of its terms, at every step and seed (for "
    "the nuclear norm, whose singular vectors are ill-conditioned at small singular values, |z - prox_psi(z + u)|, "
    "which is 0 iff u lies there); the "
    "criterion against the observed structure for every atom; and the ratio of the stationarity residual |z - "
    "prox_psi(z - grad f(z))| averaged over the last quarter to that of the start, with noise small enough for "
    "its plateau not to hide the limit.",
    control="beta growing like alpha (damping 3/2): the pull to the centre does not die out and the limit is "
    "biased towards w_0. The inclusion still holds, stationarity must not.",
)

ROUNDING = 1e-10
STATIONARY = 0.1


def dual_averaging(
    inclusion: Array,
    disagreements: int,
    comparisons: int,
    stationarity: Array,
    ratio: Array,
    *,
    long_enough: bool = False,
    power: tuple[Power, ...] = (),
) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    inclusion
        Relative inclusion residuals, (steps, seeds).
    disagreements, comparisons
        Atoms and steps at which criterion and structure differ, and all those compared. Atoms whose criterion lies
        within rounding of the boundary are to be left out of both.
    stationarity
        Residual of stationarity at every step, (steps, seeds).
    ratio
        beta_t / alpha_t at every step, (steps,); reported, not assumed: it is what the control breaks.
    long_enough
        Whether the residual of stationarity is known to fall this far within the runs; else, as noise may keep it up
        while z_t does not converge, nothing is concluded where it has not.
    """
    steps, seeds = stationarity.shape
    shrunk = stationarity[-max(1, steps // 4) :].mean(axis=0) / stationarity[0]
    worst, largest = float(inclusion.max()), float(np.quantile(shrunk, 0.95))
    stationary = largest <= STATIONARY or (False if long_enough else None)
    passed = every(worst <= ROUNDING, disagreements == 0, stationary)
    compared = f"{disagreements} of {comparisons} atoms disagree with the criterion"
    if not comparisons:
        compared = "criterion not tested here: psi has no atoms of its own coordinates"
    t = log_steps(steps)
    low, median, high = np.quantile(stationarity[t - 1], [0.05, 0.5, 0.95], axis=1)
    figure = Evidence(
        "Residual of stationarity",
        "step",
        "|z - prox(z - grad f(z))|",
        (
            Curve("median, 5-95 % of seeds", t.astype(float), median, low, high),
            Curve("beta / alpha", t.astype(float), ratio[t - 1]),
        ),
        "log",
        "log",
    )
    return decide(
        passed,
        (Assumption("initial residual > 0", float(stationarity[0].min()), bool(stationarity[0].min() > 0)),),
        f"inclusion to {worst:.1e}, {compared}, the residual falls to {largest:.2g} of its start",
        f"inclusion <= {ROUNDING:g}, 0 disagreements, 95 % of seeds below {STATIONARY:g} of the initial residual",
        largest,
        (float(shrunk.min()), float(shrunk.max())),
        seeds,
        comparisons or inclusion.size,
        evidence=(figure,),
        power=power,
        figures={"inclusion": worst, "last beta / alpha": float(ratio[-1])},
    )


ATOMS = (L1, NonnegativeL1, Box, GroupLasso)  # atoms have coordinates: the criterion is read off the margin at w*
WRONG = (1e-9, 1e-6, 1e-3, 1e-1)  # relative errors of beta_t
KINDS = {"l1": 600, "nonnegative": 600, "groups": 600, "box": 600, "total variation": 600, "nuclear norm": 300}


def judge(case: Case, *, control: bool = False) -> Verdict:
    """Judge every step of the runs."""
    problem, psi, star, off = case.problem, case.problem.regularizer, case.problem.w, case.off
    axes = tuple(range(1, star.ndim + 1))
    inclusion, stationarity, ratios, differ, compared = [], [], [], 0, 0
    probed, off_by, nearest = (
        set(log_steps(case.steps)[::8].tolist()),
        np.zeros(len(WRONG)),
        np.array([-np.inf, np.inf]),
    )
    for state in case.states():
        mean, ratio, centre = case.dual_average(state)
        u = mean + ratio * (state.z - centre)
        scale = np.abs(mean).max(axis=axes) + ratio * np.abs(state.z - centre).max(axis=axes) + 1.0
        inclusion.append(_outside(psi, state.z, u) / scale)
        if state.t in probed:
            pull = ratio * (state.z - centre)
            wrong = [_outside(psi, state.z, u + e * pull) / scale for e in WRONG]
            off_by = np.maximum(off_by, [float(w.max()) for w in wrong])
        step = state.z - psi.prox(state.z - problem.gradient(state.z), 1.0)
        stationarity.append(np.linalg.norm(step.reshape(case.seeds, -1), axis=1))
        ratios.append(ratio)
        if isinstance(psi, ATOMS):
            there = np.broadcast_to(star, state.z.shape)
            depth = psi.margin(there, mean - ratio * (centre - star))[:, off]
            clear = np.abs(depth) > 1e-10
            held = (psi.structure(state.z) == problem.codes)[:, off]
            differ += int((((depth > 0) != held) & clear).sum())
            compared += int(clear.sum())
            nearest[0] = max(nearest[0], float(-depth[clear & held].min(initial=np.inf)))
            nearest[1] = min(nearest[1], float(-depth[clear & ~held].max(initial=-np.inf)))
    arrays = np.array(stationarity), np.array(ratios)
    seen = [e for e, off in zip(WRONG, off_by, strict=True) if off > ROUNDING]
    power: tuple[Power, ...] = (Power("relative error of beta", 0.0, above=min(seen, default=np.nan)),)
    if compared:
        power += (Power("shift of the criterion", 0.0, *nearest.tolist()),)
    return dual_averaging(np.array(inclusion), differ, compared, *arrays, long_enough=control, power=power)


def _outside(psi: Regularizer, z: Array, u: Array) -> Array:
    """Return how far u is from d psi(z), one number a seed."""
    if isinstance(psi, NuclearNorm):
        return np.abs(z - psi.prox(z - u, 1.0)).max(axis=tuple(range(1, z.ndim)))
    return np.asarray(psi.residual(z, u).max(axis=-1))


def additive(kind: str, method: Method, size: Size, seed: int) -> Case:
    """Return runs with Gaussian noise, off the solution by 3 in every coordinate at the start."""
    problem, seeds = INSTANCES[kind](0.3, seed), max(10, size.seeds // 5)
    return Case(problem, method, problem.w + 3.0, size.steps(KINDS[kind]), seeds, seed, gaussian(0.05))


def check(size: Size, seed: int) -> Verdict:
    """Test RMDA and RDA."""
    parts = [(f"RMDA, {kind}", judge(additive(kind, RMDA(lr=0.3), size, seed))) for kind in KINDS]
    return all_hold(*parts, ("RDA, l1", judge(additive("l1", RDA(gamma=0.5), size, seed))))


def like_alpha(case: Case) -> Verdict:
    """Let beta grow like alpha, under RMDA with the method's step size."""
    lr = getattr(case.method, "lr", 0.1)
    return judge(case.with_method(RMDA(lr=lr, damping=1.5)), control=True)


def control(size: Size, seed: int) -> Verdict:
    """Let beta grow like alpha."""
    return like_alpha(additive("l1", RMDA(lr=0.3), size, seed))


CHECK = Check(DUAL_AVERAGING, check, control, Own(judge, like_alpha, (RMDA, RDA), nondegenerate=False))
