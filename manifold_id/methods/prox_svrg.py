"""Prox-SVRG: a snapshot's full gradient corrects the minibatch (Xiao and Zhang 2014)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.methods.schedule import step_size
from manifold_id.regularizers.base import Array, Regularizer
from manifold_id.validation import integer


@dataclass(frozen=True)
class ProxSVRGState(State):
    """State of prox-SVRG."""

    snapshot: Array
    mean: Array  # grad f(snapshot)


@dataclass(frozen=True)
class ProxSVRG(Method):
    """Prox-SVRG with the last iterate as snapshot (option I): every `epoch` steps x~ = w and mu = grad f(x~); then

        d_t = g_B(w_{t-1}) - g_B(x~) + mu,      w_t = prox_{lr psi}(w_{t-1} - lr d_t).

    Parameters
    ----------
    lr
        Constant step size; None = 1 / (3 max_i L_i) with L_i the Lipschitz constant of grad f_i.
    epoch
        Steps between snapshots; None = the number of rows.

    References
    ----------
    L. Xiao, T. Zhang, "A proximal stochastic gradient method with progressive variance reduction", SIAM J. Optim. 24,
    2014; identification: C. Poon, J. Liang, C. Schoenlieb, ICML 2018.
    """

    lr: float | None = None
    epoch: int | None = None

    def __post_init__(self) -> None:
        if self.lr is not None:
            step_size(self.lr)
        if self.epoch is not None:
            integer("epoch", self.epoch, 1)

    def for_problem(self, problem: Any) -> Self:
        """Fill in lr and epoch."""
        lr = 1 / (3 * float(problem.row_lipschitz().max())) if self.lr is None else self.lr
        return replace(self, lr=lr, epoch=problem.n if self.epoch is None else self.epoch)

    def init(self, w0: Array) -> ProxSVRGState:
        """Start from w0; the first step takes the first snapshot."""
        return ProxSVRGState(0, w0, w0, 0 * w0, snapshot=w0, mean=0 * w0)

    def update(self, oracle: Oracle, state: ProxSVRGState, regularizer: Regularizer) -> ProxSVRGState:
        """Take one step."""
        if self.lr is None or self.epoch is None:
            raise ValueError("ProxSVRG(lr=None or epoch=None): call for_problem(problem) first")
        snapshot, mean = state.snapshot, state.mean
        if state.t % self.epoch == 0:
            snapshot, mean = state.w, oracle.full(state.w)
        d = oracle(state.w) - oracle(snapshot) + mean
        w = regularizer.prox(state.w - self.lr * d, self.lr)
        return ProxSVRGState(state.t + 1, w, w, d, snapshot, mean)
