"""The loss of a problem in arithmetic of 400 bits: values, gradients, Hessians from X and y alone."""

from __future__ import annotations

from typing import Any

from scipy import sparse

from convex_bench.problem import Problem

BITS = 400


class Numbers:
    """The rows of a problem in `mp`; points are lists of the flat coordinates (features by class, then the intercept).

    X : rows with the 1 of the intercept; y : labels as the loss codes them; K, n, size, features : outputs, rows,
    coordinates, and those of them that belong to features.
    """

    def __init__(self, problem: Problem, mp: Any) -> None:
        X = problem.X.toarray() if sparse.issparse(problem.X) else problem.X
        self.mp, self.loss, self.K, self.n = mp, problem.loss.name, problem.n_outputs, problem.n
        self.X = [[mp.mpf(float(a)) for a in row] + [mp.mpf(1)] * problem.intercept for row in X]
        self.y = [float(a) for a in problem.y]
        self.size = len(self.X[0]) * self.K
        self.features = problem.n_features * self.K

    def margins(self, z: list[Any]) -> list[list[Any]]:
        """Return x_i z for every row and class."""
        return [[self.mp.fdot(row, z[k :: self.K]) for k in range(self.K)] for row in self.X]

    def slopes(self, m: list[list[Any]]) -> list[list[Any]]:
        """Return l' of every row."""
        mp = self.mp
        if self.loss == "squared":
            return [[row[0] - y] for row, y in zip(m, self.y, strict=True)]
        if self.loss == "logistic":
            return [[-y / (1 + mp.exp(y * row[0]))] for row, y in zip(m, self.y, strict=True)]
        found = []
        for row, y in zip(m, self.y, strict=True):
            e = [mp.exp(a - max(row)) for a in row]
            found.append([a / sum(e) - (k == y) for k, a in enumerate(e)])
        return found

    def gradient(self, z: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return (gradient of f, the size of its terms)."""
        d = self.slopes(self.margins(z))
        g, size = [], []
        for column in zip(*self.X, strict=True):
            for k in range(self.K):
                terms = [a * row[k] for a, row in zip(column, d, strict=True)]
                g.append(sum(terms) / self.n)
                size.append(sum(map(abs, terms)) / self.n)
        return g, size

    def value(self, z: list[Any]) -> Any:
        """Return f."""
        mp, total = self.mp, self.mp.mpf(0)
        for row, y in zip(self.margins(z), self.y, strict=True):
            if self.loss == "squared":
                total += (row[0] - y) ** 2 / 2
            elif self.loss == "logistic":
                total += mp.log1p(mp.exp(-y * row[0])) if -y * row[0] < 1000 else -y * row[0]
            else:
                total += mp.log(sum(mp.exp(a - row[int(y)]) for a in row))
        return total / self.n

    def rounding(self, w: list[Any], value: Any) -> Any:
        """Return how far F(w), which is `value`, may be off in doubles: 64 u of the terms that it is made of."""
        d = self.slopes(self.margins(w))
        sizes = [
            sum(abs(row[j // self.K] * w[j]) * abs(slope[j % self.K]) for j in range(self.size))
            for row, slope in zip(self.X, d, strict=True)
        ]
        return (sum(sizes) / self.n + abs(value)) * 64 * 2.0**-53

    def hessian(self, z: list[Any], S: list[int]) -> Any:
        """Return the Hessian of f on the coordinates S."""
        mp, K = self.mp, self.K
        curvature = self._curvature(self.margins(z))
        H = mp.matrix(len(S), len(S))
        for a, j in enumerate(S):
            for b in range(a + 1):
                k = S[b]
                terms = (row[j // K] * row[k // K] * c[j % K][k % K] for row, c in zip(self.X, curvature, strict=True))
                H[a, b] = H[b, a] = sum(terms) / self.n
        return H

    def _curvature(self, m: list[list[Any]]) -> list[Any]:
        mp = self.mp
        if self.loss == "squared":
            return [[[1]] for _ in m]
        if self.loss == "logistic":
            return [[[1 / (2 + mp.exp(row[0]) + mp.exp(-row[0]))]] for row in m]
        found = []
        for row in m:
            e = [mp.exp(a - max(row)) for a in row]
            p = [a / sum(e) for a in e]
            found.append([[p[k] * ((k == q) - p[q]) for q in range(self.K)] for k in range(self.K)])
        return found

    def numbers(self, values: Any) -> list[Any]:
        """Return an array of doubles as a list in `mp`."""
        return [self.mp.mpf(float(a)) for a in values.ravel()]
