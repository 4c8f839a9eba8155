"""Time of one optimizer step, the group lasso's prox included, beside torch's SGD and AdamW in the same run.

    python benchmarks/collect.py optim_step
    python benchmarks/optim_step.py [--threads 2] [--rounds 15] [--device cpu] [--networks ResNet-50]

The optimizers take turns, one step each in every round, so that a busy machine
slows all of them alike; the table gives medians over the rounds, and the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from network_shapes import NETWORKS

from manifold_id import optim
from manifold_id.regularizers import GroupLasso

PEER = {"SGD": "SGD", "RMDA": "SGD", "RMDA, c = 1": "SGD", "ProxSGD": "SGD", "RDA": "SGD"}


def optimizers(params: list[torch.Tensor]) -> dict[str, torch.optim.Optimizer]:
    """Return the optimizers to compare, all on the same parameters; steps are small, so that nothing drifts."""

    def groups(lam: float) -> list[dict[str, object]]:
        weights = [p for p in params if p.ndim > 1]
        return [
            {"params": weights, "regularizer": GroupLasso(lam, axis=1)},
            {"params": [p for p in params if p.ndim == 1]},
        ]

    return {
        "SGD": torch.optim.SGD(params, lr=1e-4, momentum=0.9, foreach=True),
        "AdamW": torch.optim.AdamW(params, lr=1e-5, foreach=True),
        "RMDA": optim.RMDA(groups(1e-4), lr=1e-3, momentum=0.1),
        "RMDA, c = 1": optim.RMDA(groups(1e-4), lr=1e-3, momentum=1.0),
        "ProxSGD": optim.ProxSGD(groups(4e-5), lr=1e-3, momentum=0.1),
        "RDA": optim.RDA(groups(1e-4), lr=1e-2),
        "RAMDA": optim.RAMDA(groups(5e-7), lr=1e-3, momentum=0.1),
        "ProxAdamW": optim.ProxAdamW(groups(1e-6), lr=1e-5),
        "ProxSSI": optim.ProxSSI(groups(1e-6), lr=1e-5),
    }


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Return the milliseconds that the action takes, the device's work included."""
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start)


def measure(network: str, rounds: int, device: torch.device) -> list[dict[str, object]]:
    """Return one row for each optimizer on the network's parameters."""
    random = torch.Generator().manual_seed(0)
    params = [
        (0.05 * torch.randn(shape, generator=random)).to(device).requires_grad_() for shape in NETWORKS[network]()
    ]
    for p in params:
        p.grad = (0.01 * torch.randn(p.shape, generator=random)).to(device)
    start = [p.detach().clone() for p in params]
    contestants = optimizers(params)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for k in range(rounds + 3):  # three rounds to compile, allocate and warm up
        for name, optimizer in contestants.items():
            with torch.no_grad():
                torch._foreach_copy_(params, start)
            elapsed = timed(optimizer.step, device)
            if k >= 3:
                times[name].append(elapsed)
    rows = []
    for name, own in times.items():
        peer = PEER.get(name, "AdamW")
        ratios = [a / b for a, b in zip(own, times[peer], strict=True)]
        rows.append(
            {
                "network": network,
                "parameters": sum(p.numel() for p in params),
                "optimizer": name,
                "milliseconds": round(statistics.median(own), 3),
                "fastest": round(min(own), 3),
                "peer": peer,
                "ratio": round(statistics.median(ratios), 2),
                "ratio of fastest": round(min(own) / min(times[peer]), 2),
            }
        )
    return rows


def rows(full: bool = False) -> list[dict[str, object]]:
    """Return the medians on the CPU, and the ratios to the peer as notes; all networks if `full`, else the smallest."""
    threads = torch.get_num_threads()
    found: list[dict[str, object]] = []
    for network in NETWORKS if full else ["LeNet-5"]:
        for row in measure(network, 15, torch.device("cpu")):
            found.append(
                {
                    "benchmark": "optimizer step",
                    "case": network,
                    "system": row["optimizer"],
                    "quantity": "seconds per step",
                    "value": float(str(row["milliseconds"])) / 1e3,
                    "unit": "s",
                    "accuracy": None,
                    "note": f"{row['ratio']} x {row['peer']} of torch",
                    "parameters": row["parameters"],
                    "threads": threads,
                }
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="+", choices=sorted(NETWORKS), default=list(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    found = [row for network in options.networks for row in measure(network, options.rounds, device)]
    columns = list(found[0])
    lines = [
        "# Time of one optimizer step",
        "",
        f"`python benchmarks/optim_step.py --threads {options.threads} --rounds {options.rounds} "
        f"--device {options.device}`; torch {torch.__version__}, {platform.machine()}, {options.threads} threads. "
        "Milliseconds are medians; the ratio is the median over the rounds of own time / peer's time; SGD (with "
        "momentum) and AdamW are torch's, foreach.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(str(row[c]) for c in columns) + " |" for row in found),
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
