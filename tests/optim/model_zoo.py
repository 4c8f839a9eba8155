"""Small sets of parameters, and every optimizer with arguments under which it is not trivial."""

import torch
from torch import nn

from manifold_id import optim
from manifold_id.regularizers import L1, GroupLasso

OPTIMIZERS = {
    "RMDA": (optim.RMDA, {"lr": 0.3, "momentum": 0.2}),
    "RAMDA": (optim.RAMDA, {"lr": 0.1, "momentum": 0.2}),
    "RDA": (optim.RDA, {"lr": 0.5}),
    "SDA": (optim.SDA, {"lr": 0.5}),
    "ProxSGD": (optim.ProxSGD, {"lr": 0.2, "momentum": 0.3}),
    "YangProxSGD": (optim.YangProxSGD, {"lr": 0.5}),
    "ProxAdamW": (optim.ProxAdamW, {"lr": 0.02}),
    "ProxAdamW amsgrad": (optim.ProxAdamW, {"lr": 0.02, "amsgrad": True}),
    "ProxSSI": (optim.ProxSSI, {"lr": 0.02}),
    "NormalMapSGD": (optim.NormalMapSGD, {"lr": 0.3}),
    "ProxSTORM": (optim.ProxSTORM, {"lr": 0.1}),
}


def parameters(dtype=torch.float64, seed=0):
    """A channels_last convolution, a transposed view, two linear layers, a bias and a scalar."""
    random = torch.Generator().manual_seed(seed)

    def new(*shape):
        return torch.randn(shape, generator=random, dtype=torch.float64)

    tensors = [
        new(6, 4, 3, 3).to(memory_format=torch.channels_last),
        new(5, 7).T,
        new(9, 12)[:, ::2],  # gaps: not dense
        new(8, 3),
        new(8),
        new(),
    ]
    out = [nn.Parameter(t.to(dtype).as_strided(t.shape, t.stride()) if t.is_contiguous() else t) for t in tensors]
    for p, t in zip(out, tensors, strict=True):
        p.data = t.to(dtype) if t.dtype != dtype else t
    return out


def groups(params, name):
    """Two regularizers at once, and the rest without one."""
    matrices, rest = [p for p in params if p.ndim > 1], [p for p in params if p.ndim < 2]
    if name == "SDA":
        return [{"params": params}]
    return [
        {"params": matrices[:3], "regularizer": GroupLasso(0.05, axis=1)},
        {"params": matrices[3:], "regularizer": L1(0.1)},
        {"params": rest},
    ]


def build(name, params, **more):
    cls, options = OPTIMIZERS[name]
    return cls(groups(params, name), **options, **more)


def feed(optimizer, params, t, seed=1):
    """One step with gradients that depend on t and on the point; the fifth parameter gets none at first."""

    def closure():
        random = torch.Generator().manual_seed(1000 * seed + t)
        for i, p in enumerate(params):
            noise = torch.randn(p.shape, generator=random, dtype=torch.float64)
            p.grad = None if i == 4 and t < 3 else (noise + 0.1 * p.detach().double()).to(p.dtype)
        return 0.0

    if isinstance(optimizer, optim.ProxSTORM):
        optimizer.step(closure)
    else:
        closure()
        optimizer.step()
