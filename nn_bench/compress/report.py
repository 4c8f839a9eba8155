"""What compression saves: parameters, floating-point operations, file size and latency, whole and by layer."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from manifold_id.optim.flow.trace import call_of, evaluating
from nn_bench.checkpoint import save_weights

REPEATS = 20


@dataclass(frozen=True)
class Size:
    """What one network takes.

    `flops` are those of one call on the example (multiplications and additions of matrix products, convolutions and
    attention), `seconds` the median of 20 calls, `layers` the parameters of each layer.
    """

    parameters: int
    flops: int
    bytes: int
    seconds: float
    layers: dict[str, int]


@dataclass(frozen=True)
class Report:
    """A network before and after."""

    before: Size
    after: Size

    def table(self) -> str:
        """Return the totals, and one line for each layer that became smaller."""
        a, b = self.before, self.after
        rows = [("", "before", "after", "share")]
        for name in ("parameters", "flops", "bytes"):
            rows.append(
                (name, f"{getattr(a, name):,d}", f"{getattr(b, name):,d}", _share(getattr(b, name), getattr(a, name)))
            )
        rows.append(("latency", f"{1e3 * a.seconds:.3f} ms", f"{1e3 * b.seconds:.3f} ms", _share(b.seconds, a.seconds)))
        for name, count in a.layers.items():
            if b.layers.get(name, 0) != count:
                rows.append((name, f"{count:,d}", f"{b.layers.get(name, 0):,d}", _share(b.layers.get(name, 0), count)))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            row[0].ljust(widths[0]) + "".join(f"  {cell.rjust(w)}" for cell, w in zip(row[1:], widths[1:], strict=True))
            for row in rows
        )


def _share(after: float, before: float) -> str:
    return f"{after / before:.1%}" if before else "-"


def report(before: nn.Module, after: nn.Module, example_input: Any) -> Report:
    """Measure a network and its compressed copy on an example, in evaluation mode."""
    return Report(_size(before, example_input), _size(after, example_input))


@torch.no_grad()
def _size(model: nn.Module, example_input: Any) -> Size:
    args, kwargs = call_of(example_input)
    layers: dict[str, int] = {}
    for name, p in model.named_parameters():
        layer = name.rpartition(".")[0]
        layers[layer] = layers.get(layer, 0) + p.numel()
    with evaluating(model), tempfile.TemporaryDirectory() as folder:
        with FlopCounterMode(display=False) as counter:
            model(*args, **kwargs)
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            model(*args, **kwargs)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        path = Path(folder) / "weights.safetensors"
        save_weights(model, path)
        size = path.stat().st_size
    return Size(sum(layers.values()), counter.get_total_flops(), size, statistics.median(times), layers)
