"""What the tracker adds to a training step (forward, backward, optimizer): the goal is 5 % on CPU, 2 % on GPU.

    python benchmarks/collect.py tracking_step
    python benchmarks/tracking_step.py [--threads 2] [--blocks 20] [--device cpu] [--models lenet5 resnet50]

Two equal networks take turns, one of them tracked, in blocks of as many steps as the tracker fetches at once; the
overhead is the median over the pairs of blocks of tracked / untracked, minus 1. "untracked twice" is the same with no
tracker on either: what remains of noise.
"""

from __future__ import annotations

import argparse
import statistics
import time

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
BLOCK = 64  # steps between two fetches, the tracker's default


class Training:
    """A network, its optimizer and, perhaps, its tracker, on one batch of noise."""

    def __init__(self, model: str, method: str, tracked: bool, batch: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.images = torch.randn(batch, *SHAPES[model], device=device)
        self.labels = torch.randint(0, 10, (batch,), device=device)
        self.model = build_model(model, SHAPES[model], 10).to(device)
        groups = group_parameters(self.model, GroupLasso(1e-4), by="input_channel", verbose=False)
        self.optimizer = METHODS[method](groups)
        self.tracker = OptimizerTracker(self.optimizer) if tracked else None
        self.device = device

    def block(self) -> float:
        """Return the seconds of one block of steps, the device's work included."""
        clock = time.perf_counter()
        for _ in range(BLOCK):
            self.optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(self.model(self.images), self.labels).backward()
            self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - clock


def measure(model: str, method: str, blocks: int, batch: int, device: torch.device) -> list[dict[str, object]]:
    """Return the overhead of tracking and, as a control, of nothing."""
    found = []
    for system, tracked in ((method, True), (f"{method}, untracked twice", False)):
        own, other = (Training(model, method, on, batch, device) for on in (tracked, False))
        ratios, seconds = [], []
        for k in range(blocks + 1):  # one to compile, allocate and warm up
            pair = (own.block(), other.block()) if k % 2 else tuple(reversed((other.block(), own.block())))
            if k:
                ratios.append(pair[0] / pair[1])
                seconds.append(pair[1] / BLOCK)
        low, middle, high = (100 * (q - 1) for q in statistics.quantiles(ratios, n=4))
        found.append(
            {
                "benchmark": "tracking step",
                "case": model,
                "system": system,
                "quantity": "overhead of tracking",
                "value": middle,
                "unit": "%",
                "accuracy": None,
                "note": f"quartiles {low:.1f} and {high:.1f} %; step {1e3 * statistics.median(seconds):.2f} ms",
                "batch": batch,
                "device": device.type,
                "threads": torch.get_num_threads(),
            }
        )
    return found


def rows() -> list[dict[str, object]]:
    """Return the overhead on LeNet-5, batches of 128, on the CPU."""
    return [row for method in METHODS for row in measure("lenet5", method, 12, 128, torch.device("cpu"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", choices=sorted(SHAPES), default=["lenet5"])
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for model in options.models:
        for method in METHODS:
            for row in measure(model, method, options.blocks, options.batch, torch.device(options.device)):
                print(f"{row['case']}  {row['system']}: {row['value']:.1f} %, {row['note']}", flush=True)


if __name__ == "__main__":
    main()
