"""RMDA with a constant step: on the identified manifold it is SGD, and its points fluctuate at a known size."""

from __future__ import annotations

import numpy as np

from convex_bench.theorems.case import Case, last_decades
from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import l1_quadratic
from convex_bench.theorems.synthetic import gaussian
from manifold_id.methods import RMDA
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.intervals import bootstrap, every, inside, log_slope
from manifold_id.theory.power import of_interval
from manifold_id.theory.structure_record import last_true

Array = np.ndarray

PLATEAU = Theorem(
    name="rmda-plateau",
    title="With a constant step RMDA does not converge on its manifold: it fluctuates at a known size",
    statement="psi = lam |.|_1, s_t = eta sqrt t, beta_t = sqrt t. While coordinate i keeps its sign, z_t - z_{t-1} "
    "= -(1 - sqrt((t-1)/t)) (z_{t-1} - W^0) - eta (g_t + lam sgn z): SGD with step eta and a pull 1/(2 t) to the "
    "centre. Under noise of variance sigma^2 and curvature h its variance tends to eta sigma^2 / (h (2 - eta h)), not "
    "to 0, and |z_t - z_{t-1}| alpha_t / s_t grows like t; the off coordinates are identified all the same.",
    latex=r"\operatorname{Var}(z_{t,i})\to\frac{\eta\sigma^2}{h_i(2-\eta h_i)},\qquad"
    r"\frac{\|z_t-z_{t-1}\|}{s_t/\alpha_t}\sim t",
    source="Derived: subtract the subproblem's optimality conditions of two successive steps; the variance is that of "
    "the autoregression z -> (1 - eta h) z - eta xi. So the points' convergence, which the identification theorem of "
    "Huang and Lee (ICLR 2022) assumes, is not there at constant eta.",
    measured="The mean square of z_t - W* on the support over the second half of the runs, divided by the prediction, "
    "coordinate by coordinate, for three eta: its 99 % interval over seeds within 5 % of 1. The exponent of |z_t - "
    "z_{t-1}| alpha_t / s_t over the last 1.5 decades: its interval within 0.1 of 1. No run may be off the "
    "manifold in its second half.",
    control="A step eta t^-0.7 on the same steps, seeds and starts: the points converge, and the mean square falls "
    "below the plateau.",
)

WIDTH, NEAR = 0.05, 0.1
ETAS = (0.05, 0.1, 0.2)
SIGMA, MARGIN, EVERY = 0.3, 0.5, 25


def plateau(
    squares: Array, predicted: Array, steps: Array, ratio: Array, wrong: Array, *, control: bool = False
) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    squares, predicted
        Mean of (z_t - w*)^2 over the second half of the run on every active coordinate, (seeds, coordinates), and the
        variances predicted, (coordinates,).
    steps, ratio
        (k,), and |z_t - z_{t-1}| alpha_t / s_t there, (k, seeds).
    wrong
        (steps, seeds) where the structure is wrong.
    control
        Whether the step falls: recorded as the assumption that is broken.
    """
    seeds, half = len(squares), len(wrong) // 2
    height = bootstrap(lambda i: float((squares[i].mean(axis=0) / predicted).mean()), seeds)
    growth = bootstrap(lambda i: log_slope(steps, ratio[:, i].mean(axis=1)), seeds)
    late = int((last_true(wrong) > half).sum())
    x = steps.astype(float)
    figure = Evidence(
        "Moves against the weight of a new gradient",
        "step",
        "|z_t - z_{t-1}| alpha / s",
        (
            Curve("mean over seeds", x, ratio.mean(axis=1), kind="points"),
            Curve("exponent 1", x, ratio[0].mean() * x / x[0]),
        ),
        "log",
        "log",
    )
    return decide(
        every(
            inside((height.low, height.high), 1 - WIDTH, 1 + WIDTH),
            inside((growth.low, growth.high), 1 - NEAR, 1 + NEAR),
            late == 0,
        ),
        (Assumption("constant step", float(not control), not control, "eta_t = eta", broken=control),),
        f"mean square {height.value:.3f} [{height.low:.3f}, {height.high:.3f}] of the plateau predicted; |dz| alpha / "
        f"s ~ t^{growth.value:.2f} [{growth.low:.2f}, {growth.high:.2f}]; {late} runs off the manifold late",
        f"99 % interval of the ratio within {WIDTH:.0%} of 1; that of the exponent within {NEAR:g}; 0 runs late",
        height.value,
        (height.low, height.high),
        seeds,
        squares.size,
        evidence=(figure,),
        power=(
            of_interval("factor on the variance", 1.0, (height.low, height.high), factor=WIDTH),
            of_interval("exponent of |dz| alpha / s", 1.0, (growth.low, growth.high), width=NEAR),
        ),
    )


def judge(case: Case, *, control: bool = False) -> Verdict:
    """Judge the runs of RMDA, whose first step size gives the prediction."""
    problem, on, eta = case.problem, ~case.off, case.method.lr
    h = np.broadcast_to(problem.curvature, problem.w.shape)[on]  # type: ignore[union-attr]
    predicted = eta * SIGMA**2 / (h * (2 - eta * h))
    squares, kept = np.zeros((case.seeds, int(on.sum()))), 0
    marks, ratio = last_decades(case.steps), []
    wrong = np.zeros((case.steps, case.seeds), dtype=bool)
    before = np.broadcast_to(case.start, (case.seeds, *case.start.shape))
    for state in case.states():
        wrong[state.t - 1] = (problem.regularizer.structure(state.z) != problem.codes).any(axis=1)
        if state.t in marks:
            share = eta * state.t ** (0.5 - case.method.decay) / state.weight
            ratio.append(np.linalg.norm((state.z - before)[:, on], axis=1) / share)
        if state.t > case.steps // 2 and state.t % EVERY == 0:
            squares, kept = squares + (state.z - problem.w)[:, on] ** 2, kept + 1
        before = state.z
    return plateau(squares / kept, predicted, marks, np.array(ratio), wrong, control=control)


def additive(method: RMDA, size: Size, seed: int) -> Case:
    """Return runs with Gaussian noise from the solution."""
    problem = l1_quadratic(MARGIN, seed)
    return Case(problem, method, problem.w, size.steps(2000), 4 * size.seeds, seed, gaussian(SIGMA))


def check(size: Size, seed: int) -> Verdict:
    """Test three constant steps."""
    return all_hold(*((f"eta {eta:g}", judge(additive(RMDA(lr=eta), size, seed))) for eta in ETAS))


def control(size: Size, seed: int) -> Verdict:
    """Let the step fall."""
    cases = ((eta, additive(RMDA(lr=eta, decay=0.7), size, seed)) for eta in ETAS)
    return all_fail(*((f"eta {eta:g} t^-0.7", judge(case, control=True)) for eta, case in cases))


CHECK = Check(
    PLATEAU, check, control, "quadratics with known curvature and variance of the noise, from which it predicts"
)
