"""The published updates, transcribed in float64 NumPy one array at a time; nothing here is taken from the package."""

import math

import numpy as np
from scipy.optimize import brentq

SHAPES = {"conv": (4, 3, 2, 2), "linear": (5, 6), "bias": (5,)}


class NoPenalty:
    def prox(self, x, t):
        return x.copy()

    def prox_metric(self, x, t, d):
        return x.copy()


class Lasso:
    def __init__(self, lam):
        self.lam = lam

    def prox(self, x, t):
        return np.sign(x) * np.maximum(np.abs(x) - t * self.lam, 0)

    def prox_metric(self, x, t, d):
        return np.sign(x) * np.maximum(np.abs(x) - t * self.lam / d, 0)


class Groups:
    """lam * sum_g sqrt(size) |w_g| over the slices along one axis."""

    def __init__(self, lam, axis):
        self.lam, self.axis = lam, axis

    def _each(self, x, shrink, *more):
        x = np.moveaxis(x, self.axis, 0)
        more = [np.moveaxis(m, self.axis, 0) for m in more]
        out = np.zeros_like(x)
        for i in range(len(x)):
            out[i] = shrink(x[i], *(m[i] for m in more), self.lam * math.sqrt(x[i].size))
        return np.moveaxis(out, 0, self.axis)

    def prox(self, x, t):
        def shrink(v, lam):
            norm = np.linalg.norm(v.ravel())
            return v * (1 - t * lam / norm) if norm > t * lam else 0 * v

        return self._each(x, shrink)

    def prox_metric(self, x, t, d):
        def shrink(v, e, lam):
            limit = t * lam
            if np.linalg.norm((e * v).ravel()) <= limit:
                return 0 * v

            def excess(theta):
                return np.linalg.norm((e * v / (e * theta + limit)).ravel()) - 1

            theta = brentq(excess, 0, np.linalg.norm(v.ravel()) + 1e-300, xtol=1e-300, rtol=1e-15, maxiter=500)
            return e * v * theta / (e * theta + limit)

        return self._each(x, shrink, d)


class Nuclear:
    def __init__(self, lam):
        self.lam = lam

    def prox(self, x, t):
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        return (u * np.maximum(s - t * self.lam, 0)) @ vt


def rmda(w, grads, psi, lr=0.1, c=1.0, stages=None):
    """Yield (W, proximal point). stages(t) -> (restart before step t?, lr, c) for t = 1, 2, ..."""
    for t, g in enumerate(grads, 1):
        restart, lr, c = stages(t) if stages else (t == 1, lr, c)
        if restart or t == 1:
            k, alpha, total, anchor = 0, 0.0, np.zeros_like(w), w.copy()
        k += 1
        s = lr * math.sqrt(k)
        alpha += s
        total = total + s * g
        beta = math.sqrt(k)
        z = psi.prox(anchor - total / beta, alpha / beta)
        w = (1 - c) * w + c * z
        yield w, z


def ramda(w, grads, psi, lr=0.01, c=1.0, eps=1e-6, stages=None):
    for t, g in enumerate(grads, 1):
        restart, lr, c, *rest = stages(t) if stages else (t == 1, lr, c)
        eps = rest[0] if rest else eps
        if restart or t == 1:
            k, alpha, total, squares, anchor = 0, 0.0, np.zeros_like(w), np.zeros_like(w), w.copy()
        k += 1
        s = lr * math.sqrt(k)
        alpha += s
        total = total + s * g
        squares = squares + s * g**2
        d = np.cbrt(squares) + eps
        z = psi.prox_metric(anchor - total / d, alpha, d)
        w = (1 - c) * w + c * z
        yield w, z


def rda(w, grads, psi, gamma=1.0):
    total = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        total = total + g
        w = psi.prox(-(math.sqrt(t) / gamma) * (total / t), math.sqrt(t) / gamma)
        yield w, w


def prox_sgd(w, grads, psi, lr=0.1, c=1.0, stages=None):
    v = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        _, lr, c = stages(t) if stages else (False, lr, c)
        v = (1 - c) * v + c * g
        w = psi.prox(w - lr * v, lr)
        yield w, w


def yang(w, grads, psi, eps=0.06, rho=0.9, beta=0.999, delta=1e-8):
    v, r = np.zeros_like(w), np.zeros_like(w)
    for k, g in enumerate(grads):  # the paper counts from 0
        rho_k, eps_k = rho / (k + 4) ** 0.5, eps / (k + 4) ** 0.5
        v = (1 - rho_k) * v + rho_k * g
        r = beta * r + (1 - beta) * g**2
        tau = np.sqrt(r / (1 - beta ** (k + 1))) + delta
        z = psi.prox_metric(w - v / tau, 1.0, tau)
        w = w + eps_k * (z - w)
        yield w, z


def prox_adamw(w, grads, psi, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False):
    m, u, top = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        w = w * (1 - lr * weight_decay)
        m = betas[0] * m + (1 - betas[0]) * g
        u = betas[1] * u + (1 - betas[1]) * g**2
        top = np.maximum(top, u) if amsgrad else u
        d = np.sqrt(top) / np.sqrt(1 - betas[1] ** t) + eps
        w = psi.prox_metric(w - lr * (m / (1 - betas[0] ** t)) / d, lr, d)
        yield w, w


def prox_ssi(w, grads, psi, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0):
    m, u = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        m = betas[0] * m + (1 - betas[0]) * g
        u = betas[1] * u + (1 - betas[1]) * g**2
        d = np.sqrt(u) + eps
        w = w - lr * math.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t) * m / d
        w = w - lr * weight_decay * w
        w = psi.prox_metric(w, lr, d)
        yield w, w


def normal_map(w, grads, psi, lr=0.1, step=1.0, decay=0.75):
    u = w.copy()
    for t, g in enumerate(grads, 1):
        u = u - lr * t**-decay * (g + (u - w) / step)
        w = psi.prox(u, step)
        yield w, w


def storm(w, oracle, steps, psi, lr=0.1):
    """oracle(t, w) = the gradient on minibatch t at w."""
    lipschitz = 1 / (8 * lr)
    d = older = None

    def size(t):
        return 4 ** (1 / 3) / (8 * lipschitz) * (t + 4) ** (-1 / 3)

    for t in range(1, steps + 1):
        a = size(t)
        b = (1 + 24 * a**2 * lipschitz**2 - size(t + 1) / a) / (1 + 4 * a**2 * lipschitz**2)
        g = oracle(t, w)
        d = g if d is None else g + (1 - b) * (d - oracle(t, older))
        older, w = w, psi.prox(w - a * d, a)
        yield w, w
