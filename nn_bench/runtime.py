"""Where and how a run computes: device, precision, determinism, and the other processes of torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nn_bench.config import TrainConfig


@dataclass(frozen=True)
class Runtime:
    """The device and precision of a run, and this process's place among `world` ones."""

    device: torch.device
    dtype: torch.dtype  # of weights and images
    amp: torch.dtype | None  # of automatic mixed precision
    rank: int
    world: int

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        return nullcontext() if self.amp is None else torch.autocast(self.device.type, self.amp)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """Return the model as the training loop calls it: one whose gradients are means over the processes."""
        if self.world == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)


def place() -> tuple[int, int]:
    """Return (rank, world): this process's number among those that torchrun started, and their number."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def runtime(config: TrainConfig) -> Iterator[Runtime]:
    """Set up device, determinism and processes, and put back what it changed.

    Under torchrun (WORLD_SIZE > 1) the processes find each other with gloo on CPU and nccl on GPUs. The result is that
    of one process to rounding, except with batch normalization and dropout, which act on each process's part alone.

    Raises
    ------
    ValueError
        If the device is not there, or there are more processes than images in a batch.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda', but torch finds no GPU: choose device='cpu' or 'auto'")
    kind = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    rank, world = place()
    if world > config.batch_size:
        raise ValueError(f"batch_size={config.batch_size} is smaller than the number of processes, {world}: enlarge it")
    device = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device("cpu")
    joins = world > 1 and not dist.is_initialized()
    if joins:
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not config.deterministic
    amp = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(config.precision)
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    try:
        yield Runtime(device, dtype, amp, rank, world)
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
        if joins:
            dist.destroy_process_group()
