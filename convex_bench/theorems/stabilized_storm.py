"""S-PStorm: the proximal points identify, the stabilized iterates never do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi

from convex_bench.theorems.case import Case, last_decades
from convex_bench.theorems.check import Check, Size
from convex_bench.theorems.instances import INSTANCES
from convex_bench.theorems.synthetic import Quadratic, gaussian
from manifold_id.methods import SPStorm
from manifold_id.methods.base import Oracle
from manifold_id.methods.storm import StormState
from manifold_id.regularizers.base import Regularizer
from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.curves import figure_of_runs
from manifold_id.theory.intervals import bootstrap, clopper_pearson, every, inside, log_slope
from manifold_id.theory.power import of_interval, rejected
from manifold_id.theory.structure_record import StructureRecord

Array = np.ndarray

STABILIZED_STORM = Theorem(
    name="stabilized-storm",
    title="S-PStorm identifies in its proximal points, not in its iterates",
    statement="x_{k+1} = x_k + zeta b_k (y_k - x_k), y_k = prox_{a psi}(x_k - a d_k), d_k the recursive momentum "
    "estimate, b_k = min(1/2, c/(k+1)): with probability at least 1 - eta_0 pi^2 / 6 the support of y_k is that "
    "of the solution for all k >= K = O(max(delta^-4, Delta^-4)). x_k is a convex combination of all past points "
    "and keeps their nonzeros.",
    latex=r"\Pr\big(\operatorname{supp}(y_k)=\operatorname{supp}(x^*)\ \forall k\ge K\big)\ge1-\eta_0\pi^2/6",
    source="Dai, Wang, Curtis and Robinson, AISTATS 2023 (poster and slides). Their K = max((C_1/delta)^4, "
    "(C_2/Delta)^4, ceil(2c - 1)) has constants C_1, C_2 that are given only up to unknown factors; the K used here is "
    "derived by the same argument.",
    measured="K with explicit constants, for noise that is Gaussian, additive and the same at x_k and x_{k-1} (as the "
    "estimator asks) and curvature h that is constant on each atom; a = mu / L^2 and c = 2 theta L^2 / (zeta mu^2) = "
    "16 with theta = 2, as the theorem asks. The estimator's error is then eps_k = (1 - b_k) eps_{k-1} + b_k xi_k, "
    "with a variance s_k^2 known at every k, about c^2 sigma^2 / ((2 c - 1) k): the ratio of its mean square to s_k^2 "
    "over the last 1.5 decades, 99 % interval within 6 % of 1; so is the exponent of its mean square, within 0.15 of "
    "-1, and that of |x_k - x*|^2, within 0.25 of -1. With bounds r_k that all errors obey with probability 1 - "
    "eta_0 pi^2 / 6 (eta_k = eta_0 / k^2, shared by the atoms), e_{k+1} = (1 - zeta b_k) e_k + zeta b_k (|1 - a h| e_k "
    "+ a r_k) bounds |x_k - x*|; y_k is right once |1/a - h| e_k + r_k <= delta off the support and |1 - a h| e_k + "
    "a r_k < |x*| on it. K is the first step from which this stays so. Coverage: the share of runs whose y_k has the "
    "right support at all steps from K to the end, its exact 95 % lower limit against 1 - eta_0 pi^2 / 6, for l1 and "
    "groups. The runs are finite: 'for all k' ends with them.",
    control="The coverage of the iterate x_k of the same runs. The law of the error, on the same steps, seeds and "
    "starts: without the correction by the gradient at x_{k-1}; with b_k = c / sqrt k; with constant b_k, which is "
    "plain momentum.",
)

ETA = 0.05  # eta_0: the promise is 1 - eta_0 pi^2 / 6 = 0.918
ROUNDING = 1e-12
PROMISE = 1 - ETA * np.pi**2 / 6


def error_bounds(b: Array, sigma: float, size: int, atoms: int) -> Array:
    """Return r_k, (T,): with probability PROMISE the estimator's error is at most r_k on every atom at every step.

    Its coordinates are N(0, s_k^2), s_1 = sigma, s_k^2 = (1 - b_k)^2 s_{k-1}^2 + b_k^2 sigma^2, so that the norm over
    the `size` coordinates of an atom is s_k times a chi variable. b is (T,).
    """
    deviation = error_law(b, sigma)
    return np.asarray(deviation * chi.isf(ETA / np.arange(1, len(b) + 1) ** 2 / atoms, size))


def promised_step(
    bounds: Array, b: Array, lr: float, zeta: float, *, start: Array, curvature: Array, margin: Array, size: Array
) -> int:
    """Return K, T + 1 if the condition still fails at the last step.

    Parameters
    ----------
    bounds, b
        r_k and b_k, (T,).
    lr, zeta
        a and zeta of the method.
    start, curvature
        |x_1 - x*| and h of every atom, (atoms,).
    margin, size
        delta_i of the off atoms, inf for active ones; |x*_i|, inf for off atoms; (atoms,).
    """
    contraction, drift = np.abs(1 - lr * curvature), np.abs(1 / lr - curvature)
    error, last = np.array(start, dtype=float), 0
    for k, (r, weight) in enumerate(zip(bounds, zeta * b, strict=True), 1):
        moved = contraction * error + lr * r
        if (drift * error + r > margin).any() or (moved >= size).any():
            last = k
        error = (1 - weight) * error + weight * moved
    return last + 1


def _large_enough(theta: float) -> Assumption:
    return Assumption("theta = c zeta mu^2 / (2 L^2)", theta, theta >= 2, "at least 2")


def coverage(record: StructureRecord, promised: int, margin: float, theta: float) -> Verdict:
    """Return the verdict: right at all steps k >= `promised` in at least the promised share of the runs."""
    covered = int((record.last_wrong < promised).sum())
    low, high = clopper_pearson(covered, record.seeds, 0.9)  # one-sided 95 %
    flags = {"false positives": record.false_positive, "false negatives": record.false_negative}
    line = Curve("K, from which the support is promised", np.full(2, float(promised)), np.array([0.0, 1.0]))
    figure = figure_of_runs("Runs with wrong support", flags, line)
    return decide(
        inside((low, high), low=PROMISE),
        (
            Assumption("margin", margin, margin > 0),
            _large_enough(theta),
            Assumption("K", promised, promised < record.steps, f"within the {record.steps} steps of the runs"),
        ),
        f"{covered} of {record.seeds} runs right from K = {promised} on, share [{low:.3f}, {high:.3f}], promised "
        f"{PROMISE:.3f} ({record.both()}; {record.steps} steps)",
        "95 % lower limit of the coverage >= 1 - eta_0 pi^2 / 6",
        covered / record.seeds,
        (low, high),
        record.seeds,
        record.wrong.size,
        evidence=(figure,),
        figures={"K": float(promised), **record.both().figures()},
    )


MARGIN, SIGMA, CURVATURE = 0.3, 0.15, (0.5, 1.0)  # mu and L of the instances
THETA, ZETA = 2.0, 1.0
METHOD = SPStorm(
    lr=CURVATURE[0] / CURVATURE[1] ** 2, c=2 * THETA * CURVATURE[1] ** 2 / (ZETA * CURVATURE[0] ** 2), zeta=ZETA
)
LAW, NOISE_SLOPE, POINT_SLOPE = 0.06, 0.15, 0.25  # how near to the law of the error, and to the exponents -1


def weights(steps: int) -> Array:
    """Return the b_k of METHOD, (steps,)."""
    return np.minimum(0.5, METHOD.c / np.arange(2.0, steps + 2))


def theta_of(problem: Quadratic) -> float:
    """Return theta of METHOD, c zeta mu^2 / (2 L^2), for the curvatures mu and L of an instance."""
    return METHOD.c * METHOD.zeta * float(np.min(problem.curvature) / np.max(problem.curvature)) ** 2 / 2


def error_law(b: Array, sigma: float) -> Array:
    """Return s_k, (T,): the standard deviation of a coordinate of the estimator's error."""
    deviation = np.empty(len(b))
    deviation[0] = sigma
    for k in range(1, len(b)):
        deviation[k] = np.hypot((1 - b[k]) * deviation[k - 1], b[k] * sigma)
    return deviation


