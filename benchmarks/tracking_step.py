"""What the tracker adds to a training step (forward, backward, optimizer): the goal is 5 % on CPU, 2 % on GPU.

    python benchmarks/collect.py tracking_step
    python benchmarks/tracking_step.py [--threads 2] [--blocks 5] [--device cpu] [--models lenet5 ...] [--batch 128]

The time spent in the tracker's own hooks, packing and fetching included, in relation to the rest of the same steps; on
a GPU the device is waited for before and after each hook, so that its work counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from torch.nn import functional

from manifold_id.optim import RMDA, ProxSGD, group_parameters
from manifold_id.optim.tracking import OptimizerTracker
from manifold_id.regularizers import GroupLasso
from nn_bench.models import build_model

METHODS = {
    "RMDA": lambda groups: RMDA(groups, lr=0.1, momentum=0.1),
    "RMDA, c = 1": lambda groups: RMDA(groups, lr=0.1),
    "ProxSGD": lambda groups: ProxSGD(groups, lr=0.1, momentum=0.1),
}
SHAPES = {"lenet5": (1, 28, 28), "lenet5-small": (1, 28, 28), "resnet50": (3, 32, 32)}
SHAPES_CPU = ("lenet5", "lenet5-small")
BLOCK = 64  # steps between two fetches, the tracker's default


class Timed(OptimizerTracker):
    """A tracker that adds up the seconds of its hooks."""

    seconds = 0.0

    def _prepare(self, *args: Any) -> None:
        clock = now(self.layers[0].parameter.device)
        super()._prepare(*args)
        self.seconds += now(self.layers[0].parameter.device) - clock

    def _record(self, *args: Any) -> None:
        clock = now(self.layers[0].parameter.device)
        super()._record(*args)
        self.seconds += now(self.layers[0].parameter.device) - clock


def now(device: torch.device) -> float:
    """Return the clock in seconds, once the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(model: str, method: str, blocks: int, batch: int, device: torch.device) -> dict[str, object]:
    """Return the share of tracking, the median over blocks of as many steps as it fetches at once."""
    torch.manual_seed(0)
    images, labels = torch.randn(batch, *SHAPES[model], device=device), torch.randint(0, 10, (batch,), device=device)
    network = build_model(model, SHAPES[model], 10).to(device)
    optimizer = METHODS[method](group_parameters(network, GroupLasso(1e-4), by="input_channel", verbose=False))
    tracker = Timed(optimizer, block=BLOCK)
    shares, steps = [], []
    for k in range(blocks + 1):  # one to compile, allocate and warm up
        tracker.seconds, clock = 0.0, now(device)
        for _ in range(BLOCK):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
        rest = now(device) - clock - tracker.seconds
        if k:
            shares.append(100 * tracker.seconds / rest)
            steps.append(1e3 * rest / BLOCK)
    return {
        "benchmark": "tracking step",
        "case": model,
        "system": method,
        "quantity": "tracking / rest of the step",
        "value": statistics.median(shares),
        "unit": "%",
        "accuracy": None,
        "note": f"{min(shares):.1f} to {max(shares):.1f} %; the rest takes {statistics.median(steps):.1f} ms",
        "batch": batch,
        "device": device.type,
        "threads": torch.get_num_threads(),
    }


def rows() -> list[dict[str, object]]:
    """Return what tracking adds on LeNet-5, batches of 128, on the CPU."""
    return [measure(model, method, 5, 128, torch.device("cpu")) for model in SHAPES_CPU for method in METHODS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", choices=sorted(SHAPES), default=["lenet5"])
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for model in options.models:
        for method in METHODS:
            row = measure(model, method, options.blocks, options.batch, torch.device(options.device))
            print(f"{row['case']}  {row['system']}: {row['value']:.1f} %, {row['note']}", flush=True)


if __name__ == "__main__":
    main()
