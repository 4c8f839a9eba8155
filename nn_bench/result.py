"""What a run leaves behind: a TrainResult, and the files of its folder."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn
from torch.optim import Optimizer

from manifold_id import __version__
from manifold_id.optim.points import at_proximal_point
from manifold_id.optim.tracking import OptimizerTracker
from manifold_id.tracking import Trace
from nn_bench.checkpoint import WEIGHTS, load_weights, save_weights
from nn_bench.config import TrainConfig
from nn_bench.data import load_images
from nn_bench.images import Images
from nn_bench.log import LOG, EpochLog
from nn_bench.metrics import evaluate, sparsity
from nn_bench.models import build_model
from nn_bench.runtime import Runtime
from nn_bench.stored import check_sums, read_sealed, sums, write_over, write_sealed, write_text

FINISHED = "result.json"  # it says that a run is complete, and has the sha256 of its files
MEASURED = "result.measured"  # what differs when a run is repeated: seconds
CONFIG = "config.json"
VERSIONS = {"manifold-id": __version__, "python": platform.python_version(), "torch": version("torch")}
TRACES = ("trace.npz", "prox_trace.npz")


@dataclass(frozen=True, eq=False)
class TrainResult:
    """One finished (or stopped) run.

    Attributes
    ----------
    facts
        Plain values: accuracy, test_loss, group_sparsity (share of inactive atoms), sparsity (share of exact zeros in
        the regularized weights), the same with the prefix prox_ for the proximal point (prox_accuracy: of the network
        at that point), stabilized_at and prox_stabilized_at (the last step at which the structure changed, None where
        it was not followed), steps, epoch_steps, epochs, seconds, and `layers`: name, start, stop, sparsity,
        prox_sparsity, stabilized_at, prox_stabilized_at of each regularized tensor.
    history
        One row an epoch, as in log.csv.
    trace, prox_trace
        The structure at every step; None where it was not followed.
    versions
        Of this package, Python and torch, when the run was finished.
    """

    config: TrainConfig
    facts: dict[str, Any]
    history: pd.DataFrame
    trace: Trace | None
    prox_trace: Trace | None
    model: nn.Module = field(repr=False)
    versions: dict[str, str]
    folder: Path | None = None
    leads: bool = True  # False in the other processes of torchrun, which write nothing

    @property
    def accuracy(self) -> float:
        """The accuracy on the validation images."""
        return float(self.facts["accuracy"])

    @property
    def group_sparsity(self) -> float:
        """The share of the atoms that are not active."""
        return float(self.facts["group_sparsity"])

    def curves(self) -> pd.DataFrame:
        """Return the history with method, seed and, if the structure was followed, its changes in each epoch.

        `changes` counts how often a group of the parameter became zero or nonzero, `prox_changes` one of the
        proximal point.
        """
        table = self.history.assign(method=self.config.method, seed=self.config.seed)
        ends = table["step"].to_numpy()
        for column, trace in (("changes", self.trace), ("prox_changes", self.prox_trace)):
            if trace is not None:
                table[column] = np.diff(np.searchsorted(trace.step, ends, side="right"), prepend=0)
        return table


def finish(
    config: TrainConfig,
    folder: Path | None,
    run: Runtime,
    model: nn.Module,
    images: Images,
    optimizer: Optimizer,
    tracker: OptimizerTracker | None,
    log: EpochLog,
    epoch: int,
    epoch_steps: int,
    digest: str,
    seconds: float,
) -> TrainResult:
    """Measure the network and, if the run is complete, write the files of its folder; `digest` is the images'."""
    accuracy, test_loss = evaluate(model, images, run)
    with at_proximal_point(optimizer):
        prox_accuracy, _ = evaluate(model, images, run)
    (groups, entries), (prox_groups, prox_entries) = sparsity(optimizer), sparsity(optimizer, proximal=True)
    facts: dict[str, Any] = {
        "accuracy": accuracy, "test_loss": test_loss, "prox_accuracy": prox_accuracy,
        "group_sparsity": groups, "sparsity": entries,
        "prox_group_sparsity": prox_groups, "prox_sparsity": prox_entries,
        "stabilized_at": None, "prox_stabilized_at": None,
        "steps": epoch * epoch_steps, "epoch_steps": epoch_steps, "epochs": epoch,
        "layers": [],
    }  # fmt: skip
    measured = {"seconds": round(seconds, 3)}
    trace = prox_trace = None
    if tracker is not None:
        trace, prox_trace = tracker.trace, tracker.prox_trace
        facts["stabilized_at"], facts["prox_stabilized_at"] = trace.last_change, prox_trace.last_change
        facts["layers"] = [
            {
                "name": layer.name, "start": layer.start, "stop": layer.stop,
                "sparsity": tracker.sparsity(layer.name), "prox_sparsity": tracker.sparsity(layer.name, proximal=True),
                "stabilized_at": tracker.stabilized_at(layer.name),
                "prox_stabilized_at": tracker.stabilized_at(layer.name, proximal=True),
            }
            for layer in tracker.layers
        ]  # fmt: skip
    if folder is not None and epoch == config.epochs:
        names = [CONFIG, LOG, WEIGHTS]
        write_config(config, folder)
        log.save(folder)
        save_weights(model, folder / WEIGHTS)
        if trace is not None and prox_trace is not None:
            for name, log_of_changes in zip(TRACES, (trace, prox_trace), strict=True):
                write_over(folder / name, log_of_changes.save)
            names += TRACES
        write_sealed(folder / MEASURED, measured)
        record = {"config": config.to_dict(), "images": digest, "versions": VERSIONS, "facts": facts}
        record["files"] = sums(folder, names)
        write_sealed(folder / FINISHED, record)  # last: it says all is there
    facts = facts | measured
    return TrainResult(config, facts, pd.DataFrame(log.rows), trace, prox_trace, model, VERSIONS, folder, run.leads)


