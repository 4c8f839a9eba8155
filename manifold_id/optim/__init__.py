"""The update rules as torch optimizers, and what training with them needs."""

from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.groups import ParameterGroups, group_parameters
from manifold_id.optim.init import rda_init_
from manifold_id.optim.normal_map import NormalMapSGD
from manifold_id.optim.optimizer import plain_optimizer_of
from manifold_id.optim.points import ManifoldAverage, at_proximal_point
from manifold_id.optim.prox_adamw import ProxAdamW
from manifold_id.optim.prox_sgd import ProxSGD
from manifold_id.optim.prox_ssi import ProxSSI
from manifold_id.optim.prox_storm import ProxSTORM
from manifold_id.optim.ramda import RAMDA
from manifold_id.optim.rda import RDA
from manifold_id.optim.reshaped import Reshaped
from manifold_id.optim.retraining import SparseRetraining
from manifold_id.optim.rmda import RMDA
from manifold_id.optim.schedule import StageSchedule
from manifold_id.optim.sda import SDA
from manifold_id.optim.table import FAST, optimizer_of
from manifold_id.optim.yang_prox_sgd import YangProxSGD

OPTIMIZERS: dict[str, type[ProximalOptimizer]] = {cls.__name__: cls for cls in FAST.values()}

__all__ = [
    "FAST",
    "OPTIMIZERS",
    "RAMDA",
    "RDA",
    "RMDA",
    "SDA",
    "ManifoldAverage",
    "NormalMapSGD",
    "ParameterGroups",
    "ProxAdamW",
    "ProxSGD",
    "ProxSSI",
    "ProxSTORM",
    "ProximalOptimizer",
    "Reshaped",
    "SparseRetraining",
    "StageSchedule",
    "YangProxSGD",
    "at_proximal_point",
    "group_parameters",
    "optimizer_of",
    "plain_optimizer_of",
    "rda_init_",
]
