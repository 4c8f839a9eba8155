"""Active-set complexity: proximal gradient identifies within kappa log(2 L |x_0 - x*| / delta) steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from convex_bench.theorems.rows import Rows
from manifold_id.methods import ProxGradient
from manifold_id.regularizers import L1
from manifold_id.theory.base import Assumption, Curve, Evidence, Power, Theorem, Verdict, claimed, decide, unmet
from manifold_id.theory.structure_record import LastErrors

Array = np.ndarray

ACTIVE_SET = Theorem(
    name="active-set-complexity",
    title="Proximal gradient identifies within an explicit number of steps",
    statement="f mu-strongly convex and L-smooth, psi separable convex, step 1/L, kappa = L/mu, delta the "
    "smallest margin: x_{k,Z} = x*_Z for all k > kappa log(2 L |x_0 - x*| / delta).",
    latex=r"x_{k,Z}=x^*_Z\quad\forall k>\kappa\log\frac{2L\|x_0-x^*\|}{\delta}",
    source="Nutini, Schmidt and Hare (2019); derived anew from the linear rate |x_k - x*| <= (1 - 1/kappa)^k "
    "|x_0 - x*| and the one-step certificate, which holds once |x - x*| <= delta / (2 L).",
    measured="At least 200 random ridge lasso instances, starts from delta/(2L) to 10^4 times that far from the "
    "solution, at every step: a false positive beyond the bound is a violation. Besides, the observed step "
    "against log(1/delta) on one design (affine, slope at most kappa).",
    control="The margin overstated by a factor of 20: starts that lie within the false radius claim "
    "identification at once, and are not identified.",
)


def active_set(
    last: LastErrors,
    bound: Array,
    condition: Array,
    slopes: Array,
    kappa: Array,
    r_squared: Array,
    *,
    least: int = 200,
    overstated: float = 1.0,
) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    last
        The last steps with wrong structure of every instance, (instances,); -1 = never, not even at the start. Judged
        are the false positives, of which alone the bound speaks.
    bound
        kappa log(2 L |x_0 - x*| / delta), (instances,).
    condition
        kappa, (instances,).
    slopes, kappa, r_squared
        Fits of the observed step against log(1/delta), one for each design: slope, condition number, R^2;
        empty to leave that part out.
    least
        The least number of instances.
    overstated
        By how much the bound takes the margin for larger than it is.
    """
    observed = last.false_positive
    late = int((observed > np.maximum(bound, 0)).sum())
    affine = bool((slopes <= kappa).all() and (r_squared > 0.9).all())
    positive = bound > 0
    ratio = np.maximum(observed[positive], 0) / bound[positive]
    # kappa log(c) less for a margin c times too large: a violation from the least c with observed > bound - kappa log c
    spare = np.min((bound - observed)[observed >= 0] / condition[observed >= 0], initial=np.inf)
    power = (
        Power("factor on the margin", 1.0, above=float(np.exp(spare))),
        Power("factor on the bound", 1.0, below=float(ratio.max(initial=0.0))),
    )
    order = np.argsort(bound)
    figure = Evidence(
        "Last false positive of proximal gradient",
        "bound on the step",
        "observed step",
        (
            Curve("instances", bound[order], observed[order].astype(float), kind="points"),
            Curve("observed = bound: none may lie above", bound[order], bound[order]),
        ),
    )
    return decide(
        late == 0 and affine,
        (Assumption("instances", len(observed), len(observed) >= least), claimed(overstated)),
        f"{late} violations in {len(observed)} instances, observed / bound at most {ratio.max(initial=0):.2f}"
        + (
            f"; slope in log(1/delta) at most {np.max(slopes / kappa):.2f} kappa, R^2 >= {r_squared.min():.3f}"
            if len(slopes)
            else ""
        ),
        "0 violations; slope <= kappa and R^2 > 0.9",
        float(late),
        seeds=len(observed),
        samples=len(observed),
        evidence=(figure,),
        figures={"largest observed / bound": float(ratio.max(initial=0)), **last.figures()},
        power=power,
    )


P, ACTIVE = 12, 4


def _instance(rng: np.random.Generator, margin: float) -> tuple[Array, Array, Array, Array]:
    """Return (H, x*, u, eigenvalues): f(x) = (x - x*)^T H (x - x*) / 2 - <u, x>, psi = |.|_1."""
    A = rng.standard_normal((2 * P, P)) * rng.uniform(0.3, 2, P)
    H = A.T @ A / (2 * P) + 0.05 * np.eye(P)
    sign = rng.choice([-1.0, 1.0], P)
    x = np.where(np.arange(P) < ACTIVE, sign * rng.uniform(0.5, 2, P), 0.0)
    u = np.where(np.arange(P) < ACTIVE, sign, sign * rng.uniform(0, 1 - margin, P))
    u[ACTIVE] = sign[ACTIVE] * (1 - margin)
    return H, x, u, np.linalg.eigvalsh(H)


