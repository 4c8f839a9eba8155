"""The normal map's prox parameter: the optimizer, each way, against the pure method with p other than 1."""

import numpy as np
import pytest
import torch

from manifold_id.methods import NormalMapSGD as Pure
from manifold_id.optim import NormalMapSGD
from manifold_id.regularizers import L1


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("p", [0.5, 2.0])
def test_the_normal_map_with_another_prox_parameter_is_the_pure_method(foreach, p):
    rng = np.random.default_rng(0)
    start = rng.standard_normal(6)
    w = torch.nn.Parameter(torch.tensor(start))
    optimizer = NormalMapSGD([w], lr=0.3, prox_step=p, decay=0.6, regularizer=L1(0.2), foreach=foreach)
    method = Pure(0.3, p, 0.6)
    state = method.init(start)
    for _ in range(20):
        g = rng.standard_normal(6)
        w.grad = torch.tensor(g)
        optimizer.step()
        state = method.update(lambda w, g=g: g, state, L1(0.2))
        np.testing.assert_allclose(w.detach().numpy(), state.w, rtol=1e-12, atol=1e-14)
