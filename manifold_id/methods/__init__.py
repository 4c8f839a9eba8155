"""The update rules, one file each: frozen parameters, init, update. The same code serves NumPy and torch arrays."""

from manifold_id.methods.base import Method, Oracle, State
from manifold_id.methods.normal_map import NormalMapSGD
from manifold_id.methods.prox_adamw import ProxAdamW
from manifold_id.methods.prox_gradient import FISTA, ProxGradient
from manifold_id.methods.prox_saga import ProxSAGA
from manifold_id.methods.prox_sgd import ProxSGD
from manifold_id.methods.prox_ssi import ProxSSI
from manifold_id.methods.prox_svrg import ProxSVRG
from manifold_id.methods.ramda import RAMDA
from manifold_id.methods.rda import RDA, SDA
from manifold_id.methods.rmda import RMDA
from manifold_id.methods.schedule import Stages
from manifold_id.methods.storm import ProxSTORM, SPStorm
from manifold_id.methods.yang_prox_sgd import YangProxSGD

METHODS: dict[str, type[Method]] = {
    cls.__name__: cls
    for cls in (
        RMDA,
        RAMDA,
        RDA,
        SDA,
        ProxSGD,
        YangProxSGD,
        ProxSVRG,
        ProxSAGA,
        ProxSTORM,
        SPStorm,
        ProxAdamW,
        ProxSSI,
        NormalMapSGD,
        ProxGradient,
        FISTA,
    )
}

__all__ = [
    "FISTA",
    "METHODS",
    "RAMDA",
    "RDA",
    "RMDA",
    "SDA",
    "Method",
    "NormalMapSGD",
    "Oracle",
    "ProxAdamW",
    "ProxGradient",
    "ProxSAGA",
    "ProxSGD",
    "ProxSSI",
    "ProxSTORM",
    "ProxSVRG",
    "SPStorm",
    "Stages",
    "State",
    "YangProxSGD",
]
