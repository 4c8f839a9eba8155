"""Local linear convergence: once on the manifold, the rate is that of the Hessian restricted to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convex_bench.engine import run as run_engine
from convex_bench.ground_truth import solve
from convex_bench.problem import Problem
from convex_bench.problem.planting import planted
from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.rows import Rows
from manifold_id.methods import FISTA, ProxGradient, ProxSAGA, ProxSVRG
from manifold_id.methods.base import Method
from manifold_id.regularizers import L1
from manifold_id.theory.base import Assumption, Curve, Evidence, Power, Theorem, Verdict, decide, unmet
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.power import of_interval
from manifold_id.theory.structure_record import LastErrors, last_true

Array = np.ndarray

LOCAL_RATE = Theorem(
    name="local-linear-rate",
    title="After identification the rate is set by the restricted Hessian",
    statement="Forward-backward with step g < 2/L on polyhedral psi with restricted injectivity: after "
    "identification |x_k - x*| falls at the rate rho = max(|1 - g lam_min|, |1 - g lam_max|), lam the "
    "eigenvalues of the Hessian on the tangent space. FISTA with g = 1/L: its slowest component turns by "
    "arccos(sqrt rho) a step and falls at the rate sqrt(rho) > rho. SAGA with g = 1/(3 L): at most rho = sqrt(1 - "
    "min(1/(4 n), lam_min/(3 L))) a step, L = max_i L_i. Prox-SVRG with g < 1/(4 L) and epochs of P steps: the gap "
    "falls at least by 1 / (lam_min g (1 - 4 L g) P) + 4 L g (P + 1) / ((1 - 4 L g) P) an epoch.",
    latex=r"\lim\frac{\|x_{k+1}-x^*\|}{\|x_k-x^*\|}=\rho\big(I-\gamma P_T\nabla^2f(x^*)P_T\big)\quad\text{on "
    r"}T,\qquad z^2-2\rho z+\rho=0\ \text{for FISTA}",
    source="Forward-backward: Liang, Fadili and Peyre (2017); for l1 in a line: after identification x_{k+1} - x* = "
    "(I - g H_T)(x_k - x*), the power method on the symmetric I - g H_T. The SAGA constant is that of the "
    "code of Poon, Liang and Schoenlieb (ICML 2018); that of SVRG is Xiao and Zhang (2014), with the "
    "curvature on the manifold in place of the strong convexity. FISTA: derived; once its momentum is near "
    "1, the component along an eigenvalue lam of H_T obeys x_{k+1} = eta (2 x_k - x_{k-1}), eta = 1 - g lam, "
    "whose roots are sqrt(eta) exp(+-i arccos sqrt(eta)).",
    measured="The slope of log |x_k - x*| between identification and 1e-12, last half of that range, against "
    "log rho: within 2 % for the slowest of ten random starts of forward-backward, all with a large component along "
    "the slowest eigenvector (without it a start is faster, as the rate is an upper limit); at most the bound for SAGA "
    "and prox-SVRG, for every seed (SVRG's constant is stated for averaged snapshots, and measured with the last "
    "iterates that the method takes; it is far above what is observed). FISTA after identification: the mean distance "
    "of the sign changes of its component along the slowest eigenvector, against pi / arccos(sqrt rho) within 2 %; "
    "and forward-backward, later on the manifold from the same start, overtakes it on the way to 1e-12.",
    control="Before identification: a start a hundred times as far away, on the steps with more coordinates active "
    "than there are rows. The Hessian on those is singular, only the threshold moves the point in its kernel, by a "
    "constant length a step, and the distance hardly falls by a factor. And with two equal active columns, where the "
    "restricted Hessian is singular, rho = 1, and the iterates still converge to their own limit at another rate.",
)

TOLERANCE = 0.02


def last_half(start: int, stop: int) -> tuple[int, int]:
    """Return the last half of the steps start .. stop, where the slowest component is alone."""
    return start + (stop - start) // 2, stop


def local_rate(distance: Array, window: tuple[int, int], rho: float, last: LastErrors | None = None) -> Verdict:
    """Return the verdict on forward-backward: distance (K + 1,) from x_0, fitted on the steps of `window`.

    `last` are the last points with wrong structure, reported.
    """
    steps = np.arange(*window)
    slope = float(np.polyfit(steps, np.log(distance[steps]), 1)[0])
    expected = float(np.log(rho))
    error = abs(slope - expected) / max(abs(expected), 1e-3)  # where rho = 1, any rate that differs by 1e-3
    k = np.unique(np.linspace(0, len(distance) - 1, 200).astype(int))
    line = distance[window[0]] * rho ** (k - window[0])
    figure = Evidence(
        "Distance to the solution",
        "step",
        "|x_k - x*|",
        (Curve("forward-backward", k.astype(float), distance[k]), Curve("predicted rate", k.astype(float), line)),
        yscale="log",
    )
    return decide(
        error <= TOLERANCE,
        (Assumption("steps fitted", len(steps), len(steps) >= 10),),
        f"rate {np.exp(slope):.6f} observed, {rho:.6f} predicted (log rates differ by {error:.1%})",
        "log rate within 2 %",
        error,
        seeds=1,
        samples=len(steps),
        evidence=(figure,),
        figures={} if last is None else last.figures(),
        power=(of_interval("log rate", expected, (slope, slope), factor=-TOLERANCE),),
    )


def within_bound(steps: Array, distance: Array, bound: float) -> Verdict:
    """Return the verdict on a linear bound: distance (k, seeds) at `steps`, no slope of a seed above log bound."""
    slopes = np.polyfit(steps, np.log(distance), 1)[0]
    low, middle, high = float(slopes.min()), float(np.median(slopes)), float(slopes.max())
    return decide(
        high <= np.log(bound),
        (Assumption("rho < 1", bound, bound < 1), Assumption("distances fitted", len(steps), len(steps) >= 3)),
        f"rate {np.exp(middle):.6f} observed [{np.exp(low):.6f}, {np.exp(high):.6f}], bound {bound:.6f}",
        "log rate of every seed <= log of the bound",
        middle,
        (low, high),
        distance.shape[1],
        distance.size,
        power=(Power("rate of the bound", bound, below=float(np.exp(high))),),
    )


def svrg_factor(lipschitz: float, curvature: float, step: float, epoch: int) -> float:
    """Return the factor of the gap an epoch of prox-SVRG (Xiao and Zhang 2014, Theorem 3.1); step < 1/(4 lipschitz)."""
    rest = 1 - 4 * lipschitz * step
    return 1 / (curvature * step * rest * epoch) + 4 * lipschitz * step * (epoch + 1) / (rest * epoch)


def oscillation(component: Array, rho: float, finished: tuple[int, int]) -> Verdict:
    """Return the verdict on FISTA: the sign changes of its slowest component, and that it is overtaken.

    Parameters
    ----------
    component
        <v, x_k - x*> at the steps after identification, (k,), v the eigenvector of rho.
    rho
        The local rate of forward-backward.
    finished
        Steps after which FISTA and forward-backward, from the same start, stay below 1e-12.
    """
    before = np.flatnonzero(component[1:] * component[:-1] < 0)
    zeros = before + component[before] / (component[before] - component[before + 1])
    observed = float(np.diff(zeros).mean()) if len(zeros) > 1 else np.inf
    predicted = float(np.pi / np.arccos(np.sqrt(rho)))
    error = abs(observed / predicted - 1)
    k = np.arange(len(component), dtype=float)
    curves = (
        Curve("|component| of FISTA", k, np.abs(component)),
        Curve("predicted envelope", k, np.abs(component).max() * rho ** (k / 2)),
    )
    return decide(
        error <= TOLERANCE and finished[1] < finished[0],
        (Assumption("sign changes", len(zeros), len(zeros) >= 10),),
        f"a sign change each {observed:.3f} steps observed, {predicted:.3f} predicted; at 1e-12 after "
        f"{finished[0]} steps, forward-backward after {finished[1]}",
        "within 2 %; forward-backward first",
        error,
        seeds=1,
        samples=len(zeros),
        power=(of_interval("steps between sign changes", predicted, (observed, observed), factor=TOLERANCE),),
        evidence=(Evidence("Slowest component after identification", "step", "|component|", curves, yscale="log"),),
    )


FLOOR = 1e-12


class _Exact:
    """The exact gradient for a batch of points: H w + c of a squared loss on few columns."""

    def __init__(self, problem: Problem) -> None:
        self.full = problem.gradient
        if problem.loss.name == "squared" and problem.shape[0] <= 1000:
            hessian, linear = problem.hessian(np.zeros(problem.shape)), problem.gradient(np.zeros(problem.shape))
            self.full = lambda w: w @ hessian + linear


def _trajectory(problem: Problem, method: ProxGradient, steps: int, starts: Array) -> Array:
    """Return the points of every start, (steps, starts, p)."""
    state, points, oracle = method.init(starts), [], _Exact(problem)
    for _ in range(steps):
        points.append(state.w)
        state = method.update(oracle, state, problem.regularizer)  # type: ignore[arg-type]
    return np.array(points)


def _settled(points: Array, star: Array) -> int:
    """Return the first step from which the support is that of `star`."""
    wrong = ((points != 0) != (star != 0)).any(axis=1)
    return len(wrong) - int(wrong[::-1].argmax()) if wrong.any() else 0


def _instance(seed: int) -> Problem:
    return planted(
        n=60, groups=80, group_size=1, active=8, margin=0.1, loss="squared", noise=0.3, correlation=0.5, seed=seed
    ).problem


def _slowest(problem: Problem, lr: float | None = None) -> tuple[float, Array]:
    """Return rho of forward-backward with step lr, 1/L by default, at the solution, and its eigenvector, zero off the
    support."""
    star, vector = solve(problem).w, np.zeros(problem.shape)
    active = np.flatnonzero(star)
    eigen, vectors = np.linalg.eigh(problem.hessian(star, active))
    factors = np.abs(1 - eigen * (1 / problem.lipschitz() if lr is None else lr))
    slowest = int(factors.argmax())
    vector[active] = vectors[:, slowest]
    return float(factors[slowest]), vector


def _plain(
    problem: Problem, starts: Array, steps: int = 1500, lr: float | None = None
) -> tuple[Array, LastErrors, tuple[int, int]]:
    """Return (distance, last points with wrong structure, window of the fit) of forward-backward.

    Of the starts the slowest one is returned, as the rate is an upper limit.
    """
    method = ProxGradient(1 / problem.lipschitz() if lr is None else lr)
    points = _trajectory(problem, method, steps, starts)
    ends = points[-1]
    for _ in range(2):
        ends = _trajectory(problem, method, steps, ends)[-1]
    distances = np.linalg.norm(points - ends, axis=2)
    slowest = int((distances > FLOOR).sum(axis=0).argmax())
    stop = int((distances[:, slowest] > FLOOR).sum())
    active, star = points[:, slowest] != 0, ends[slowest] != 0
    last = LastErrors(*(last_true(wrong.any(axis=1)[:, None]) for wrong in (active & ~star, ~active & star)))
    return distances[:, slowest], last, last_half(_settled(points[:, slowest], ends[slowest]), stop)


def _random_starts(problem: Problem, seed: int, count: int = 10) -> Array:
    return np.random.default_rng(seed).standard_normal((count, *problem.shape))


def _forward_backward(problem: Problem, seed: int) -> Verdict:
    """Judge starts with a large component along the slowest eigenvector: without one they would be faster than rho."""
    rho, vector = _slowest(problem)
    distance, last, window = _plain(problem, _random_starts(problem, seed) + 10 * vector)
    return local_rate(distance, window, rho, last)


def _twins(problem: Problem, seed: int, steps: int = 1500, count: int = 10) -> Verdict:
    """Judge a problem whose first active column occurs twice, both copies started alike: they stay equal."""
    active = int(np.flatnonzero(solve(problem).w)[0])
    X = problem.X if isinstance(problem.X, np.ndarray) else problem.X.toarray()
    X = np.hstack([X, X[:, [active]]])
    twice = Problem(X, problem.y, problem.loss.name, L1(problem.penalty.lam))  # type: ignore[attr-defined]
    starts = _random_starts(twice, seed, count)
    starts[:, -1] = starts[:, active]
    distance, last, window = _plain(twice, starts, steps)
    return local_rate(distance, window, 1.0, last)


def _fista(problem: Problem, steps: int = 3000) -> Verdict:
    """Judge FISTA and forward-backward from zero."""
    step, zero = 1 / problem.lipschitz(), np.zeros((1, *problem.shape))
    plain = _trajectory(problem, ProxGradient(step), steps, zero)[:, 0]
    fast = _trajectory(problem, FISTA(step), steps, zero)[:, 0]
    star, (rho, vector) = plain[-1], _slowest(problem)
    near, far = (int(np.flatnonzero(np.linalg.norm(x - star, axis=1) > FLOOR)[-1]) + 1 for x in (plain, fast))
    return oscillation((fast - star)[_settled(fast, star) : far] @ vector, rho, (far, near))


def _far(problem: Problem, seed: int, steps: int = 600) -> Verdict:
    """Judge forward-backward from afar, on the steps with more active coordinates than rows."""
    start = 100 * _random_starts(problem, seed)[:1]
    points = _trajectory(problem, ProxGradient(1 / problem.lipschitz()), steps, start)[:, 0]
    many = (points != 0).sum(axis=1) > problem.n
    stop = steps if many.all() else int(np.argmin(many))
    return local_rate(np.linalg.norm(points - solve(problem).w, axis=1), last_half(0, stop), _slowest(problem)[0])


def _bounded(problem: Problem, method: Method, every: int, marks: int, unit: int, bound: float) -> Verdict:
    """Judge a stochastic method's distances at `marks` multiples of `every` steps, counted in units of steps."""
    solution, at = solve(problem), np.arange(1, marks + 1) * every
    runs = run_engine(problem, method, range(8), int(at[-1]), reference=solution, checkpoints=at)
    distances = np.array([r.curves["distance"] for r in runs]).T
    keep = (distances > FLOOR).all(axis=1) & (at > max(r.trace.settled_at(solution.codes) or 0 for r in runs))
    return within_bound(at[keep] / unit, distances[keep], bound)


