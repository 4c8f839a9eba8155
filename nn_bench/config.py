"""TrainConfig: what one run is, checked before anything starts, from Python or a TOML file."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from manifold_id import regularizers
from manifold_id.import_path import class_named
from manifold_id.methods.schedule import MOMENTUM_RULES
from manifold_id.optim.groups import RULES
from manifold_id.regularizers.base import Regularizer
from manifold_id.toml_file import read_toml
from manifold_id.validation import integer, real, unknown_name
from nn_bench.data import NAMES
from nn_bench.methods import METHODS, method_entry
from nn_bench.models import MODELS

LARGEST_SEED = 2**32 - 1  # an epoch's own seed is a multiple of it, and torch takes none from 2^64 on
PRECISIONS = ("float32", "float64", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda")
_SET = ("lam", "radius", "axis", "groups", "event_ndim")  # arguments of regularizers that other settings decide
_PENALTIES = {name for name in regularizers.__all__ if name not in ("Regularizer", "Unpenalized", "Zero")}


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Parameters
    ----------
    model, data
        Names: see nn_bench.models.MODELS and nn_bench.data.load_images.
    method
        An optimizer of manifold_id.optim ("RMDA", "ProxSGD", ...) or a baseline ("SGD", "MagnitudePruning", "RigL").
    lr
        >= 0.
    options
        The method's other arguments, such as {"momentum": 0.1}.
    regularizer, lam, by
        The regularizer's class with its strength (of LInfBall and Simplex: the radius), and what its groups are
        ("input_channel", "output_channel", "neuron", "unit": see group_parameters). The baselines have no regularizer;
        for them it names the groups that are counted. None, in a file "none" = no structure.
    regularizer_options
        The regularizer's other arguments, such as {"ridge": 1e-3}, {"l1_ratio": 0.3}, {"lower": 0, "upper": 1}.
    epochs, batch_size
        >= 1.
    milestones, factor, restart, growth
        The stages, in epochs: see manifold_id.optim.StageSchedule, whose `momentum` is `growth`.
    augment
        Whether training images are cropped at random and, where that makes sense, mirrored.
    label_smoothing, clip
        Of the cross entropy, in [0, 1); the largest norm of the gradient, 0 = no clipping.
    init_scale
        s of the random start of RDA (rda_init_); 0 = the model's own start.
    retrain_from
        The epoch after which zeros are frozen (adaptive sparse retraining); 0 = never.
    train_rows, test_rows
        Use the first images only; None = all.
    seed
        Of initialization, order and augmentation.
    device, precision, channels_last, deterministic, compile
        "auto" takes a GPU where there is one. bfloat16 and float16 are automatic mixed precision; float64 is exact
        enough to compare runs. `deterministic`: only algorithms that give the same bits in every run.
    tracked
        Whether the structure is recorded at every step.
    error_every
        Epochs between two measurements of the gradient estimate's error against the full-data gradient; 0 = never.
    checkpoint_every
        Epochs between two checkpoints, >= 1.

    Raises
    ------
    TypeError, ValueError
        For an unknown name (the nearest valid one is suggested) or a number out of range.
    """

    model: str = "lenet5"
    data: str = "digits"
    method: str = "RMDA"
    lr: float = 0.1
    options: dict[str, Any] = field(default_factory=dict)
    regularizer: str | None = "GroupLasso"
    lam: float = 1e-3
    by: str = "input_channel"
    regularizer_options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 20
    batch_size: int = 128
    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    restart: bool = True
    growth: str = "constant"
    augment: bool = False
    label_smoothing: float = 0.0
    clip: float = 0.0
    init_scale: float = 0.0
    retrain_from: int = 0
    train_rows: int | None = None
    test_rows: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    channels_last: bool = False
    deterministic: bool = True
    compile: bool = False
    tracked: bool = True
    error_every: int = 0
    checkpoint_every: int = 1

    def __post_init__(self) -> None:
        for name, valid in _NAMES.items():
            value = getattr(self, name)
            own = name in ("method", "regularizer") and isinstance(value, str) and ":" in value
            if not (isinstance(value, str) and (value in valid or own)) and not (
                name == "regularizer" and value is None
            ):
                raise unknown_name(name, value, valid)
        for name in ("restart", "augment", "channels_last", "deterministic", "compile", "tracked"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}={getattr(self, name)!r} must be True or False")
        for name, owner in (("options", "method"), ("regularizer_options", "regularizer")):
            value = getattr(self, name)
            if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
                raise TypeError(f"{name}={value!r} must be a table of the {owner}'s arguments")
            plain = {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
            object.__setattr__(self, name, plain)  # as a file gives them back
        for name, low in (("epochs", 1), ("batch_size", 1), ("checkpoint_every", 1), ("error_every", 0)):
            integer(name, getattr(self, name), low)
        integer("seed", self.seed, 0, LARGEST_SEED)
        if integer("retrain_from", self.retrain_from, 0) >= self.epochs:
            raise ValueError(
                f"retrain_from={self.retrain_from} must be below epochs={self.epochs}: give an earlier epoch, or 0 for "
                "no retraining"
            )
        for name in ("train_rows", "test_rows"):
            if getattr(self, name) is not None:
                integer(name, getattr(self, name), 1)
        for name in ("lr", "lam", "clip", "init_scale"):
            real(name, getattr(self, name), 0)
        real("label_smoothing", self.label_smoothing, 0, 1, open_high=True)
        real("factor", self.factor, 0, 1, open_low=True)
        if not isinstance(self.milestones, (list, tuple)):
            raise TypeError(f"milestones={self.milestones!r} must be a list of epochs, such as [10, 15]")
        object.__setattr__(self, "milestones", tuple(integer("milestones", m, 1) for m in self.milestones))
        if any(b <= a for a, b in zip(self.milestones, self.milestones[1:], strict=False)):
            raise ValueError(f"milestones={list(self.milestones)} must increase")
        method_entry(self.method).check(self.options)
        self.psi()
        if self.method == "ProxSTORM" and self.precision == "float16":
            raise ValueError("precision='float16': ProxSTORM takes two gradients a step: use bfloat16")

    def psi(self) -> Regularizer | None:
        """Return the regularizer, or None; its groups' axis is a placeholder that `group_parameters` replaces."""
        given = self.regularizer_options
        if self.regularizer is None:
            if given:
                raise ValueError(f"regularizer_options={given!r} without a regularizer: leave them out")
            return None
        made = class_named("regularizer", self.regularizer, vars(regularizers), Regularizer)
        parameters = {f.name: f.default is MISSING for f in fields(made) if f.init}
        free = [name for name in parameters if name not in _SET]
        for name in given:
            if not free:
                raise ValueError(f"regularizer_options={given!r}: {self.regularizer} takes none, leave them out")
            if name not in free:
                raise unknown_name(f"option of {self.regularizer}", name, free)
        if missing := [name for name in free if parameters[name] and name not in given]:
            raise ValueError(f"{self.regularizer} needs {' and '.join(missing)}: give regularizer_options, such as "
                             f"{{{', '.join(f'{name!r}: 0.001' for name in missing)}}}")  # fmt: skip
        own = {
            name: value for name, value in (("lam", self.lam), ("radius", self.lam), ("axis", 0)) if name in parameters
        }
        result = made(**own, **given)
        assert isinstance(result, Regularizer)
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values; `from_dict` takes them back."""
        return asdict(self) | {"milestones": list(self.milestones)}

    def to_toml(self) -> str:
        """Return the settings as the lines of a TOML file, or of a table in one; `from_dict` takes them back."""
        lines = []
        for key, value in (self.to_dict() | {"regularizer": self.regularizer or "none"}).items():
            if isinstance(value, dict):
                inside = ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items())
                lines.append(f"{key} = {{ {inside} }}")
            elif value is not None:
                lines.append(f"{key} = {_toml(value)}")
        return "\n".join(lines)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "config") -> Self:
        """Return the config with these settings; raises TypeError or ValueError as the class does, naming `where`."""
        valid = [f.name for f in fields(cls)]
        for key in values:
            if key not in valid:
                raise unknown_name(f"{where}: setting", key, valid)
        given = dict(values)
        if given.get("regularizer") == "none":
            given["regularizer"] = None
        try:
            return cls(**given)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from error

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a TOML file whose keys are the parameters, with tables [options] and [regularizer_options].

        Raises
        ------
        ValueError
            If it is no TOML or has an unknown key or value; the file is named.
        """
        return cls.from_dict(read_toml(path)[0], str(path))

    def changed(self, **settings: Any) -> Self:
        """Return a copy with other settings, checked again."""
        return replace(self, **settings)

    def shortened(self, epochs: int) -> Self:
        """Return a copy of another length, whose milestones and start of retraining move in proportion."""
        moved = {max(round(m * epochs / self.epochs), 1) for m in self.milestones}
        start = min(max(round(self.retrain_from * epochs / self.epochs), 1), epochs - 1) if self.retrain_from else 0
        milestones = tuple(sorted(m for m in moved if m < epochs))
        return self.changed(epochs=epochs, milestones=milestones, retrain_from=start)


def _toml(value: Any) -> str:
    """Return a plain value as TOML, which is JSON but for inf."""
    return repr(value) if isinstance(value, float) else json.dumps(value)


def table(name: str, value: Any) -> dict[str, Any]:
    """Return the value of a file if it is a table; raises TypeError for another one."""
    if not isinstance(value, dict):
        raise TypeError(f"{name}={value!r} must be a table")
    return value


_NAMES = {
    "model": set(MODELS),
    "data": set(NAMES),
    "method": set(METHODS),
    "regularizer": _PENALTIES,
    "by": set(RULES),
    "growth": set(MOMENTUM_RULES),
    "device": set(DEVICES),
    "precision": set(PRECISIONS),
}