def write_config(config: TrainConfig, folder: Path) -> None:
    """Write what the run is, for the reader, before its first step."""
    write_text(folder / CONFIG, json.dumps(config.to_dict(), indent=1) + "\n")


def load_result(
    folder: Path, config: TrainConfig | None = None, images: Images | None = None, model: nn.Module | None = None
) -> TrainResult | None:
    """Read a finished run's folder; None if there is none.

    `images` and `model` are own ones that the run was made with, see `train`; the weights are loaded into the model.

    Raises
    ------
    ValueError
        If it is a run of another config than the given one, by another version of this package, or on other images.
    DamagedRunError
        If a file is missing or damaged; it names the file.
    """
    if not (folder / FINISHED).exists():
        return None
    stored = read_sealed(folder / FINISHED, ["config", "images", "versions", "facts", "files"])
    own = TrainConfig.from_dict(stored["config"], str(folder / FINISHED))
    if model is None and images is None:
        images = load_images(own.data)
    digest = None if images is None else images.limited(own.train_rows, own.test_rows).digest
    check_same(folder, stored, config, digest)
    check_sums(folder, stored["files"])
    facts = stored["facts"] | read_sealed(folder / MEASURED, ["seconds"])
    if model is None:
        assert images is not None
        model = build_model(own.model, images.shape, images.classes)
    load_weights(model, folder / WEIGHTS)
    trace = prox_trace = None
    if own.tracked and own.regularizer is not None:
        trace, prox_trace = (Trace.load(folder / name) for name in TRACES)
    return TrainResult(own, facts, pd.read_csv(folder / LOG), trace, prox_trace, model, stored["versions"], folder)


def check_same(folder: Path, stored: Mapping[str, Any], config: TrainConfig | None, digest: str | None) -> None:
    """Raise ValueError where what is stored is of another config, other images or another version than those given."""
    own = None if config is None else VERSIONS["manifold-id"]
    for name, known, given in (
        ("of another version of this package", stored["versions"]["manifold-id"], own),
        ("of another config", TrainConfig.from_dict(stored["config"], str(folder)), config),
        ("on other images", stored["images"], digest),
    ):
        if given is not None and known != given:
            raise ValueError(f"out={str(folder)!r} holds a run {name}: choose another folder or remove it")