def _variance_reduced(problem: Problem) -> tuple[tuple[str, Verdict], ...]:
    """Judge SAGA a step, and prox-SVRG an epoch: with g = 1/(20 L) and P = 50 L / lam_min its factor is 3/4."""
    L, curvature = float(problem.row_lipschitz().max()), (1 - _slowest(problem)[0]) * problem.lipschitz()
    saga = float(np.sqrt(1 - min(1 / (4 * problem.n), curvature / (3 * L))))
    step, epoch = 0.05 / L, int(np.ceil(50 * L / curvature))
    svrg = float(np.sqrt(svrg_factor(L, curvature, step, epoch)))  # of the distance
    return (
        ("SAGA", _bounded(problem, ProxSAGA(), 4000, 12, 1, saga)),
        ("SVRG, an epoch", _bounded(problem, ProxSVRG(step, epoch=epoch), epoch, 9, epoch, svrg)),
    )


def check(size: Size, seed: int) -> Verdict:
    """Test forward-backward on three problems, FISTA, SAGA and SVRG on one."""
    seeds, first = range(100 * seed, 100 * seed + 3 * size.factor), _instance(100 * seed)
    parts = ((f"forward-backward {i}", _forward_backward(_instance(s), s)) for i, s in enumerate(seeds))
    return all_hold(*parts, ("FISTA", _fista(first)), *_variance_reduced(first))


