"""Each method as coefficients of the compiled loop: the fast statement of `manifold_id.methods`, held to it by test.

A recursion says, for a block of steps, what `kernel.advance` multiplies with what. A method that is not in the table
still runs in a study through its pure update, only more slowly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from convex_bench.engine.ordinary import kernel as K
from manifold_id.methods import (
    FISTA,
    RDA,
    RMDA,
    SDA,
    NormalMapSGD,
    ProxGradient,
    ProxSAGA,
    ProxSGD,
    ProxSTORM,
    ProxSVRG,
    SPStorm,
    YangProxSGD,
)
from manifold_id.methods.prox_gradient import next_theta

Table = np.ndarray  # (steps, K.COLUMNS)


@dataclass(frozen=True)
class Recursion:
    """How the loop runs a method.

    Attributes
    ----------
    coefficients
        (method, t, carry) -> carry': fills the columns of the table it is given for the steps t (an array of
        consecutive steps >= 1); `carry` is what the block before left, None at the start.
    second
        What the second gradient h is taken at: NONE, SNAPSHOT_POINT, TABLE or PREVIOUS.
    full
        Gradients are full.
    adaptive
        The prox is in the metric D = sqrt(scale u) + eps, with u the running second moment.
    iterate
        "w" or "z": which of the loop's two points is the method's iterate.
    two_points
        Whether w and z differ, so that both are tracked; may depend on the method's parameters.
    ignores_regularizer
        The method runs with psi = 0.
    """

    coefficients: Callable[[Any, np.ndarray, Table, Any], Any]
    second: int = K.NONE
    full: bool = False
    adaptive: bool = False
    eps: Callable[[Any], float] = lambda method: 0.0
    iterate: str = "w"
    two_points: Callable[[Any], bool] = lambda method: False
    ignores_regularizer: bool = False

    @property
    def gathers(self) -> bool:
        """Whether the loop needs every coordinate of z, as `kernel` keeps it where groups are gathered."""
        return self.adaptive or self.iterate == "z"

    def plan(self, method: Any) -> K.Plan:
        """Return what the loop is told about the method besides its coefficients."""
        return K.Plan(self.second, self.full, self.adaptive, float(self.eps(method)), self.two_points(method))


def _running_sum(s: np.ndarray, start: float, restarts: np.ndarray) -> np.ndarray:
    """Return the running sums of s that begin anew where `restarts`; one addition a step, as the pure update does."""
    total = np.empty_like(s)
    bounds = np.concatenate([[0], np.flatnonzero(restarts), [len(s)]])
    for a, b in itertools.pairwise(bounds):
        first = start if a == 0 and not (len(restarts) and restarts[0]) else 0.0
        total[a:b] = np.cumsum(np.concatenate([[first], s[a:b]]))[1:]
    return total


def _rmda(method: RMDA, t: np.ndarray, out: Table, carry: Any) -> Any:
    stage = method.stages.at(t, method.momentum)
    k = stage.k.astype(float)
    s = method.lr * stage.factor * k ** (0.5 - method.decay)
    beta = k**method.damping
    restarts = stage.k == 1
    alpha = _running_sum(s, carry or 0.0, restarts)
    out[:, K.VV], out[:, K.VG] = 1, s
    out[:, K.PA], out[:, K.PV], out[:, K.STEP] = 1, -1 / beta, alpha / beta
    out[:, K.C], out[:, K.RESTART], out[:, K.EST] = stage.momentum, restarts, 1 / alpha
    return alpha[-1]


def _rda(method: RDA, t: np.ndarray, out: Table, carry: Any) -> Any:
    step = np.sqrt(t) / method.gamma
    out[:, K.VV], out[:, K.VG] = 1, 1
    out[:, K.PV], out[:, K.STEP], out[:, K.C], out[:, K.EST] = -step / t, step, 1, 1 / t


def _prox_sgd(method: ProxSGD, t: np.ndarray, out: Table, carry: Any) -> Any:
    lr = method.lr * t.astype(float) ** -method.decay
    out[:, K.VV], out[:, K.VG] = 1 - method.momentum, method.momentum
    _descent(out, lr)


def _descent(out: Table, lr: Any) -> None:
    """Fill in z = prox_{lr psi}(w - lr v), w = z, with v the estimate."""
    out[:, K.PW], out[:, K.PV], out[:, K.STEP], out[:, K.C], out[:, K.EST] = 1, -lr, lr, 1, 1


def _yang(method: YangProxSGD, t: np.ndarray, out: Table, carry: Any) -> Any:
    rho, eps = method.rho / (t + 3) ** 0.5, method.eps / (t + 3) ** 0.5
    out[:, K.VV], out[:, K.VG] = 1 - rho, rho
    out[:, K.UU], out[:, K.UG] = method.beta, 1 - method.beta
    out[:, K.USCALE] = 1 / (1 - method.beta ** t.astype(float))
    out[:, K.PW], out[:, K.PV], out[:, K.STEP], out[:, K.C], out[:, K.EST] = 1, -1, 1, eps, 1


def _svrg(method: ProxSVRG, t: np.ndarray, out: Table, carry: Any) -> Any:
    assert method.epoch is not None
    out[:, K.VG], out[:, K.VH], out[:, K.VM] = 1, -1, 1
    out[:, K.SNAPSHOT] = (t - 1) % method.epoch == 0
    _descent(out, method.lr)


def _saga(method: ProxSAGA, t: np.ndarray, out: Table, carry: Any) -> Any:
    out[:, K.VG], out[:, K.VH], out[:, K.VM] = 1, -1, 1
    out[:, K.SNAPSHOT] = t == 1
    _descent(out, method.lr)


def _storm_momentum(t: np.ndarray, out: Table, b: np.ndarray) -> None:
    later = t > 1
    out[:, K.VV], out[:, K.VG], out[:, K.VH] = later * (1 - b), 1, -(later * (1 - b))


def _prox_storm(method: ProxSTORM, t: np.ndarray, out: Table, carry: Any) -> Any:
    a, b = method.coefficients(t)
    _storm_momentum(t, out, b)
    _descent(out, a)


def _sp_storm(method: SPStorm, t: np.ndarray, out: Table, carry: Any) -> Any:
    b = np.minimum(0.5, method.c / (t + 1))
    _storm_momentum(t, out, b)
    _descent(out, method.lr)
    out[:, K.C] = method.zeta * b


def _normal_map(method: NormalMapSGD, t: np.ndarray, out: Table, carry: Any) -> Any:
    a = method.lr * t.astype(float) ** -method.decay
    pull = a / method.prox_step
    out[:, K.VV], out[:, K.VW], out[:, K.VG] = 1 - pull, pull, -a
    out[t == 1, K.VV], out[t == 1, K.VW] = 0, 1  # u_0 = w_0, so that the pull vanishes
    out[:, K.PV], out[:, K.STEP], out[:, K.C] = 1, method.prox_step, 1


def _prox_gradient(method: ProxGradient, t: np.ndarray, out: Table, carry: Any) -> Any:
    out[:, K.VG] = 1
    _descent(out, method.lr)


def _fista(method: FISTA, t: np.ndarray, out: Table, carry: Any) -> Any:
    _prox_gradient(method, t, out, carry)
    theta = 1.0 if carry is None else carry
    for i in range(len(t)):
        following = next_theta(theta)
        out[i, K.E] = (theta - 1) / following
        theta = following
    return theta


RECURSIONS: dict[type, Recursion] = {
    RMDA: Recursion(_rmda, two_points=lambda m: m.momentum < 1),
    RDA: Recursion(_rda),
    SDA: Recursion(_rda, ignores_regularizer=True),
    ProxSGD: Recursion(_prox_sgd),
    YangProxSGD: Recursion(_yang, adaptive=True, eps=lambda m: m.delta, two_points=lambda m: True),
    ProxSVRG: Recursion(_svrg, second=K.SNAPSHOT_POINT),
    ProxSAGA: Recursion(_saga, second=K.TABLE),
    ProxSTORM: Recursion(_prox_storm, second=K.PREVIOUS),
    SPStorm: Recursion(_sp_storm, second=K.PREVIOUS, two_points=lambda m: True),
    NormalMapSGD: Recursion(_normal_map),
    ProxGradient: Recursion(_prox_gradient, full=True),
    FISTA: Recursion(_fista, full=True, iterate="z"),
}
