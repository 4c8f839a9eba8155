"""Regret and suboptimality of regularized dual averaging, with explicit constants, from zero and from random starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit

from convex_bench.theorems.case import Case
from convex_bench.theorems.check import Check, Own, Size
from manifold_id.methods import RDA, RMDA
from manifold_id.methods.base import Method
from manifold_id.regularizers import L1
from manifold_id.theory.base import Assumption, Curve, Evidence, Power, Theorem, Verdict, no_violations
from manifold_id.theory.combine import all_fail, all_hold
from manifold_id.theory.curves import log_steps

Array = np.ndarray

REGRET = Theorem(
    name="regret-bound",
    title="Dual averaging's regret stays below its bound, whatever the losses",
    statement="RDA with beta_t = gamma sqrt t, convex losses with subgradients |g_t| <= G, |w|^2 / 2 <= D^2: for "
    "every t the regret sum_{s<=t} (f_s(w_s) + psi(w_s) - f_s(w) - psi(w)) is at most (gamma D^2 + G^2 / gamma) "
    "sqrt t from w_1 = 0; from another w_1, as only the first gradient sees it, at most G |w_1| + psi(w_1) more. "
    "The mean iterate of a convex problem has expected suboptimality at most the regret's bound over t. RMDA's sums "
    "with primal averaging, c_t = s_{t+1} / alpha_{t+1}, from any W^0: E F(W^{T-1}) - F* <= (beta_T |W^0 - w*|^2 / 2 "
    "+ sum_t s_t^2 G^2 / (2 beta_{t-1}) + s_1 (psi(W^0) - min psi)) / alpha_T for every T, beta_0 := beta_1.",
    latex=r"R_t\le\Big(\gamma D^2+\frac{G^2}{\gamma}\Big)\sqrt t+G\|w_1\|+\psi(w_1),\qquad\mathbb "
    r"E\,F(W^{T-1})-F^*\le\frac1{\alpha_T}\Big(\tfrac{\beta_T}2\|W^0-w^*\|^2+\sum_t\tfrac{s_t^2G^2}"
    r"{2\beta_{t-1}}+s_1\psi(W^0)\Big)",
    source="Xiao, JMLR 11 (2010), Theorem 1 and Corollary 2; the constants are derived: beta_t D^2 + (G^2/2) "
    "sum 1/beta_s. The term of w_1 is derived: Xiao's proof uses w_1 = 0 in the first summand alone. The bound with "
    "primal averaging is derived: regret of dual averaging with weights s_t and Jensen along the averages (compare "
    "Nesterov and Shikhman 2015, Cutkosky 2019).",
    measured="Regret at every step and seed against comparators of several sizes: linear losses with "
    "alternating and with random signs (the worst case), logistic losses with an l1 term; starts at 0 and random "
    "with sizes 0.1, 1, 10. Zero violations.",
    control="A constant beta: on losses with alternating signs every second step is answered with the full "
    "step 1/beta, and the regret grows linearly past the bound; with constant beta and no averaging "
    "the suboptimality on |w - 1| grows past the bound of primal averaging.",
)


def regret_bound(steps: int, gamma: float, radius: float, gradient: float, extra: float = 0.0) -> Array:
    """Return the bound at t = 1 .. steps for comparators with |w| <= radius (D^2 = radius^2 / 2)."""
    t = np.arange(1, steps + 1)
    return (gamma * radius**2 / 2 + gradient**2 / gamma) * np.sqrt(t) + extra


def anytime_bound(steps: int, eta: float, distance: Array, gradient: float, excess: Array) -> Array:
    """Return the bound on E F(W^{T-1}) - F* at T = 1 .. steps, (steps, seeds), of dual averaging with primal averaging.

    `distance` = |W^0 - w*| and `excess` = psi(W^0) - min psi of every start, (seeds,).
    """
    t = np.arange(1, steps + 1, dtype=float)
    s, beta = eta * np.sqrt(t), np.sqrt(t)
    noise = np.cumsum(s**2 * gradient**2 / (2 * np.append(beta[0], beta[:-1])))  # beta_0 := beta_1
    fixed = beta[:, None] * distance**2 / 2 + noise[:, None] + s[0] * excess
    return np.asarray(fixed / np.cumsum(s)[:, None])


def regret(observed: Array, bound: Array, *, what: str, largest_gradient: float, gradient: float) -> Verdict:
    """Return the verdict: regret or expected suboptimality (steps, seeds) against bound (steps,) or (steps, seeds).

    `largest_gradient` is the largest norm seen, which the statement assumes to be at most `gradient` = G.
    """
    limit = bound if bound.ndim == 2 else bound[:, None]
    violations = int((observed > limit * (1 + 1e-12)).sum())
    t = log_steps(len(observed))
    figure = Evidence(
        f"{what.capitalize()} against its bound",
        "step",
        what,
        (
            Curve("largest of the seeds", t.astype(float), np.maximum(observed.max(axis=1), 0)[t - 1]),
            Curve("bound", t.astype(float), limit.max(axis=1)[t - 1]),
        ),
    )
    ratio = float((observed / limit).max())
    return no_violations(
        violations,
        observed.size,
        f"steps (at most {ratio:.2f} of the bound)",
        seeds=observed.shape[1],
        assumptions=(
            Assumption("largest gradient / G", largest_gradient / gradient, largest_gradient <= gradient * (1 + 1e-12)),
        ),
        evidence=(figure,),
        figures={"largest share of the bound": ratio},
        power=(Power("factor on the bound", 1.0, below=ratio),),
    )


class _Given:
    """An oracle that returns the gradients it is given."""

    def __init__(self) -> None:
        self.g: Any = None

    def __call__(self, w: Array) -> Array:
        return self.g(w)


def linear(method: Method, gamma: float, signs: Array, radius: float) -> Verdict:
    """Run on f_t(w) = s_t w in one dimension, G = 1, against the best w with |w| <= radius; signs (steps, seeds)."""
    steps, seeds = signs.shape
    oracle, state = _Given(), method.init(np.zeros((seeds, 1)))
    loss = np.zeros((steps, seeds))
    for t in range(steps):
        loss[t] = signs[t] * state.w[:, 0]
        oracle.g = lambda w, t=t: signs[t][:, None] + 0 * w
        state = method.update(oracle, state, L1(0.0))  # type: ignore[arg-type]
    best = -radius * np.abs(np.cumsum(signs, axis=0))
    observed = np.cumsum(loss, axis=0) - best
    return regret(observed, regret_bound(steps, gamma, radius, 1.0), what="regret", largest_gradient=1.0, gradient=1.0)


@dataclass(frozen=True, eq=False)
class _Logistic:
    """Logistic losses with |x_i| <= 1, so that every gradient has norm at most G = 1, and psi = 0.02 |.|_1."""

    X: Array
    y: Array
    psi: L1
    best: Array  # the minimizer, by proximal gradient to rounding

    def objective(self, w: Array) -> Array:
        """Return the suboptimality's first part, F(w), for a batch."""
        return np.asarray(np.logaddexp(0, -self.y * (w @ self.X.T)).mean(axis=-1) + self.psi.value(w))

    def loss(self, w: Array, rows: Array) -> Array:
        """Return f_row(w) + psi(w), one row for each point (or for the one point)."""
        return np.asarray(np.logaddexp(0, -self.y[rows] * (self.X[rows] * w).sum(axis=1)) + self.psi.value(w))

    def gradient(self, w: Array, rows: Array) -> Array:
        """Return the gradient of f_row at w, one row for each point."""
        x, label = self.X[rows], self.y[rows]
        return np.asarray(-(label * expit(-label * (x * w).sum(axis=1)))[:, None] * x)


