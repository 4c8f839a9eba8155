"""The claims of a Solution against arithmetic of 400 bits: own gradient, residual, Newton's method, separation.

Nothing of the solver is called: only the problem's arrays and the claims themselves are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from convex_bench.audit.draw import Case

BITS = 400
TOLERANCE = 1e-12


def judge(case: Case, solution: Any, warned: bool = False) -> list[str]:
    """Return what of the solution's claims is false, in words; nothing where all is true.

    `warned` : whether `solve` warned that the solution is zero.
    """
    try:
        import mpmath
    except ImportError as error:
        raise ImportError("the audit needs mpmath: pip install 'manifold-id[test]'") from error
    with mpmath.workprec(BITS):
        return _Judge(case, solution, mpmath.mp).false_claims(warned)


class _Judge:
    """The numbers of one case in `mp`; points are lists of the flat coordinates."""

    def __init__(self, case: Case, solution: Any, mp: Any) -> None:
        p = case.problem
        self.case, self.solution, self.mp, self.K, self.n = case, solution, mp, p.n_outputs, p.n
        X = p.X.toarray() if sparse.issparse(p.X) else p.X
        self.X = [[mp.mpf(float(a)) for a in row] + [mp.mpf(1)] * p.intercept for row in X]
        self.y = [float(a) for a in p.y]
        self.size = len(self.X[0]) * self.K
        self.features = p.n_features * self.K
        free = list(range(self.features, self.size))
        self.groups = [list(map(int, g)) for g in case.groups] + [[j] for j in free]
        self.lam = [mp.mpf(a) for a in case.lam] + [mp.mpf(0)] * len(free)
        self.l1 = [mp.mpf(case.l1) if j < self.features else mp.mpf(0) for j in range(self.size)]
        self.ridge = [mp.mpf(case.ridge) if j < self.features else mp.mpf(0) for j in range(self.size)]
        low = np.zeros_like(solution.w) if solution.low is None else solution.low
        pairs = zip(solution.w.ravel(), low.ravel(), strict=True)
        self.z = [mp.mpf(float(a)) + mp.mpf(float(b)) for a, b in pairs]

    def margins(self, z: list[Any]) -> list[list[Any]]:
        K = self.K
        return [[self.mp.fdot(row, z[k::K]) for k in range(K)] for row in self.X]

    def slopes(self, m: list[list[Any]]) -> list[list[Any]]:
        """Return l' of every row."""
        mp, loss = self.mp, self.case.kind["loss"]
        if loss == "squared":
            return [[row[0] - y] for row, y in zip(m, self.y, strict=True)]
        if loss == "logistic":
            return [[-y / (1 + mp.exp(y * row[0]))] for row, y in zip(m, self.y, strict=True)]
        found = []
        for row, y in zip(m, self.y, strict=True):
            e = [mp.exp(a - max(row)) for a in row]
            found.append([a / sum(e) - (k == y) for k, a in enumerate(e)])
        return found

    def gradient(self, z: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return (gradient of f, the size of its terms)."""
        d = self.slopes(self.margins(z))
        columns = list(zip(*self.X, strict=True))
        g, size = [], []
        for column in columns:
            for k in range(self.K):
                terms = [a * row[k] for a, row in zip(column, d, strict=True)]
                g.append(sum(terms) / self.n)
                size.append(sum(map(abs, terms)) / self.n)
        return g, size

    def value(self, z: list[Any]) -> Any:
        mp, loss, total = self.mp, self.case.kind["loss"], self.mp.mpf(0)
        for row, y in zip(self.margins(z), self.y, strict=True):
            if loss == "squared":
                total += (row[0] - y) ** 2 / 2
            elif loss == "logistic":
                total += mp.log1p(mp.exp(-y * row[0])) if -y * row[0] < 1000 else -y * row[0]
            else:
                total += mp.log(sum(mp.exp(a - row[int(y)]) for a in row))
        psi = sum(lam * self.norm(z, g) for lam, g in zip(self.lam, self.groups, strict=True))
        psi += sum(a * abs(b) + c * b * b / 2 for a, b, c in zip(self.l1, z, self.ridge, strict=True))
        return total / self.n + psi

    def norm(self, z: list[Any], g: list[int]) -> Any:
        return self.mp.sqrt(sum(z[j] ** 2 for j in g))

    def soft(self, a: Any, l1: Any) -> Any:
        return max(abs(a) - l1, 0) * (1 if a > 0 else -1)

    def kinked(self, i: int) -> bool:
        return bool(self.lam[i] > 0 or self.l1[self.groups[i][0]] > 0 or self.nonnegative(i))

    def nonnegative(self, i: int) -> bool:
        return self.case.nonnegative and self.groups[i][0] < self.features

    def residuals(self, z: list[Any]) -> list[Any]:
        """Return the relative residual of every group, entries of a sparse group together."""
        g, size = self.gradient(z)
        v = [a + r * b for a, r, b in zip(g, self.ridge, z, strict=True)]
        null = self.mp.sqrt(sum(a * a for row in self.slopes(self.margins([0] * self.size)) for a in row) / self.n)
        found = []
        for i, group in enumerate(self.groups):
            scale, norm = self.lam[i] + self.l1[group[0]], self.norm(z, group)
            if not self.kinked(i):
                squares = [sum(row[j // self.K] ** 2 for row in self.X) / self.n for j in group]
                floor = [self.mp.sqrt(q) * null / 10000 for q in squares]
                found.append(max(abs(v[j]) / (max(size[j], f) or 1) for j, f in zip(group, floor, strict=True)))
                continue
            if self.nonnegative(i):
                rest = max(-v[group[0]] - self.lam[i], 0) if norm == 0 else abs(v[group[0]] + self.lam[i])
            elif norm == 0:
                reach = self.mp.sqrt(sum(self.soft(v[j], self.l1[j]) ** 2 for j in group))
                rest = max(reach - self.lam[i], 0)
            else:
                parts = [
                    v[j] + self.lam[i] * z[j] / norm + self.l1[j] * self.mp.sign(z[j])
                    if z[j] != 0
                    else self.soft(v[j], self.l1[j])
                    for j in group
                ]
                rest = self.mp.sqrt(sum(a * a for a in parts))
            found.append(rest / (scale or 1))
        return found

    def atoms(self, per_group: list[Any]) -> list[Any]:
        """Return a number of every group as one of every atom of the solution: the worst of an intercept's."""
        whole = [i for i, g in enumerate(self.groups) if g[0] < self.features]
        if self.case.l1 > 0 or self.case.kind["penalty"] == "sparse group":
            owner = {j: i for i in whole for j in self.groups[i]}
            found = [per_group[owner[j]] for j in range(self.features)]
        else:
            found = [per_group[i] for i in whole]
        rest = [per_group[i] for i in range(len(self.groups)) if i not in whole]
        return found + ([max(rest)] if rest else [])

    def false_claims(self, warned: bool) -> list[str]:
        s, found = self.solution, []
        if warned and (s.status == "failed" or np.any(s.coef[self._penalized()])):
            found.append("warning: the solution is said to be zero")
        found += self._lambda_max()
        if s.status == "failed":
            return found
        if s.status == "unattained":
            return found + self._direction()
        if self.case.unattained:
            return [*found, f"existence: {s.status}, but no minimizer exists"]
        true = self.atoms(self.residuals(self.z))
        worst = max(true)
        if worst > TOLERANCE:
            found.append(f"residual: {float(worst):.1e} is called {s.status}")
        excess = max(float(a) - float(b) for a, b in zip(true, s.residual, strict=True))
        if excess > 1e-15:
            found.append(f"residual: {float(worst):.1e} where {s.residual.max():.1e} is claimed")
        if s.low is not None and (np.abs(s.low) > 2.0**-51 * np.abs(s.w)).any():
            found.append("low: more than the last digit of w")
        active = [any(self.z[j] != 0 for j in g) or not self.kinked(i) for i, g in enumerate(self.groups)]
        sparse_group = self.case.kind["penalty"] == "sparse group"
        entries = [a != 0 for a in self.z[: self.features]] + [True] * self.case.problem.intercept
        if (entries if sparse_group else self.atoms(active)) != (s.codes > 0).tolist():
            found.append("codes: not the support of w")
        w = [self.mp.mpf(float(a)) for a in s.w.ravel()]
        value, slack = self.value(w), self._rounding(w)
        if abs(value - s.value) > slack:
            found.append(f"value: {s.value} where {float(value)} is true")
        found += self._margins()
        return found + self._ball(value, slack)

    def _penalized(self) -> Any:
        free = [j for i, g in enumerate(self.groups) for j in g if not self.kinked(i) and j < self.features]
        mask = np.ones(self.features, dtype=bool)
        mask[free] = False
        return mask.reshape(self.solution.coef.shape)

    def _margins(self) -> list[str]:
        """Compare the margins of groups that are off."""
        if self.case.kind["penalty"] == "sparse group":
            return []
        g, _ = self.gradient(self.z)
        for i, group in enumerate(self.groups):
            if not self.kinked(i) or any(self.z[j] != 0 for j in group):
                continue
            reach = -g[group[0]] if self.nonnegative(i) else self.norm(g, group)
            true, claimed = self.lam[i] - reach, float(self.solution.margin[i])
            if abs(true - claimed) > 1e-6 * self.lam[i] + 1e-15 * abs(true):
                return [f"margin: {claimed:.3e} where {float(true):.3e} is true"]
        return []

    def _rounding(self, w: list[Any]) -> Any:
        """Return how far F(w) may be off in doubles: 64 u of the terms that it is made of."""
        m = self.margins(w)
        d = self.slopes(m)
        sizes = [
            sum(abs(row[j // self.K] * w[j]) * abs(slope[j % self.K]) for j in range(self.size))
            for row, slope in zip(self.X, d, strict=True)
        ]
        return (sum(sizes) / self.n + abs(self.value(w))) * 64 * 2.0**-53

    def _lambda_max(self) -> list[str]:
        """Compare `lambda_max` with psi's at the gradient where the coordinates without a kink are fitted."""
        case = self.case
        if case.unattained or case.kind["penalty"] == "lam = 0":
            return []
        S = [j for i, g in enumerate(self.groups) for j in g if not self.kinked(i)]
        z = [self.mp.mpf(0)] * self.size
        for _ in range(60):
            slope = self._slope(z, S)
            if not S or max(map(abs, slope)) < self.mp.mpf(10) ** -40:
                break
            step, before = self.mp.lu_solve(self._hessian(z, S), self.mp.matrix([-a for a in slope])), self.value(z)
            for t in (self.mp.mpf(0.5) ** k for k in range(30)):
                new = list(z)
                for place, j in enumerate(S):
                    new[j] += t * step[place]
                if self.value(new) < before:
                    break
            z = new
        else:
            return []  # separable: there is no fit
        g, size = self.gradient(z)
        ratio, rounding = (
            [],
            max(size[j] / (w or 1) for w, group in zip(case.weights, self.groups, strict=False) for j in group),
        )
        for i, weight in enumerate(case.weights):
            group = self.groups[i]
            if case.kind["penalty"] == "sparse group":
                ratio.append(self._root([abs(g[j]) for j in group], weight))
            elif weight > 0:
                ratio.append((max(-g[group[0]], 0) if case.nonnegative else self.norm(g, group)) / weight)
        true, claimed = max(ratio), case.problem.lambda_max()
        if abs(true - claimed) > 1e-9 * true + 1e-12 * rounding:  # a gradient of doubles, on the size of its terms
            return [f"lambda_max: {claimed} where {float(true)} is true"]
        return []

    def _root(self, a: list[Any], weight: float) -> Any:
        """Return the lam at which the norm of the a soft-thresholded by lam / 2 is lam weight, by bisection."""
        low, high = self.mp.mpf(0), 2 * max(a)
        for _ in range(60):
            middle = (low + high) / 2
            size = self.mp.sqrt(sum(max(b - middle / 2, 0) ** 2 for b in a))
            low, high = (middle, high) if size > middle * weight else (low, middle)
        return high

    def _ball(self, value: Any, slack: Any) -> list[str]:
        """Find w* by Newton's method on the support; check the radius, the gap and the proved atoms."""
        s, mp = self.solution, self.mp
        if not np.isfinite(s.radius):
            return ["radius: none, though certified"] if s.status == "certified" else []
        S = [j for i, g in enumerate(self.groups) for j in g if self.z[j] != 0 or not self.kinked(i)]
        groups = [i for i, g in enumerate(self.groups) if any(self.z[j] != 0 for j in g)]
        # all entries of an active group move, but zero entries that an entrywise part holds
        S = sorted(set(S) | {j for i in groups for j in self.groups[i] if self.l1[j] == 0})
        z = list(self.z)
        for _ in range(8):
            g = self._slope(z, S)
            if not S or max(map(abs, g)) < mp.mpf(10) ** -60:
                break
            step = mp.lu_solve(self._hessian(z, S), mp.matrix([-a for a in g]))
            for place, j in enumerate(S):
                z[j] += step[place]
        found = []
        distance = mp.sqrt(sum((a - float(b)) ** 2 for a, b in zip(z, s.w.ravel(), strict=True)))
        if distance > s.radius:
            found.append(f"radius: {s.radius:.1e}, but the solution is at {float(distance):.1e}")
        if max(self.residuals(z)) > mp.mpf(10) ** -40:
            found.append("proved: the support of w is not that of the solution")
        codes = [any(z[j] != 0 for j in g) or not self.kinked(i) for i, g in enumerate(self.groups)]
        entries = [a != 0 for a in z[: self.features]] + [True] * self.case.problem.intercept
        now = np.array(entries if self.case.kind["penalty"] == "sparse group" else self.atoms(codes))
        if ((now != (s.codes > 0)) & s.proved).any():
            found.append("proved: an atom has another code at the solution")
        if value - self.value(z) > s.gap + slack:
            found.append(f"gap: {s.gap:.1e} is less than the suboptimality")
        return found

    def _slope(self, z: list[Any], S: list[int]) -> list[Any]:
        g, _ = self.gradient(z)
        total = []
        owner = {j: i for i, group in enumerate(self.groups) for j in group}
        for j in S:
            i = owner[j]
            norm = self.norm(z, self.groups[i])
            unit = z[j] / norm if self.lam[i] > 0 and norm > 0 else 0
            total.append(g[j] + self.ridge[j] * z[j] + self.lam[i] * unit + self.l1[j] * self.mp.sign(z[j]))
        return total

    def _hessian(self, z: list[Any], S: list[int]) -> Any:
        mp, K = self.mp, self.K
        curvature = self._curvature(self.margins(z))
        H = mp.matrix(len(S), len(S))
        owner = {j: i for i, group in enumerate(self.groups) for j in group}
        for a, j in enumerate(S):
            for b in range(a + 1):
                k = S[b]
                terms = (row[j // K] * row[k // K] * c[j % K][k % K] for row, c in zip(self.X, curvature, strict=True))
                H[a, b] = sum(terms) / self.n + (self.ridge[j] if j == k else 0)
                i = owner[j]
                if i == owner[k] and self.lam[i] > 0 and len(self.groups[i]) > 1:
                    norm = self.norm(z, self.groups[i])
                    H[a, b] += self.lam[i] * ((1 if j == k else 0) - z[j] * z[k] / norm**2) / norm
                elif K > 1 and not self.kinked(i) and not self.kinked(owner[k]) and j // K == k // K:
                    H[a, b] += mp.mpf(1)  # the classes of a free row keep their sum
                H[b, a] = H[a, b]
        return H

    def _curvature(self, m: list[list[Any]]) -> list[Any]:
        mp, loss = self.mp, self.case.kind["loss"]
        if loss == "squared":
            return [[[1]] for _ in m]
        if loss == "logistic":
            return [[[1 / (2 + mp.exp(row[0]) + mp.exp(-row[0]))]] for row in m]
        found = []
        for row in m:
            e = [mp.exp(a - max(row)) for a in row]
            p = [a / sum(e) for a in e]
            found.append([[p[k] * ((k == q) - p[q]) for q in range(self.K)] for k in range(self.K)])
        return found

    def _direction(self) -> list[str]:
        """Check that the rows are separated along the direction, which only free coordinates have."""
        if self.case.unattained is False:
            return ["existence: called unattained, but a minimizer exists"]
        v = [self.mp.mpf(float(a)) for a in self.solution.direction.ravel()]
        m = self.margins(v)
        if self.case.kind["loss"] == "logistic":
            t = [y * row[0] for row, y in zip(m, self.y, strict=True)]
        else:
            t = [row[int(y)] - a for row, y in zip(m, self.y, strict=True) for k, a in enumerate(row) if k != y]
        held = [j for i, g in enumerate(self.groups) for j in g if self.kinked(i) and v[j] != 0]
        if held or max(t) <= 0 or min(t) < -1e-6 * max(t):
            return ["existence: called unattained, but the direction does not separate"]
        return []