def last_errors(H: Array, star: Array, u: Array, L: Array, x0: Array, steps: int) -> LastErrors:
    """Return the last steps of proximal gradient with wrong zeros and wrong nonzeros, -1 = none; all are batched."""
    x, psi = x0, L1(1.0)
    last = LastErrors(
        np.where((x0[:, ACTIVE:] != 0).any(axis=1), 0, -1), np.where((x0[:, :ACTIVE] == 0).any(axis=1), 0, -1)
    )
    for k in range(1, steps + 1):
        gradient = np.einsum("bij,bj->bi", H, x - star) - u
        x = psi.prox(x - gradient / L[:, None], 1 / L)
        last.false_positive[(x[:, ACTIVE:] != 0).any(axis=1)] = k
        last.false_negative[(x[:, :ACTIVE] == 0).any(axis=1)] = k
    return last


def run(size: Size, seed: int, overstated: float, fits: int) -> Verdict:
    """Run the instances; `fits` designs also get a sweep of the margin."""
    rng = np.random.default_rng(seed)
    count = 250 * size.factor
    margins = 10 ** rng.uniform(-3, -0.5, count)
    H, star, u, eigen = (np.array(a) for a in zip(*(_instance(rng, m) for m in margins), strict=True))
    L, mu = eigen[:, -1], eigen[:, 0]
    direction = rng.standard_normal((count, P))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    reach = rng.uniform(0, np.where(np.arange(count) % 2, 4.0, 1.2))  # half of the starts near the radius of one step
    radius = 10**reach * margins / (2 * L)
    bound = L / mu * np.log(2 * L * radius / (overstated * margins))
    steps = int(bound.max()) + 10
    observed = last_errors(H, star, u, L, star + radius[:, None] * direction, min(steps, 4000))

    slopes, kappa, quality = [], [], []
    for _ in range(fits):
        h, x, _, e = _instance(rng, 0.5)
        deltas = 0.4 * 0.5 ** np.repeat(np.arange(12), 16)  # 16 starts for each margin
        sign = rng.choice([-1.0, 1.0], P)
        starts = np.tile(x + 3 * rng.standard_normal((16, P)), (12, 1))
        dual = np.where(np.arange(P) < ACTIVE, np.sign(x), sign * (1 - deltas[:, None]))
        many = len(deltas)
        hs, xs = np.broadcast_to(h, (many, P, P)), np.broadcast_to(x, (many, P))
        seen = last_errors(hs, xs, dual, np.full(many, e[-1]), starts, 1500).false_positive
        mean, decades = seen.reshape(12, 16).mean(axis=1), np.log(1 / deltas[::16])
        slopes.append(np.polyfit(decades, mean, 1)[0])
        kappa.append(e[-1] / e[0])
        quality.append(np.corrcoef(decades, mean)[0, 1] ** 2)
    return active_set(
        observed, bound, L / mu, np.array(slopes), np.array(kappa), np.array(quality), overstated=overstated
    )


def check(size: Size, seed: int) -> Verdict:
    """Test the bound with the true margins."""
    return run(size, seed, 1.0, 5)


def control(size: Size, seed: int) -> Verdict:
    """Test the bound with twenty times the margins."""
    return run(size, seed, 20.0, 0)


def judge(case: Case, overstated: float = 1.0) -> Verdict:
    """Judge random starts, from delta/(2 L) to 10^4 times that far from the solution, for `overstated` times delta."""
    problem, method, off = case.problem, case.method, case.off
    assert isinstance(problem, Rows) and isinstance(method, ProxGradient) and method.lr is not None
    L, mu = problem.problem.lipschitz(), problem.strong_convexity
    convex = Assumption("strong convexity of f", mu, mu > 1e-10 * L, "smallest eigenvalue of X^T X / n, squared loss")
    step = Assumption("step times L", method.lr * L, abs(method.lr * L - 1) <= 1e-9, "the bound is that of step 1/L")
    if not (convex.met and step.met):
        return unmet(convex, step)
    rng = np.random.default_rng(case.seed)
    direction = rng.standard_normal((case.seeds, *problem.w.shape))
    direction /= np.linalg.norm(direction.reshape(case.seeds, -1), axis=1).reshape(-1, *[1] * problem.w.ndim)
    delta, kappa = float(case.margins[off].min()), L / mu
    radius = 10 ** rng.uniform(0, 4, case.seeds) * delta / (2 * L)
    x = problem.w + radius.reshape(-1, *[1] * problem.w.ndim) * direction
    bound = kappa * np.log(2 * L * radius / (overstated * delta))
    last = LastErrors(*np.full((2, case.seeds), -1))
    for k in range(min(int(bound.max()) + 10, case.steps) + 1):
        active = problem.regularizer.structure(x) > 0
        last.false_positive[active[:, off].any(axis=1)] = k
        last.false_negative[~active[:, ~off].all(axis=1)] = k
        x = problem.regularizer.prox(x - problem.gradient(x) / L, 1 / L)
    none = np.zeros(0)
    found = active_set(last, bound, np.full(case.seeds, kappa), none, none, none, least=1, overstated=overstated)
    return replace(found, assumptions=(convex, step, *found.assumptions))


def twentyfold(case: Case) -> Verdict:
    """Judge the same starts by twenty times the margin."""
    return judge(case, 20.0)


CHECK = Check(ACTIVE_SET, check, control, Own(judge, twentyfold, (ProxGradient,), steps=20000, separable=True))
