"""What a network is worth and how sparse it is: accuracy, exact zeros, error of the gradient estimate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from manifold_id.optim.base import ProximalOptimizer
from manifold_id.optim.joint import parts
from manifold_id.optim.points import proximal_point
from nn_bench.images import Images
from nn_bench.runtime import Runtime

CHUNK = 1000  # images in one forward pass without gradients


@torch.no_grad()
def evaluate(model: nn.Module, images: Images, run: Runtime) -> tuple[float, float]:
    """Return (accuracy, mean cross entropy) on the validation images, in evaluation mode."""
    was_training = model.training
    model.eval()
    right, loss = 0, 0.0
    for start in range(0, len(images.test), CHUNK):
        pixels, labels = (x[start : start + CHUNK].to(run.device) for x in (images.test, images.test_labels))
        with run.autocast():
            logits = model(images.normalized(pixels, run.dtype))
        loss += float(functional.cross_entropy(logits.float(), labels, reduction="sum"))
        right += int((logits.argmax(dim=1) == labels).sum())
    model.train(was_training)
    return right / len(images.test), loss / len(images.test)


@torch.no_grad()
def sparsity(optimizer: Optimizer, proximal: bool = False) -> tuple[float, float]:
    """Return the shares of inactive atoms (group sparsity) and of exact zeros among the regularized weights' entries.

    Of the parameters, or of their proximal points. Both are 0 where nothing is regularized.
    """
    point = proximal_point(optimizer) if proximal else Tensor.detach
    atoms = off = entries = zeros = 0
    for part in parts(optimizer.param_groups):
        x = part.point(point)
        codes = part.regularizer.structure(x)
        atoms, off = atoms + codes.numel(), off + int((codes <= 0).sum())
        entries, zeros = entries + x.numel(), zeros + int((x == 0).sum())
    return off / max(atoms, 1), zeros / max(entries, 1)


def full_gradient(model: nn.Module, images: Images, run: Runtime, label_smoothing: float = 0.0) -> list[Tensor]:
    """Return the gradient of the mean training loss (without augmentation) for every parameter; .grad stays as it is.

    In evaluation mode, so that batch normalization and dropout are functions of the weights alone.
    """
    was_training = model.training
    model.eval()
    params = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in params]
    for start in range(0, len(images.train), CHUNK):
        pixels, labels = (x[start : start + CHUNK].to(run.device) for x in (images.train, images.train_labels))
        with run.autocast():
            logits = model(images.normalized(pixels, run.dtype))
        loss = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="sum")
        for t, g in zip(total, torch.autograd.grad(loss / len(images.train), params, allow_unused=True), strict=True):
            if g is not None:
                t += g
    model.train(was_training)
    return total


@torch.no_grad()
def estimator_error(optimizer: Optimizer, model: nn.Module, exact: list[Tensor]) -> float:
    """Return |estimate - gradient| / |gradient| over all parameters, right after the step that used the estimate.

    `exact` is the full-data gradient of the loss at the point where the step's own gradient was taken. The estimate is
    that of the method, or for methods that keep none the minibatch's gradient. Coupled weight decay and `maximize` are
    not undone: they count as errors.
    """
    error = norm = 0.0
    for p, g in zip([p for p in model.parameters() if p.requires_grad], exact, strict=True):
        estimate: Tensor | None = p.grad
        if isinstance(optimizer, ProximalOptimizer) and p.grad is not None:
            try:
                estimate = optimizer.gradient_estimate(p)
            except NotImplementedError:
                estimate = p.grad
        if estimate is not None:
            error += float((estimate - g).square().sum())
            norm += float(g.square().sum())
    return (error / norm) ** 0.5 if norm else 0.0
