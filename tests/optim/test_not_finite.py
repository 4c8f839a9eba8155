"""A gradient that is not finite never turns into a finite structure."""

import inspect

import pytest
import torch
from optim.model_zoo import OPTIMIZERS
from torch import nn

from manifold_id.regularizers import (
    L0,
    L1,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    LHalf,
    NonnegativeL1,
    NuclearNorm,
    SparseGroupLasso,
    TotalVariation,
)
from manifold_id.tracking import ManifoldTracker

WAYS = [{}, {"foreach": True}, {"foreach": False}]


@pytest.mark.parametrize("way", WAYS, ids=["default", "lists", "plain"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("regularizer", [L1(0.1), GroupLasso(0.1, axis=0), GroupLasso(0.1, axis=1)], ids=repr)
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "SDA"])
def test_the_atom_of_a_gradient_that_is_not_finite_is_not_finite_and_not_off(name, regularizer, value, way):
    w = nn.Parameter(torch.linspace(-1, 1, 12).reshape(4, 3).clone())
    cls, options = OPTIMIZERS[name]
    optimizer = cls([{"params": [w], "regularizer": regularizer}], **options, **way)
    tracker = ManifoldTracker(optimizer)

    def closure():
        w.grad = torch.full_like(w, 0.1)
        w.grad[2, 1] = value
        return 0.0

    for _ in range(2):
        optimizer.step(closure)
    assert not torch.isfinite(w[2, 1])
    atom = 7 if isinstance(regularizer, L1) else (2, 1)[regularizer.axis]
    for trace in (tracker.trace, tracker.prox_trace):
        assert trace.structure_at(2)[atom] != 0


EVERY = [
    None,
    L1(0.1),
    GroupLasso(0.1, axis=0),
    NuclearNorm(0.1),
    MCP(0.1, 3.0),
    SCAD(0.1, 3.7),
    L0(0.1),
    LHalf(0.1),
    ElasticNet(0.1, 0.1),
    SparseGroupLasso(0.1, axis=0),
    NonnegativeL1(0.1),
    TotalVariation(0.1),
]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("regularizer", EVERY, ids=repr)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_regularizer_keeps_a_gradient_that_is_not_finite(name, regularizer, value):
    if name == "SDA" and regularizer is not None:
        pytest.skip("SDA has no regularizer")
    if isinstance(regularizer, NonnegativeL1) and value == float("inf"):
        pytest.skip("the projection of -inf is the bound 0")
    cls, options = OPTIMIZERS[name]
    compiled = "fused" in inspect.signature(cls).parameters and type(regularizer) in (type(None), L1, GroupLasso)
    for way in [*WAYS, {"fused": True}] if compiled else WAYS:
        w = nn.Parameter(torch.linspace(-1, 1, 12).reshape(4, 3).clone())
        optimizer = cls([{"params": [w], "regularizer": regularizer}], **options, **way)

        def closure(w=w):
            w.grad = torch.full_like(w, 0.1)
            w.grad[2, 1] = value
            return 0.0

        for _ in range(2):
            optimizer.step(closure)
        assert not torch.isfinite(w[2, 1]), way