def control(size: Size, seed: int) -> Verdict:
    """Compare before identification, and with two equal active columns."""
    problem = _instance(100 * seed)
    return all_fail(("before identification", _far(problem, seed)), ("two equal columns", _twins(problem, seed)))


def judge(case: Case) -> Verdict:
    """Judge forward-backward on a lasso or l1 logistic problem of one's own, from at most ten random starts."""
    rows, lr = case.problem, case.method.lr
    assert isinstance(rows, Rows)
    active = int((rows.w != 0).sum())
    single = Assumption("outputs of a row", rows.problem.n_outputs, rows.w.ndim == 1, "one margin a row")
    some = Assumption("active coordinates", active, active > 0, "a Hessian on the support")
    if not (single.met and some.met):
        return unmet(single, some)
    (rho, vector), L = _slowest(rows.problem, lr), rows.problem.lipschitz()
    injective = Assumption("rho", rho, rho < 1 - 1e-9, "restricted injectivity: the Hessian is regular on the support")
    step = Assumption("step times L", lr * L, lr * L < 2, "below 2")
    if not (injective.met and step.met):
        return unmet(injective, step)
    starts = rows.w + _random_starts(rows.problem, case.seed, min(case.seeds, 10)) + 10 * vector
    distance, last, window = _plain(rows.problem, starts, case.steps, lr)
    reached = float(distance[window[1] - 1])
    there = Assumption("distance to the solution that is reached", reached, reached <= 10 * FLOOR, f"about {FLOOR:g}")
    settled = Assumption("steps fitted", window[1] - window[0], window[1] - window[0] >= 10)
    if not (there.met and settled.met):
        return unmet(injective, step, there, settled)
    found = local_rate(distance, window, rho, last)
    return replace(found, assumptions=(injective, step, there, *found.assumptions))


def twice(case: Case) -> Verdict:
    """Double a column of the support: the restricted Hessian is then singular, and rho = 1."""
    assert isinstance(case.problem, Rows)
    if case.problem.w.ndim > 1 or not case.problem.w.any():
        return judge(case)
    return _twins(case.problem.problem, case.seed, case.steps, min(case.seeds, 10))


CHECK = Check(LOCAL_RATE, check, control, Own(judge, twice, (ProxGradient,), steps=3000, entries=True))
