"""Which methods have an accelerated optimizer: found by type, and held to the method's own `update` by one test."""

from __future__ import annotations

from manifold_id import methods
from manifold_id.methods.base import Method
from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.normal_map import NormalMapSGD
from manifold_id.optim.optimizer import plain_optimizer_of
from manifold_id.optim.prox_adamw import ProxAdamW
from manifold_id.optim.prox_sgd import ProxSGD
from manifold_id.optim.prox_ssi import ProxSSI
from manifold_id.optim.prox_storm import ProxSTORM
from manifold_id.optim.ramda import RAMDA
from manifold_id.optim.rda import RDA
from manifold_id.optim.rmda import RMDA
from manifold_id.optim.sda import SDA
from manifold_id.optim.yang_prox_sgd import YangProxSGD

FAST: dict[type[Method], type[ProximalOptimizer]] = {
    methods.RMDA: RMDA,
    methods.RAMDA: RAMDA,
    methods.RDA: RDA,
    methods.SDA: SDA,
    methods.ProxSGD: ProxSGD,
    methods.YangProxSGD: YangProxSGD,
    methods.ProxAdamW: ProxAdamW,
    methods.ProxSSI: ProxSSI,
    methods.NormalMapSGD: NormalMapSGD,
    methods.ProxSTORM: ProxSTORM,
}


def optimizer_of(method: type[Method]) -> type[ProximalOptimizer]:
    """Return the torch optimizer of a class of methods: an accelerated one, or else `plain_optimizer_of(method)`.

    A subclass of a built-in method is a method of its own: it has the plain form.

    Raises
    ------
    TypeError
        If `method` is no subclass of Method that is a dataclass, or has no field `lr`.
    """
    return FAST[method] if method in FAST else plain_optimizer_of(method)
