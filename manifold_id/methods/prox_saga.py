"""Prox-SAGA: a table of the last gradient of every row corrects the minibatch (Defazio et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from array_api_compat import array_namespace

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.methods.schedule import step_size
from manifold_id.regularizers.base import Array, Regularizer


@dataclass(frozen=True)
class ProxSAGAState(State):
    """State of prox-SAGA."""

    table: Array | None  # (n, *w.shape): the last gradient seen of each row
    mean: Array  # the table's mean


@dataclass(frozen=True)
class ProxSAGA(Method):
    """Prox-SAGA: with phi_i the point at which row i was last seen (phi_i = w_0 at the start),

        d_t = (1/b) sum_{i in B} (grad f_i(w_{t-1}) - grad f_i(phi_i)) + (1/n) sum_j grad f_j(phi_j),
        w_t = prox_{lr psi}(w_{t-1} - lr d_t),      then phi_i = w_{t-1} for i in B.

    `lr` None = 1 / (3 max_i L_i). This reference keeps whole gradients, n times the memory of w; compiled loops for
    linear models keep one number a row.

    References
    ----------
    A. Defazio, F. Bach, S. Lacoste-Julien, "SAGA: a fast incremental gradient method with support for non-strongly
    convex composite objectives", NeurIPS 2014; identification: Poon et al., ICML 2018.
    """

    lr: float | None = None

    def __post_init__(self) -> None:
        if self.lr is not None:
            step_size(self.lr)

    def for_problem(self, problem: Any) -> Self:
        """Fill in lr."""
        return self if self.lr is not None else replace(self, lr=1 / (3 * float(problem.row_lipschitz().max())))

    def init(self, w0: Array) -> ProxSAGAState:
        """Start from w0; the first step fills the table."""
        return ProxSAGAState(0, w0, w0, 0 * w0, table=None, mean=0 * w0)

    def update(self, oracle: Oracle, state: ProxSAGAState, regularizer: Regularizer) -> ProxSAGAState:
        """Take one step."""
        if self.lr is None:
            raise ValueError("ProxSAGA(lr=None): call for_problem(problem) first")
        xp = array_namespace(state.w)
        if state.table is None:
            table, mean = oracle.row_gradients(state.w, xp.arange(oracle.n)), oracle.full(state.w)
        else:
            table, mean = xp.asarray(state.table, copy=True), state.mean
        fresh = oracle.row_gradients(state.w, oracle.rows)
        d = xp.mean(fresh - table[oracle.rows], axis=0) + mean
        for i, gradient in zip(oracle.rows, fresh, strict=True):  # one by one: a minibatch may hold a row twice
            mean = mean + (gradient - table[i]) / oracle.n
            table[i] = gradient
        w = regularizer.prox(state.w - self.lr * d, self.lr)
        return ProxSAGAState(state.t + 1, w, w, d, table, mean)
