"""The nuclear norm in a diagonal metric: cvxpy, the stated gap, exact rank, and the optimizers that use it."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from manifold_id.optim import RAMDA, ProxAdamW
from manifold_id.regularizers import NuclearNorm


def draw(seed, shape=(5, 4), condition=50.0, batch=()):
    rng = np.random.default_rng(seed)
    d = np.exp(np.log(condition) * rng.uniform(-0.5, 0.5, (*batch, *shape)))
    return 2 * rng.standard_normal((*batch, *shape)), d


def objective(x, w, t, d):
    return t * np.linalg.norm(x, "nuc") + (d * (x - w) ** 2).sum() / 2


@pytest.mark.parametrize("shape", [(5, 4), (3, 7)])
@pytest.mark.parametrize("condition", [1.0, 50.0, 1e4])
def test_it_is_the_minimizer_to_its_gap(shape, condition):
    for seed in range(4):
        w, d = draw(seed, shape, condition)
        psi, step = NuclearNorm(0.7), 3.0
        x = psi.prox_metric(w, step, d)
        gap = float(psi.metric_gap(x, w, step, d))
        assert 0 <= gap <= 1e-10 * (d * w * w).sum()
        X = cp.Variable(shape)
        cp.Problem(cp.Minimize(2.1 * cp.normNuc(X) + cp.sum(cp.multiply(d, (X - w) ** 2)) / 2)).solve(solver="CLARABEL")
        assert objective(x, w, 2.1, d) <= objective(X.value, w, 2.1, d) + 1e-9 * (1 + objective(w, w, 2.1, d))
        if condition == 1.0:
            np.testing.assert_allclose(x, psi.prox(w, step), atol=1e-7)


def test_rank_batches_torch_and_what_is_not_finite():
    w, d = draw(0, batch=(3,))
    psi = NuclearNorm(2.0)
    x = psi.prox_metric(w, np.array([0.5, 1.0, 100.0]), d)
    ranks = psi.structure(x).sum(axis=-1)
    assert ranks[0] >= ranks[1] >= ranks[2] == 0 and 0 < ranks[1] < 4
    np.testing.assert_allclose(x[1], psi.prox_metric(w[1], 1.0, d[1]), atol=1e-6)
    y = psi.prox_metric(torch.from_numpy(w[1]), 1.0, torch.from_numpy(d[1]))
    np.testing.assert_allclose(y.numpy(), x[1], atol=1e-6)
    w[0, 1, 2] = np.nan
    z = psi.prox_metric(w, 1.0, d)
    assert np.isnan(z[0]).all() and np.isfinite(z[1:]).all()
    with pytest.raises(ValueError, match="d has shape"):
        psi.prox_metric(w, 1.0, d[0])


@pytest.mark.parametrize("cls", [RAMDA, ProxAdamW])
@pytest.mark.parametrize("foreach", [False, None])
def test_adaptive_optimizers_reach_a_low_rank_and_state_the_gap(cls, foreach):
    torch.manual_seed(0)
    target = torch.outer(torch.arange(1.0, 7.0), torch.arange(1.0, 6.0)) / 5 + 0.05 * torch.randn(6, 5)
    p = torch.nn.Parameter(torch.randn(6, 5))
    optimizer = cls([p], lr=0.05, regularizer=NuclearNorm(1.0), foreach=foreach)
    for _ in range(400):
        p.grad = (p - target).detach()
        optimizer.step()
    assert int(optimizer.proximal_structure(p).sum()) == 1
    assert 0 <= optimizer.state[p]["gap"] < 1e-2
    assert float(torch.linalg.svdvals(p.detach())[0]) == pytest.approx(
        float(torch.linalg.svdvals(target)[0]) - 1.0, rel=0.05
    )