@dataclass(frozen=True, eq=False)
class _Absolute:
    """f(w) = |w - 1| in one dimension, psi = 0: subgradients of norm G = 1 that do not fade near the minimizer."""

    y = np.zeros(1)
    psi = L1(0.0)
    best = np.ones(1)

    def objective(self, w: Array) -> Array:
        """Return |w - 1|."""
        return np.asarray(np.abs(w - 1).sum(axis=-1))

    def gradient(self, w: Array, rows: Array) -> Array:
        """Return a subgradient."""
        return np.where(w >= 1, 1.0, -1.0)


def _logistic(seed: int) -> _Logistic:
    rng = np.random.default_rng(seed)
    n, p = 200, 8
    X = rng.standard_normal((n, p))
    X /= np.linalg.norm(X, axis=1).max()
    y = np.where(X @ np.array([4.0, -4, 3, 0, 0, 0, 0, 0]) + 0.3 * rng.logistic(size=n) > 0, 1.0, -1.0)
    psi, best = L1(0.02), np.zeros(p)
    for _ in range(4000):  # L <= 1/4 as the rows have norm at most 1
        best = psi.prox(best + 4 * X.T @ (y * expit(-y * (X @ best))) / n, 4.0)
    return _Logistic(X, y, psi, best)


def logistic(data: _Logistic, start: float, size: Size, seed: int) -> list[tuple[str, Verdict]]:
    """Run RDA on logistic losses from w_1 uniform on [-start, start]: regret, and suboptimality of the mean iterate."""
    rng = np.random.default_rng([seed, 1])
    gamma, seeds, steps = 0.5, max(20, size.seeds // 4), size.steps(600)
    rows, w1 = rng.integers(0, len(data.y), (steps, seeds)), rng.uniform(-start, start, (seeds, len(data.best)))
    oracle, state, method = _Given(), RDA(gamma).init(w1), RDA(gamma)
    gap, mean, total, largest = np.zeros((steps, seeds)), np.zeros((steps, seeds)), np.zeros(w1.shape), 0.0
    for t in range(steps):
        w = state.w
        gap[t] = data.loss(w, rows[t]) - data.loss(data.best, rows[t])
        g = data.gradient(w, rows[t])
        largest = max(largest, float(np.linalg.norm(g, axis=1).max()))
        oracle.g = lambda w, g=g: g
        total += w
        mean[t] = data.objective(total / (t + 1)) - data.objective(data.best)
        state = method.update(oracle, state, data.psi)  # type: ignore[arg-type]
    extra = np.linalg.norm(w1, axis=1) + data.psi.value(w1)
    bound = regret_bound(steps, gamma, float(np.linalg.norm(data.best)), 1.0)[:, None] + extra
    expected = bound.mean(axis=1) / np.arange(1, steps + 1)
    about: dict[str, Any] = {"largest_gradient": largest, "gradient": 1.0}
    average = regret(mean.mean(axis=1)[:, None], expected, what="mean suboptimality", **about)
    return [
        (f"logistic, start {start:g}", regret(np.cumsum(gap, axis=0), bound, what="regret", **about)),
        (f"mean iterate, start {start:g}", average),
    ]


def anytime(
    data: _Logistic | _Absolute, eta: float, start: float, size: Size, seed: int, *, inside: bool = True
) -> Verdict:
    """Run dual averaging with primal averaging, c_t = s_{t+1} / alpha_{t+1}, and judge W^{T-1} for every T.

    Unless `inside` the theorem: beta constant, and no averaging (c = 1).
    """
    rng = np.random.default_rng([seed, 2])
    seeds, steps = max(40, size.seeds // 2), size.steps(600)
    centre = rng.uniform(-start, start, (seeds, len(data.best)))
    method = RMDA(eta, damping=0.5 if inside else 0.0)
    s = eta * np.sqrt(np.arange(1, steps + 2))
    share = s[1:] / np.cumsum(s)[1:]  # c_t = s_{t+1} / alpha_{t+1}
    state, oracle, gap, largest = method.init(centre), _Given(), np.zeros((steps, seeds)), 0.0
    for t in range(1, steps + 1):
        gap[t - 1] = data.objective(state.w) - data.objective(data.best)
        g = data.gradient(state.w, rng.integers(0, len(data.y), seeds))
        largest = max(largest, float(np.linalg.norm(g, axis=1).max()))
        oracle.g = lambda w, g=g: g
        weighted = replace(method, momentum=float(share[t - 1])) if inside else method
        state = weighted.update(oracle, state, data.psi)  # type: ignore[arg-type]
    distance = np.linalg.norm(centre - data.best, axis=1)
    bound = anytime_bound(steps, eta, distance, 1.0, data.psi.value(centre)).mean(axis=1)
    return regret(gap.mean(axis=1)[:, None], bound, what="mean suboptimality, primal averaging",
                  largest_gradient=largest, gradient=1.0)  # fmt: skip


def _signs(kind: str, size: Size, seed: int) -> Array:
    steps, rng = size.steps(1000), np.random.default_rng(seed)
    if kind == "random":
        return rng.choice([-1.0, 1.0], (steps, size.seeds))
    return np.where(np.arange(steps) % 2, -1.0, 1.0)[:, None] * np.ones(2)


def check(size: Size, seed: int) -> Verdict:
    """Test RDA with three gammas on linear losses, and on logistic losses from four kinds of start."""
    data = _logistic(seed)
    parts = [
        (f"{kind} signs, gamma {gamma:g}", linear(RDA(gamma), gamma, _signs(kind, size, seed), radius))
        for kind in ("random", "alternating")
        for gamma, radius in ((1.0, 1.0), (0.3, 3.0), (3.0, 0.5))
    ]
    for start in (0.0, 0.1, 1.0, 10.0):
        parts += logistic(data, start, size, seed)
    for eta, start in ((0.02, 0.0), (0.2, 0.0), (2.0, 0.0), (0.2, 1.0), (0.2, 10.0)):
        parts.append((f"primal averaging, eta {eta:g}, start {start:g}", anytime(data, eta, start, size, seed)))
        parts.append(
            (f"the same on |w - 1|, eta {eta:g}, start {start:g}", anytime(_Absolute(), eta, start, size, seed))
        )
    return all_hold(*parts)


def control(size: Size, seed: int) -> Verdict:
    """Keep beta constant: RMDA with s = 1 and beta = t^0 is dual averaging with beta = 1."""
    return all_fail(
        ("constant beta", linear(RMDA(1.0, decay=0.5, damping=0.0), 1.0, _signs("alternating", size, seed), 1.0)),
        ("constant beta, no averaging", anytime(_Absolute(), 0.2, 0.0, size, seed, inside=False)),
    )


def judge(case: Case, stated: float = 1.0) -> Verdict:
    """Judge the regret of RDA(gamma) against the solution on rows of a problem of one's own, from zero.

    Measured is the larger, linearized regret sum <g_s, w_s - w*> + psi(w_s) - psi(w*), of which the bound is proved; G
    is the largest gradient norm met. `stated` multiplies G and |w*|, 1 is the truth.
    """
    problem, psi = case.problem, case.problem.regularizer
    gap, before = np.zeros((case.steps, case.seeds)), np.zeros((case.seeds, *case.start.shape))
    total, largest, least = 0 * before, 0.0, float(psi.value(problem.w))
    for state in case.states():
        g, away = ((a - b).reshape(case.seeds, -1) for a, b in ((state.total, total), (before, problem.w)))
        gap[state.t - 1] = (g * away).sum(axis=1) + psi.value(before) - least
        largest = max(largest, float(np.linalg.norm(g, axis=1).max()))
        before, total = state.w, state.total
    radius = float(np.linalg.norm(problem.w))
    bound = regret_bound(case.steps, case.method.gamma, stated * radius, stated * largest, float(psi.value(case.start)))
    return regret(np.cumsum(gap, axis=0), bound, what="regret", largest_gradient=largest, gradient=largest)


def understated(case: Case) -> Verdict:
    """Judge the same runs as if gradients and solution were a quarter of their size."""
    return judge(case, 0.25)


CHECK = Check(REGRET, check, control, Own(judge, understated, (RDA,), nondegenerate=False))
