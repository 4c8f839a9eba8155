"""Solutions of sums of norms against arithmetic of 400 bits: own residual, margin, lambda_max, Newton's method.

psi(w) = sum_g lam_g |w_g| + l1 |w|_1 + ridge |w|^2 / 2 on the features, on w >= 0 where that is asked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convex_bench.audit.arithmetic import Numbers
from convex_bench.audit.draw import Case, Norms

TOLERANCE = 1e-12


class GroupsJudge(Numbers):
    """The claims of one case's solution."""

    def __init__(self, case: Case, psi: Norms, solution: Any, mp: Any) -> None:
        super().__init__(case.problem, mp)
        self.case, self.psi, self.solution = case, psi, solution
        free = list(range(self.features, self.size))
        self.groups = [list(map(int, g)) for g in psi.groups] + [[j] for j in free]
        self.owner = {j: i for i, group in enumerate(self.groups) for j in group}
        self.lam = [mp.mpf(a) for a in psi.lam] + [mp.mpf(0)] * len(free)
        self.l1 = [mp.mpf(psi.l1) if j < self.features else mp.mpf(0) for j in range(self.size)]
        self.ridge = [mp.mpf(psi.ridge) if j < self.features else mp.mpf(0) for j in range(self.size)]
        low = np.zeros_like(solution.w) if solution.low is None else solution.low
        self.z = [a + b for a, b in zip(self.numbers(solution.w), self.numbers(low), strict=True)]
        self.entrywise = case.kind["penalty"] == "sparse group"  # atoms are entries

    def objective(self, z: list[Any]) -> Any:
        """Return F."""
        psi = sum(lam * self.norm(z, g) for lam, g in zip(self.lam, self.groups, strict=True))
        psi += sum(a * abs(b) + c * b * b / 2 for a, b, c in zip(self.l1, z, self.ridge, strict=True))
        return self.value(z) + psi

    def norm(self, z: list[Any], g: list[int]) -> Any:
        """Return |z_g|."""
        return self.mp.sqrt(sum(z[j] ** 2 for j in g))

    def soft(self, a: Any, l1: Any) -> Any:
        """Return a moved towards zero by l1."""
        return max(abs(a) - l1, 0) * (1 if a > 0 else -1)

    def kinked(self, i: int) -> bool:
        """Whether group i is held by psi at zero."""
        return bool(self.lam[i] > 0 or self.l1[self.groups[i][0]] > 0 or self.nonnegative(i))

    def nonnegative(self, i: int) -> bool:
        """Whether group i must be nonnegative."""
        return self.psi.nonnegative and self.groups[i][0] < self.features

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
        found = [per_group[self.owner[j]] for j in range(self.features)] if self.entrywise else per_group[: len(whole)]
        rest = per_group[len(whole) :]
        return found + ([max(rest)] if rest else [])

    def codes(self, z: list[Any]) -> list[bool]:
        """Return which atoms are on at z."""
        if self.entrywise:
            return [a != 0 for a in z[: self.features]] + [True] * self.case.problem.intercept
        return self.atoms([any(z[j] != 0 for j in g) or not self.kinked(i) for i, g in enumerate(self.groups)])

    def false_claims(self) -> list[str]:
        """Return what the solution says of its point that is false; its status is "certified" or "degenerate"."""
        s, found = self.solution, []
        true = self.atoms(self.residuals(self.z))
        worst = max(true)
        if worst > TOLERANCE:
            found.append(f"residual: {float(worst):.1e} is called {s.status}")
        excess = max(float(a) - float(b) for a, b in zip(true, s.residual, strict=True))
        if excess > 1e-15:
            found.append(f"residual: {float(worst):.1e} where {s.residual.max():.1e} is claimed")
        if s.low is not None and (np.abs(s.low) > 2.0**-51 * np.abs(s.w)).any():
            found.append("low: more than the last digit of w")
        if self.codes(self.z) != (s.codes > 0).tolist():
            found.append("codes: not the support of w")
        w = self.numbers(s.w)
        value = self.objective(w)
        slack = self.rounding(w, value)
        if abs(value - s.value) > slack:
            found.append(f"value: {s.value} where {float(value)} is true")
        found += self._margins()
        return found + self._ball(value, slack)

    def penalized(self) -> Any:
        """Return which entries of coef have a kink."""
        free = [j for i, g in enumerate(self.groups) for j in g if not self.kinked(i) and j < self.features]
        mask = np.ones(self.features, dtype=bool)
        mask[free] = False
        return mask.reshape(self.solution.coef.shape)

    def _margins(self) -> list[str]:
        """Compare the margins of groups that are off."""
        if self.entrywise:
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

    def lambda_max(self) -> list[str]:
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
            step, before = self.mp.lu_solve(self._hessian(z, S), self.mp.matrix([-a for a in slope])), self.objective(z)
            for t in (self.mp.mpf(0.5) ** k for k in range(30)):
                new = list(z)
                for place, j in enumerate(S):
                    new[j] += t * step[place]
                if self.objective(new) < before:
                    break
            z = new
        else:
            return []  # separable: there is no fit
        g, size = self.gradient(z)
        ratio, rounding = (
            [],
            max(size[j] / (w or 1) for w, group in zip(self.psi.weights, self.groups, strict=False) for j in group),
        )
        for i, weight in enumerate(self.psi.weights):
            group = self.groups[i]
            if self.entrywise:
                ratio.append(self._root([abs(g[j]) for j in group], weight))
            elif weight > 0:
                ratio.append((max(-g[group[0]], 0) if self.psi.nonnegative else self.norm(g, group)) / weight)
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
        if ((np.array(self.codes(z)) != (s.codes > 0)) & s.proved).any():
            found.append("proved: an atom has another code at the solution")
        if value - self.objective(z) > s.gap + slack:
            found.append(f"gap: {s.gap:.1e} is less than the suboptimality")
        return found

    def _slope(self, z: list[Any], S: list[int]) -> list[Any]:
        g, _ = self.gradient(z)
        total = []
        for j in S:
            i = self.owner[j]
            norm = self.norm(z, self.groups[i])
            unit = z[j] / norm if self.lam[i] > 0 and norm > 0 else 0
            total.append(g[j] + self.ridge[j] * z[j] + self.lam[i] * unit + self.l1[j] * self.mp.sign(z[j]))
        return total

    def _hessian(self, z: list[Any], S: list[int]) -> Any:
        K, H = self.K, self.hessian(z, S)
        for a, j in enumerate(S):
            H[a, a] += self.ridge[j]
            for b, k in enumerate(S):
                i = self.owner[j]
                if i == self.owner[k] and self.lam[i] > 0 and len(self.groups[i]) > 1:
                    norm = self.norm(z, self.groups[i])
                    H[a, b] += self.lam[i] * ((1 if j == k else 0) - z[j] * z[k] / norm**2) / norm
                elif K > 1 and not self.kinked(i) and not self.kinked(self.owner[k]) and j // K == k // K:
                    H[a, b] += 1  # the classes of a free row keep their sum
        return H
