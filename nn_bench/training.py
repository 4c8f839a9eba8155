"""`train`: one run, from a TrainConfig to a folder of results; a killed run goes on from its last checkpoint."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from manifold_id.optim import ProxSTORM, SparseRetraining, StageSchedule, group_parameters, rda_init_
from manifold_id.optim.tracking import OptimizerTracker
from manifold_id.progress import Bar
from manifold_id.validation import flag, integer, path_of
from nn_bench.batches import Batch, batches, steps_per_epoch
from nn_bench.checkpoint import load_checkpoint, remove_parts, save_checkpoint
from nn_bench.config import TrainConfig
from nn_bench.data import load_images
from nn_bench.guard import Guard, NotFiniteError
from nn_bench.images import Images
from nn_bench.log import EpochLog
from nn_bench.methods import method_entry
from nn_bench.metrics import estimator_error, evaluate, full_gradient, sparsity
from nn_bench.models import build_model
from nn_bench.result import CONFIG, FINISHED, VERSIONS, TrainResult, check_same, finish, load_result, write_config
from nn_bench.runtime import Runtime, place, runtime
from nn_bench.stored import DamagedRunError


def train(
    config: TrainConfig,
    out: str | os.PathLike[str] | None = None,
    *,
    images: Images | None = None,
    model: nn.Module | None = None,
    progress: bool = False,
    stop_after: int | None = None,
) -> TrainResult:
    """Train a network and return what came of it.

    Parameters
    ----------
    config
        The run.
    out
        A folder for checkpoints, logs (log.csv, tensorboard/), weights (weights.safetensors), traces and result.json;
        None writes nothing. A folder that holds a finished run of the same config is read, an unfinished or damaged one
        is gone on with: on CPU, with the same number of threads, its files are then the same bytes as those of an
        uninterrupted run, but for seconds (*.measured, tensorboard/).
    images, model
        Own data and an own network in place of the config's; the model is trained in place.
    progress
        Whether to draw a progress bar on a terminal.
    stop_after
        Stop after this epoch, as if killed; the result is then that of the unfinished run.

    Raises
    ------
    TypeError, ValueError
        If `out` is no path, the folder holds a run of another config or is being written by another process, the loss
        or a gradient is not finite (NotFiniteError: step and tensor are named), or model, data and regularizer do not
        fit.
    FileNotFoundError
        If the data are nowhere.
    """
    folder = None if out is None else path_of("out", out)
    flag("progress", progress)
    if stop_after is not None:
        integer("stop_after", stop_after, 0)
    if folder is not None and (done := _finished(folder, config, images, model)) is not None:
        return replace(done, leads=place()[0] == 0)
    with runtime(config) as run, _alone(folder, run):
        return _Trainer(config, folder, run, images, model).fit(progress, stop_after)


def _finished(folder: Path, config: TrainConfig, images: Images | None, model: nn.Module | None) -> TrainResult | None:
    """Return the finished run of a folder; None if there is none, or a damaged one of the same config."""
    try:
        return load_result(folder, config, images, model)
    except DamagedRunError:
        known = None
        with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):  # damaged too
            known = TrainConfig.from_dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        if known not in (None, config):
            raise
        return None


def check(config: TrainConfig, images: Images) -> OptimizerTracker | None:
    """Build all that a run needs and drop it: raises what `train` would before its first step; returns the tracker."""
    with runtime(config) as run:
        return _Trainer(config, None, run, images, None).tracker


@contextmanager
def _alone(folder: Path | None, run: Runtime) -> Iterator[None]:
    """Keep other processes out of the folder, by a lock that ends with this process at the latest."""
    if folder is None or not run.leads:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            if not (folder / FINISHED).exists():  # or another process may write its report, without the lock
                remove_parts(folder)
            yield
    except Timeout:
        raise ValueError(f"out={str(folder)!r} is being written by another process: "
                         "wait for its end or choose another folder") from None  # fmt: skip


class _Trainer:
    """The objects of a run, and its loop."""

    def __init__(
        self, config: TrainConfig, folder: Path | None, run: Runtime, images: Images | None, model: nn.Module | None
    ) -> None:
        self.config, self.run = config, run
        loaded = load_images(config.data) if images is None else images
        if config.augment:
            loaded.check_augmentation()
        used = loaded.limited(config.train_rows, config.test_rows)
        self.digest = used.digest if folder is not None else ""
        self.images = used.resident(run.device)
        torch.manual_seed(config.seed)
        self.model = build_model(config.model, self.images.shape, self.images.classes) if model is None else model
        if config.init_scale:
            rda_init_(self.model, config.init_scale)
        self.model.to(device=run.device, dtype=run.dtype)
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.epoch_steps = steps_per_epoch(config, self.images)
        self.optimizer = self._optimizer()
        self.schedule = StageSchedule(self.optimizer, config.milestones, config.factor, config.restart, config.growth)
        self.scaler = torch.amp.GradScaler(run.device.type, enabled=config.precision == "float16")
        follows = config.tracked and config.regularizer is not None
        self.tracker = OptimizerTracker(self.optimizer) if follows else None
        self.retraining: SparseRetraining | None = None
        self.log = EpochLog()
        self.epoch = 0
        self.seconds = 0.0
        self.folder = folder if run.leads else None
        self._resume(folder)
        self.forward: Any = run.wrapped(self.model)
        if config.compile:
            self.forward = torch.compile(self.forward)

    def _optimizer(self) -> Optimizer:
        config, psi = self.config, self.config.psi()
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        groups: Any = [{"params": named, "regularizer": None}]
        if psi is not None:
            example = self._example() if config.by == "unit" else None
            groups = group_parameters(self.model, psi, config.by, verbose=False, example_input=example)
            for group in groups:
                group["params"] = [(name, p) for name, p in group["params"] if p.requires_grad]
            groups = [group for group in groups if group["params"]]
        return method_entry(config.method).build(groups, config.lr, config.options, config.epochs * self.epoch_steps)

    def _example(self) -> torch.Tensor:
        """Return two images as the network is called with."""
        return self.images.normalized(self.images.test[:2].to(self.run.device), self.run.dtype)

    # ---------------------------------------------------------------- checkpoints

    def _resume(self, folder: Path | None) -> None:
        if folder is None:
            return
        found = load_checkpoint(folder, self.model)
        if found is None:
            return
        state, self.seconds = found
        check_same(folder, state, self.config, self.digest)
        self.epoch = state["epoch"]
        if self.config.retrain_from and self.epoch >= self.config.retrain_from:
            self.retraining = SparseRetraining(self.optimizer, restart=False)
            self.retraining.load_state_dict(state["retraining"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.tracker is not None:
            self.tracker.load_state_dict(state["tracker"])
        self.log.rows = state["log"]

    def _save(self) -> None:
        if self.folder is None:
            return
        state = {
            "config": self.config.to_dict(),
            "images": self.digest,
            "versions": VERSIONS,
            "epoch": self.epoch,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "tracker": None if self.tracker is None else self.tracker.state_dict(),
            "retraining": None if self.retraining is None else self.retraining.state_dict(),
            "log": self.log.rows,
        }
        save_checkpoint(self.folder, self.epoch, self.model, state, self.seconds)

    # ---------------------------------------------------------------- the loop

    def fit(self, progress: bool, stop_after: int | None) -> TrainResult:
        """Run the epochs that are left and return the result."""
        config = self.config
        if self.folder is not None:
            write_config(config, self.folder)
        names, parameters = zip(*self.model.named_parameters(), strict=True)
        guard = Guard(names, parameters, gradients=not self.scaler.is_enabled())
        last = config.epochs if stop_after is None else min(stop_after, config.epochs)
        steps = config.epochs * self.epoch_steps
        name = f"{config.method}-{config.seed}" if self.folder is None else self.folder.name
        with Bar(steps, progress and self.run.leads) as bar, closing(self.log):
            bar.label(name)
            bar.skip(self.epoch * self.epoch_steps)
            while self.epoch < last:
                start = time.perf_counter()
                row = self._one_epoch(self.epoch + 1, guard, bar)
                self.epoch += 1
                self.schedule.step()
                if config.retrain_from == self.epoch:
                    self.retraining = SparseRetraining(self.optimizer)
                self.seconds += time.perf_counter() - start
                self.log.add(row, self.folder)
                if self.epoch % config.checkpoint_every == 0 or self.epoch == config.epochs:
                    self._save()
                done = f"accuracy {row['accuracy']:.3f}, groups off {row['group_sparsity']:.3f}"
                bar.label(f"{name}, epoch {self.epoch}: {done}")
        return finish(
            config, self.folder, self.run, self.model, self.images, self.optimizer, self.tracker, self.log, self.epoch,
            self.epoch_steps, self.digest, self.seconds,
        )  # fmt: skip

    def _one_epoch(self, epoch: int, guard: Guard, bar: Bar) -> dict[str, Any]:
        """Take the steps of an epoch (from 1) and return its row of the log."""
        config, run = self.config, self.run
        torch.manual_seed((config.seed + 1) * 7_919 + epoch)  # of dropout: the same wherever a run goes on
        self.model.train()
        lr, momentum = self.optimizer.param_groups[0]["lr"], self.optimizer.param_groups[0].get("momentum", 1.0)
        total = torch.zeros((), device=run.device)
        measures = bool(config.error_every) and epoch % config.error_every == 0
        error = float("nan")
        for i, batch in enumerate(batches(config, self.images, run, epoch)):
            measured = measures and i == self.epoch_steps - 1
            exact = full_gradient(self.model, self.images, run, config.label_smoothing) if measured else None
            loss = self._step(batch, (epoch - 1) * self.epoch_steps + i + 1, guard)
            total += loss.detach() * len(batch.labels)
            if exact is not None:
                error = estimator_error(self.optimizer, self.model, exact)
            bar.advance(1)
        guard.check()
        accuracy, test_loss = evaluate(self.model, self.images, run)
        if not math.isfinite(test_loss):
            raise NotFiniteError(f"step {epoch * self.epoch_steps}: the test loss is not finite: choose a smaller lr")
        groups, entries = sparsity(self.optimizer)
        prox_groups, prox_entries = sparsity(self.optimizer, proximal=True)
        steps = epoch * self.epoch_steps
        return {
            "epoch": epoch, "step": steps, "lr": float(lr), "momentum": float(momentum),
            "train_loss": float(total) * run.world / len(self.images.train),
            "test_loss": test_loss, "accuracy": accuracy,
            "group_sparsity": groups, "prox_group_sparsity": prox_groups,
            "sparsity": entries, "prox_sparsity": prox_entries, "estimator_error": error,
        }  # fmt: skip

    def _step(self, batch: Batch, number: int, guard: Guard) -> Tensor:
        """Take one optimizer step; return this process's loss."""
        if isinstance(self.optimizer, ProxSTORM):  # asks for the gradient of the minibatch at two points
            loss: Tensor = self.optimizer.step(lambda: self._gradient(batch, number, guard))
            return loss
        loss = self._gradient(batch, number, guard)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _gradient(self, batch: Batch, number: int, guard: Guard) -> Tensor:
        """Put the minibatch's gradient into .grad (clipped, and under a scaler scaled) and return the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.run.autocast():
            logits = self.forward(batch.images)
            loss = functional.cross_entropy(logits, batch.labels, label_smoothing=self.config.label_smoothing)
            if not len(batch.labels):  # of fewer images than processes: no share in the mean
                loss = logits.sum() * 0
        self.scaler.scale(loss * batch.weight).backward()
        if self.config.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        guard.watch(number, loss)
        return loss
