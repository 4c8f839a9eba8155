"""Regularizers psi: value, prox, structure and certificates, for NumPy arrays and torch tensors."""

from manifold_id.regularizers.base import Regularizer
from manifold_id.regularizers.binary import Binary
from manifold_id.regularizers.box import Box, LInfBall
from manifold_id.regularizers.l_infinity import LInfNorm
from manifold_id.regularizers.lasso import L1, ElasticNet, GroupLasso, NonnegativeL1, NuclearNorm
from manifold_id.regularizers.nonconvex import L0, MCP, SCAD, CappedL1, LHalf, LogSum
from manifold_id.regularizers.simplex import Simplex
from manifold_id.regularizers.sparse_group import SparseGroupLasso
from manifold_id.regularizers.total_variation import TotalVariation
from manifold_id.regularizers.unpenalized import Unpenalized, Zero

__all__ = [
    "L0",
    "L1",
    "MCP",
    "SCAD",
    "Binary",
    "Box",
    "CappedL1",
    "ElasticNet",
    "GroupLasso",
    "LHalf",
    "LInfBall",
    "LInfNorm",
    "LogSum",
    "NonnegativeL1",
    "NuclearNorm",
    "Regularizer",
    "Simplex",
    "SparseGroupLasso",
    "TotalVariation",
    "Unpenalized",
    "Zero",
]