def promised(problem: Quadratic, start: np.ndarray, steps: int) -> int:
    """Return the step from which the theorem's argument promises the support of this problem."""
    atoms, off = len(problem.codes), problem.codes <= 0
    b = weights(steps)
    return promised_step(
        error_bounds(b, SIGMA, problem.w.size // atoms, atoms),
        b,
        METHOD.lr,
        METHOD.zeta,
        start=np.linalg.norm((start - problem.w).reshape(atoms, -1), axis=1),
        curvature=np.broadcast_to(problem.curvature, problem.w.shape).reshape(atoms, -1)[:, 0],
        margin=np.where(off, problem.regularizer.margin(problem.w, -problem.dual), np.inf),
        size=np.where(off, np.inf, np.linalg.norm(problem.w.reshape(atoms, -1), axis=1)),
    )


def law(steps: Array, errors: Array, predicted: Array, distance: Array, theta: float) -> Verdict:
    """Return the verdict on the estimator's error and on the distance.

    Parameters
    ----------
    steps
        (k,).
    errors, predicted
        Mean square of a coordinate of the error of every run, (k, seeds), and its law s_k^2, (k,).
    distance
        |x_k - x*|^2, (k, seeds).
    theta
        Of the instance, c zeta mu^2 / (2 L^2).
    """
    seeds = errors.shape[1]
    ratio = bootstrap(lambda i: float((errors[:, i].mean(axis=1) / predicted).mean()), seeds)
    noise = bootstrap(lambda i: log_slope(steps, errors[:, i].mean(axis=1)), seeds)
    points = bootstrap(lambda i: log_slope(steps, distance[:, i].mean(axis=1)), seeds)
    ends = [(e.low, e.high) for e in (ratio, noise, points)]
    x = steps.astype(float)
    curves = (Curve("mean square over seeds", x, errors.mean(axis=1), kind="points"), Curve("law", x, predicted))
    return decide(
        every(
            inside(ends[0], 1 - LAW, 1 + LAW),
            inside(ends[1], -1 - NOISE_SLOPE, -1 + NOISE_SLOPE),
            inside(ends[2], -1 - POINT_SLOPE, -1 + POINT_SLOPE),
        ),
        (_large_enough(theta),),
        f"error {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] of its law, ~ k^{noise.value:.2f} "
        f"[{noise.low:.2f}, {noise.high:.2f}]; |x - x*|^2 ~ k^{points.value:.2f} [{points.low:.2f}, {points.high:.2f}]",
        f"99 % intervals: ratio within {LAW:.0%} of 1, exponents within {NOISE_SLOPE:g} and {POINT_SLOPE:g} of -1",
        ratio.value,
        ends[0],
        seeds,
        errors.size,
        evidence=(Evidence("Estimator's error", "step", "mean square of a coordinate", curves, "log", "log"),),
        power=(
            of_interval("factor on the error's variance", 1.0, ends[0], factor=LAW),
            of_interval("exponent of the error's variance", -1.0, ends[1], width=NOISE_SLOPE),
            of_interval("exponent of |x - x*|^2", -1.0, ends[2], width=POINT_SLOPE),
        ),
    )


def case_of(kind: str, size: Size, seed: int, method: SPStorm = METHOD) -> Case:
    """Return runs from a start one away from the solution."""
    problem = INSTANCES[kind](MARGIN, seed)
    return Case(problem, method, problem.w + 1.0, size.steps(3000), size.seeds, seed, gaussian(SIGMA))


def judge_law(case: Case) -> Verdict:
    """Judge the estimator's error at x_{k-1} and the distance of x_k, of three times as many runs."""
    case = replace(case, seeds=3 * case.seeds)
    problem, marks = case.problem, last_decades(case.steps)
    assert isinstance(problem, Quadratic)
    errors, distance = [], []
    before = np.broadcast_to(case.start, (case.seeds, *case.start.shape))
    for state in case.states():
        if state.t in marks:
            errors.append(((state.d - problem.gradient(before)) ** 2).mean(axis=1))
            distance.append(((state.w - problem.w) ** 2).sum(axis=1))
        before = state.w
    predicted = error_law(weights(case.steps), SIGMA)[marks - 1] ** 2
    return law(marks, np.array(errors), predicted, np.array(distance), theta_of(problem))


def judge_update(case: Case) -> Verdict:
    """Judge y_k = prox(x_k - a d_k) and x_{k+1} = x_k + zeta b_k (y_k - x_k) at every step."""
    method, psi, x, off_by = case.method, case.problem.regularizer, case.start, 0.0
    b, samples = weights(case.steps), 0
    for state in case.states():
        y = psi.prox(x - method.lr * state.d, method.lr)
        after = x + method.zeta * b[state.t - 1] * (y - x)
        off_by = max(off_by, float(np.abs(state.z - y).max()), float(np.abs(state.w - after).max()))
        x, samples = state.w, samples + state.w.size
    return decide(
        off_by <= ROUNDING,
        (_large_enough(theta_of(case.problem)),),  # type: ignore[arg-type]
        f"points off their formulas by {off_by:.1e}",
        f"at most {ROUNDING:g}",
        off_by,
        seeds=case.seeds,
        samples=samples,
    )


def judge_coverage(case: Case, point: str) -> Verdict:
    """Judge y ("z" of the state) or x ("w") from the promised step on."""
    record, problem = case.record(point), case.problem
    assert isinstance(problem, Quadratic)
    step = promised(problem, case.start, case.steps)
    judge = lambda k: coverage(record, int(k), problem.margin, theta_of(problem))  # noqa: E731
    found = judge(step)
    early = [step * 0.5**k for k in range(1, 12)]
    power = rejected("K", step, judge, below=early)
    return replace(found, power=(power,))


@dataclass(frozen=True)
class Altered(SPStorm):
    """S-PStorm as it is not: d_k without the correction by the gradient at x_{k-1}, b_k = c k^-power, or constant."""

    correction: bool = True
    power: float = 1.0
    constant: float | None = None

    def update(self, oracle: Oracle, state: StormState, regularizer: Regularizer) -> StormState:
        """Take one step."""
        b = min(0.5, self.c / (state.t + 2) ** self.power) if self.constant is None else self.constant
        g = oracle(state.w)
        old = oracle(state.previous) if self.correction else g
        d = g if state.t == 0 else g + (1 - b) * (state.d - old)
        z = regularizer.prox(state.w - self.lr * d, self.lr)
        return StormState(state.t + 1, (1 - self.zeta * b) * state.w + self.zeta * b * z, z, d, state.w)


ALTERED = {
    "no correction": Altered(METHOD.lr, METHOD.c, ZETA, correction=False),
    "b = c / sqrt k": Altered(METHOD.lr, METHOD.c, ZETA, power=0.5),
    "plain momentum, b = 0.05": Altered(METHOD.lr, METHOD.c, ZETA, correction=False, constant=0.05),
}


def check(size: Size, seed: int) -> Verdict:
    """Judge the proximal points, and the law of the estimator's error."""
    kinds = ("l1", "groups")
    return all_hold(
        *((kind, judge_coverage(case_of(kind, size, seed), "z")) for kind in kinds),
        *((f"{kind}, update", judge_update(case_of(kind, size, seed))) for kind in kinds),
        *((f"{kind}, law of the error", judge_law(case_of(kind, size, seed))) for kind in kinds),
    )


def control(size: Size, seed: int) -> Verdict:
    """Judge the iterates, and three other estimators by the same law."""
    return all_fail(
        *((f"iterate, {kind}", judge_coverage(case_of(kind, size, seed), "w")) for kind in ("l1", "groups")),
        *((name, judge_law(case_of("l1", size, seed, method))) for name, method in ALTERED.items()),
    )


SPECIAL = "quadratics with curvature constant on each atom and Gaussian noise, from which its K is computed"
CHECK = Check(STABILIZED_STORM, check, control, SPECIAL)
