"""An image set as tensors: training and validation part, normalization, augmentation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from manifold_id.validation import integer


@dataclass(frozen=True, eq=False)
class Images:
    """An image set. Images are uint8 (n, channels, height, width), labels int64 (n,) in 0 .. classes - 1.

    `mean` and `std` of each channel, on the scale 0 .. 1, normalize them; `pad` and `flip` say what the standard
    augmentation does: random crops after padding by `pad` pixels, and mirror images.
    """

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad: int
    flip: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return (int(self.train.shape[1]), int(self.train.shape[2]), int(self.train.shape[3]))

    def limited(self, rows: int | None, test_rows: int | None = None) -> Images:
        """Return the same set with the first `rows` of the training images (None = all)."""
        rows = len(self.train) if rows is None else integer("train_rows", rows, 1, len(self.train))
        test_rows = len(self.test) if test_rows is None else integer("test_rows", test_rows, 1, len(self.test))
        return replace(
            self,
            train=self.train[:rows],
            train_labels=self.train_labels[:rows],
            test=self.test[:test_rows],
            test_labels=self.test_labels[:test_rows],
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of images, labels and what normalizes and augments them."""
        total = hashlib.sha256(repr((self.classes, self.mean, self.std, self.pad, self.flip)).encode())
        for part in (self.train, self.train_labels, self.test, self.test_labels):
            total.update(f"{part.dtype} {tuple(part.shape)}".encode())
            total.update(part.cpu().contiguous().numpy().data)
        return total.hexdigest()

    def check_augmentation(self) -> None:
        """Raise ValueError where the standard augmentation would change nothing."""
        if not (self.pad or self.flip):
            raise ValueError(f"augment=True, but the images of {self.name!r} have no augmentation: set augment=False")

    def resident(self, device: torch.device) -> Images:
        """Return the set with all tensors on `device`; as it is where a GPU's free memory is not twice as large."""
        names = ("train", "train_labels", "test", "test_labels")
        tensors = {name: getattr(self, name) for name in names}
        if device.type == "cuda" and 2 * sum(t.nbytes for t in tensors.values()) > torch.cuda.mem_get_info(device)[0]:
            return self
        return replace(self, **{name: t.to(device) for name, t in tensors.items()})

    def normalized(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return (images / 255 - mean) / std in `dtype`."""
        shift, scale = _normalization(self.mean, self.std, dtype, images.device)
        return (images.to(dtype) - shift) / scale


@lru_cache(maxsize=32)
def _normalization(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return 255 mean and 255 std, (channels, 1, 1), kept: a device is waited for while they are copied to it."""
    shift, scale = (255 * torch.tensor(values, dtype=dtype)[:, None, None] for values in (mean, std))
    return shift.to(device), scale.to(device)


def augmented(images: Tensor, pad: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Return random crops (after padding by `pad` zeros) and, if `flip`, mirror images of a batch.

    Every image has its own offset, drawn from `generator`, a CPU generator, so that a run draws the same on any device.
    """
    n, _, height, width = images.shape
    offsets = torch.randint(0, 2 * pad + 1, (2, n), generator=generator).to(images.device)
    mirror = torch.rand(n, generator=generator).to(images.device) < 0.5
    padded = functional.pad(images, (pad, pad, pad, pad))
    rows = offsets[0][:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    if flip:
        columns = torch.where(mirror[:, None], width - 1 - columns, columns)
    columns = offsets[1][:, None] + columns
    batch = torch.arange(n, device=images.device)[:, None, None]
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
