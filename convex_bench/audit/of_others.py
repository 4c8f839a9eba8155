"""Solutions of the psi that are no sums of norms, against arithmetic of 400 bits.

Box, simplex and total variation hold w on a face, an affine set: the minimizer on the face that `codes` names is found
by Newton's method, and what holds it there is checked. The nuclear norm holds W on matrices of a rank: the minimizer
A B^T of that rank is the stationary point of f(A B^T) + lam (|A|^2 + |B|^2) / 2 (Srebro, Rennie and Jaakkola, 2004).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from convex_bench.audit.arithmetic import Numbers
from convex_bench.audit.draw import Case, Other

TOLERANCE = 1e-12
STEPS = 12


class OtherJudge(Numbers):
    """What all of them claim: the value, and a ball around w in which the solution lies."""

    def __init__(self, case: Case, psi: Other, solution: Any, mp: Any) -> None:
        super().__init__(case.problem, mp)
        self.case, self.psi, self.solution = case, psi, solution
        self.lam = mp.mpf(psi.lam)
        self.w = self.numbers(solution.w)
        low = np.zeros_like(solution.w) if solution.low is None else solution.low
        self.z = [a + b for a, b in zip(self.w, self.numbers(low), strict=True)]  # what the residual is claimed of

    def penalty(self, z: list[Any]) -> Any:
        """Return psi where it is finite."""
        raise NotImplementedError

    def residuals(self) -> list[Any]:
        """Return the absolute residual of each atom at w + low."""
        raise NotImplementedError

    def minimizer(self) -> tuple[list[Any], str]:
        """Return (the minimizer on the manifold of `codes`, what is wrong with it as one of F, or nothing)."""
        raise NotImplementedError

    def false_claims(self) -> list[str]:
        """Return what the solution says that is false; its status is "certified" or "degenerate"."""
        s, found, mp = self.solution, [], self.mp
        true = self.residuals()
        if len(true) != len(s.codes):
            return [f"codes: {len(s.codes)} atoms where there are {len(true)}"]
        for i, a in enumerate(true):
            if a > s.residual[i] * s.scale[i] + 1e-15 * s.scale[i] or a > TOLERANCE * s.scale[i]:
                found.append(f"residual: {float(a / s.scale[i]):.1e} of atom {i} where {s.residual[i]:.1e} is claimed")
                break
        value = self.value(self.w) + self.penalty(self.w)
        if abs(value - s.value) > self.rounding(self.w, value):
            found.append(f"value: {s.value} where {float(value)} is true")
        if not np.isfinite(s.radius):
            return [*found, "radius: none, though certified"] if s.status == "certified" else found
        z, wrong = self.minimizer()
        if wrong and s.proved.all():
            found.append(f"proved: {wrong}")
        distance = mp.sqrt(sum((a - b) ** 2 for a, b in zip(z, self.w, strict=True)))
        if not wrong and distance > s.radius:
            found.append(f"radius: {s.radius:.1e}, but the solution is at {float(distance):.1e}")
        return found


class FaceJudge(OtherJudge):
    """Box, simplex and total variation on vectors."""

    def penalty(self, z: list[Any]) -> Any:
        """Return psi where it is finite."""
        if self.psi.name != "total variation":
            return self.mp.mpf(0)
        return self.lam * sum(abs(b - a) for a, b in pairwise(z[: self.features]))

    def _outside(self) -> str:
        """Return what makes w infeasible, or nothing."""
        x = self.solution.w[: self.features]
        if self.psi.name == "box" and (x.min() < self.psi.lower or x.max() > self.psi.upper):
            return "outside the box"
        if self.psi.name == "simplex":
            slack = 4 * len(x) * 2.0**-52 * self.psi.upper
            if x.min() < 0 or abs(sum(self.w[: self.features]) - self.psi.upper) > slack:
                return "outside the simplex"
        return ""

    def residuals(self) -> list[Any]:
        """Return the absolute residual of each atom at w + low, as the regularizers define it."""
        g, _ = self.gradient(self.z)
        d, x = self.features, self.w[: self.features]
        rest = [abs(a) for a in g[d:]]
        infinite = [self.mp.inf] * d
        if self._outside():
            return infinite + rest
        if self.psi.name == "box":
            return [self._at_bound(a, b) for a, b in zip(x, g, strict=False)] + rest
        if self.psi.name == "simplex":
            support = [j for j in range(d) if x[j] > 0]
            c = -sum(g[j] for j in support) / len(support)
            return [abs(-g[j] - c) if x[j] > 0 else max(-g[j] - c, 0) for j in range(d)] + rest
        y, found = self.mp.mpf(0), []
        total = abs(sum(g[:d]))
        for j in range(d - 1):
            y += g[j]
            jump = x[j + 1] - x[j]
            away = abs(y - self.lam * self.mp.sign(jump)) if jump != 0 else max(abs(y) - self.lam, 0)
            found.append(max(away, total))
        return found + rest

    def _at_bound(self, a: Any, g: Any) -> Any:
        if self.psi.lower == self.psi.upper:
            return self.mp.mpf(0)
        return max(-g, 0) if a == self.psi.lower else max(g, 0) if a == self.psi.upper else abs(g)

    def _face(self) -> tuple[list[Any], list[list[int]], list[list[int]], list[Any]]:
        """Return (a point of the face; directions as coordinates to raise and to lower; the slope of psi on it)."""
        d, x = self.features, list(self.w[: self.features])
        z, slope = list(self.w), [self.mp.mpf(0)] * self.size
        rest = [[j] for j in range(d, self.size)]
        if self.psi.name == "box":
            inside = [[j] for j in range(d) if self.psi.lower < x[j] < self.psi.upper]
            return z, inside + rest, [[] for _ in inside + rest], slope
        if self.psi.name == "simplex":
            support = [j for j in range(d) if x[j] > 0]
            z[support[0]] += self.mp.mpf(self.psi.upper) - sum(x)
            up = [[j] for j in support[1:]]
            return z, up + rest, [[support[0]] for _ in up] + [[] for _ in rest], slope
        pieces = [[0]]
        for j in range(1, d):
            if x[j] == x[j - 1]:
                pieces[-1].append(j)
            else:
                pieces.append([j])
                slope[j] += self.lam * self.mp.sign(x[j] - x[j - 1])
                slope[j - 1] -= self.lam * self.mp.sign(x[j] - x[j - 1])
        return z, pieces + rest, [[] for _ in pieces + rest], slope

    def minimizer(self) -> tuple[list[Any], str]:
        """Return (the minimizer on the manifold, what is wrong with it)."""
        mp = self.mp
        z, up, down, slope = self._face()
        every = list(range(self.size))
        for _ in range(STEPS):
            g = [a + b for a, b in zip(self.gradient(z)[0], slope, strict=True)]
            along = [sum(g[j] for j in u) - sum(g[j] for j in v) for u, v in zip(up, down, strict=True)]
            if not along or max(map(abs, along)) < mp.mpf(10) ** -60:
                break
            H = self.hessian(z, every)
            P = mp.matrix(self.size, len(up))
            for k, (u, v) in enumerate(zip(up, down, strict=True)):
                for j in u:
                    P[j, k] = 1
                for j in v:
                    P[j, k] = -1
            step = P * mp.lu_solve(P.T * H * P, mp.matrix([-a for a in along]))
            z = [a + b for a, b in zip(z, step, strict=True)]
        return z, self._wrong(z)

    def _wrong(self, z: list[Any]) -> str:
        d, x, before, tiny = self.features, z[: self.features], self.w, self.mp.mpf(10) ** -40
        g, _ = self.gradient(z)
        if self.psi.name == "box":
            inside = [self.psi.lower < before[j] < self.psi.upper for j in range(d)]
            if any(a and not self.psi.lower < b < self.psi.upper for a, b in zip(inside, x, strict=True)):
                return "a coordinate called inside is at a bound"
            held = [self._at_bound(before[j], g[j]) for j in range(d) if not inside[j]]
            return "a coordinate called held would move inside" if held and max(held) > tiny else ""
        if self.psi.name == "simplex":
            support = [j for j in range(d) if before[j] > 0]
            if min(x[j] for j in support) <= 0:
                return "a coordinate called positive is zero"
            c = -g[support[0]]
            return "a zero would enter the support" if max(-a - c for a in g[:d]) > tiny else ""
        y = self.mp.mpf(0)
        for j in range(d - 1):
            y += g[j]
            sign = self.mp.sign(before[j + 1] - before[j])
            if sign * (x[j + 1] - x[j]) < 0 or (sign != 0 and x[j + 1] == x[j]):
                return "a gap called a jump is none"
            if abs(y) > self.lam + tiny:
                return "a gap called held would jump"
        return ""


class RankJudge(OtherJudge):
    """The nuclear norm of the matrix (features, classes)."""

    def penalty(self, z: list[Any]) -> Any:
        """Return psi where it is finite."""
        return self.lam * sum(self._svd(z)[1])

    def _matrix(self, z: list[Any]) -> Any:
        K = self.K
        return self.mp.matrix([[z[j * K + k] for k in range(K)] for j in range(self.features // K)])

    def _svd(self, z: list[Any]) -> tuple[Any, list[Any], Any]:
        """Return (U, singular values, V^T), thin."""
        W = self._matrix(z)
        if W.rows < W.cols:
            U, S, V = self.mp.svd_r(W.T, full_matrices=False)
            return V.T, list(S), U.T
        U, S, V = self.mp.svd_r(W, full_matrices=False)
        return U, list(S), V

    def residuals(self) -> list[Any]:
        """Of singular values nothing is checked here: zeros of w in doubles are zeros up to rounding alone."""
        g, _ = self.gradient(self.z)
        rest = [abs(a) for a in g[self.features :]]
        return [self.mp.mpf(0)] * (len(self.solution.codes) - bool(rest)) + ([max(rest)] if rest else [])

    def minimizer(self) -> tuple[list[Any], str]:
        """Return (the minimizer on the manifold, what is wrong with it)."""
        mp, K, d = self.mp, self.K, self.features // self.K
        singular = len(self.solution.codes) - (self.size > self.features)
        rank = int((self.solution.codes[:singular] > 0).sum())
        U, S, V = self._svd(self.w)
        root = [mp.sqrt(a) for a in S]
        A = mp.matrix(d, rank)
        B = mp.matrix(K, rank)
        for r in range(rank):
            for j in range(d):
                A[j, r] = U[j, r] * root[r]
            for k in range(K):
                B[k, r] = V[r, k] * root[r]
        b = self.w[self.features :]
        for _ in range(STEPS):
            z = self._point(A, B, b)
            slope, H = self._factored(A, B, z)
            if not slope or max(map(abs, slope)) < mp.mpf(10) ** -60:
                break
            step = list(mp.lu_solve(H, mp.matrix([-a for a in slope])))
            for r in range(rank):
                for j in range(d):
                    A[j, r] += step[j * rank + r]
                for k in range(K):
                    B[k, r] += step[(d + k) * rank + r]
            b = [a + c for a, c in zip(b, step[(d + K) * rank :], strict=True)]
        z = self._point(A, B, b)
        slope, _ = self._factored(A, B, z)
        if slope and max(map(abs, slope)) > mp.mpf(10) ** -40:
            return z, "Newton's method on the rank that is claimed does not end"
        G = self._matrix(self.gradient(z)[0])
        if rank < min(d, K):
            U, S, V = self._svd(z)
            P, Q = mp.eye(d), mp.eye(K)
            if rank:
                P -= U[:, :rank] * U[:, :rank].T
                Q -= V[:rank, :].T * V[:rank, :]
            rest = P * G * Q
            largest = mp.sqrt(max(mp.eigsy(rest.T * rest, eigvals_only=True)))
            if largest > self.lam:
                return z, "a singular value called zero would grow"
        if rank and self._svd(z)[1][rank - 1] <= mp.mpf(10) ** -40:
            return z, "a singular value called positive is zero"
        return z, ""

    def _point(self, A: Any, B: Any, b: list[Any]) -> list[Any]:
        K, d = self.K, self.features // self.K
        if A.cols == 0:
            return [self.mp.mpf(0)] * self.features + list(b)
        W = A * B.T
        return [W[j, k] for j in range(d) for k in range(K)] + list(b)

    def _factored(self, A: Any, B: Any, z: list[Any]) -> tuple[list[Any], Any]:
        """Return gradient and Hessian of f(A B^T, b) + lam (|A|^2 + |B|^2) / 2, made regular where it is constant.

        Constant along rotations of the factors, (A, B) -> (A R, B R), and along adding one number to all of b.
        """
        mp, K, d, rank = self.mp, self.K, self.features // self.K, A.cols
        m, rest = (d + K) * rank, self.size - self.features
        g, _ = self.gradient(z)
        J = mp.matrix(self.size, m + rest)
        for j in range(d):
            for k in range(K):
                for r in range(rank):
                    J[j * K + k, j * rank + r] = B[k, r]
                    J[j * K + k, (d + k) * rank + r] = A[j, r]
        for k in range(rest):
            J[self.features + k, m + k] = 1
        slope = J.T * mp.matrix(g)
        H = J.T * self.hessian(z, list(range(self.size))) * J
        for j in range(d):
            for k in range(K):
                for r in range(rank):
                    H[j * rank + r, (d + k) * rank + r] += g[j * K + k]
                    H[(d + k) * rank + r, j * rank + r] += g[j * K + k]
        for i in range(m):
            H[i, i] += self.lam
            slope[i] += self.lam * (A[i // rank, i % rank] if i < d * rank else B[i // rank - d, i % rank])
        flat = mp.matrix(m + rest, 1)
        for k in range(rest):
            flat[m + k] = 1
        H += flat * flat.T
        for p in range(rank):
            for q in range(p):
                turn = mp.matrix(m + rest, 1)
                for i in range(d + K):
                    row = A[i, :] if i < d else B[i - d, :]
                    turn[i * rank + p], turn[i * rank + q] = row[q], -row[p]
                H += turn * turn.T
        return list(slope), H
