"""RDA for training sparse networks: what the update is, what zero starts do, and what a mask does."""

from __future__ import annotations

import numpy as np

from manifold_id.theory.base import Assumption, Theorem, Verdict, decide, no_violations

Array = np.ndarray

SPARSE_CNN = Theorem(
    name="rda-for-networks",
    title="RDA for sparse networks: SDA is perturbed SGD, zero starts are stuck, masks only shrink",
    statement="(Lemma 1) SDA with beta_t = gamma sqrt t satisfies w_{t+1} = sqrt((t-1)/t) w_t - g_t / (gamma "
    "sqrt t) for t >= 2, and w_2 = -g_1 / gamma whatever w_1 is. (17)-(18) RDA's entry is zero iff |gbar_{t,i}| "
    "<= lam: a constant threshold, where proximal SGD's is eta_t lam. (Proposition 1) A ReLU network without "
    "output bias has gradient zero at w = 0, so that RDA from w_1 = 0 stays at 0. Adaptive sparse retraining: "
    "mask <- mask and (w != 0) never grows, a false zero is never undone.",
    latex=r"w_{t+1}=\sqrt{\tfrac{t-1}t}\,w_t-\frac{g_t}{\gamma\sqrt t};\qquad [w_{t+1}]_i=0\iff|[\bar "
    r"g_t]_i|\le\lambda;\qquad\nabla_w\ell(h(x;0))=0",
    source="Jia, Zhao, Zhang, He and Xu, Comput. Optim. Appl. 77 (2020), Lemma 1, (17)-(19), Proposition 1 "
    "and section 4.2; the formulas are reconstructed by algebra from the definition of the methods.",
    measured="The identity's largest relative error; disagreements between zeros and the criterion; the largest "
    "gradient and iterate of a two-layer ReLU network run by RDA from zero, while the same network from a random "
    "start lowers its loss; growth of the mask and revivals of a planted false zero.",
    control="The step t = 1 read as SGD's, which keeps w_1 != 0; an activation with sigma(0) != 0, whose zero "
    "start moves; retraining without the mask, which revives the planted zero.",
)

ROUNDING = 1e-12


def identity(error: Array) -> Verdict:
    """Return the verdict on an identity from its relative errors, one for each step and seed."""
    worst = float(error.max())
    return decide(
        worst <= ROUNDING,
        (Assumption("steps", error.size, error.size > 0),),
        f"largest relative error {worst:.1e}",
        f"<= {ROUNDING:g}",
        worst,
        seeds=error.shape[1],
        samples=error.size,
    )


def criterion(zero: Array, mean: Array, lam: float) -> Verdict:
    """Return the verdict on (18): zeros of w_{t+1} against |gbar_t| <= lam, ties to rounding left out."""
    clear = np.abs(np.abs(mean) - lam) > 1e-12 * lam
    return no_violations(
        int(((zero != (np.abs(mean) <= lam)) & clear).sum()), int(clear.sum()), "entries", seeds=zero.shape[1]
    )


def stuck(largest_gradient: float, largest_entry: float, loss_drop: float) -> Verdict:
    """Return the verdict on the zero start: gradient and iterates exactly 0, while a random start lowers the loss."""
    passed = largest_gradient == 0 and largest_entry == 0
    return decide(
        passed,
        (Assumption("loss lowered from a random start", loss_drop, loss_drop > 0.05),),
        f"from zero: largest gradient {largest_gradient:.2g}, largest weight {largest_entry:.2g}; "
        f"a random start lowers the loss by {loss_drop:.2f}",
        "exactly 0",
        largest_gradient,
        seeds=1,
        samples=1,
    )


def one_way(active: Array, planted_zero: Array) -> Verdict:
    """Return the verdict on retraining: active (steps, weights) boolean, and which weights were set to zero falsely."""
    grown = int((active[1:] & ~active[:-1]).sum())
    revived = int(active[:, planted_zero].any(axis=0).sum())
    return decide(
        grown + revived == 0,
        (Assumption("planted zeros", int(planted_zero.sum()), bool(planted_zero.any())),),
        f"{grown} weights came back, {revived} of {int(planted_zero.sum())} planted zeros revived",
        "0",
        float(grown + revived),
        seeds=1,
        samples=active.size,
    )
