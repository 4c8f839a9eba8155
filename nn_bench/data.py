"""`load_images`: image sets by name."""

from __future__ import annotations

import gzip
import lzma
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from manifold_id.remote import DataFile, fetch
from manifold_id.validation import unknown_name
from nn_bench.images import Images
from nn_bench.planted import PLANTED

MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
CIFAR = "https://www.cs.toronto.edu/~kriz/"
Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Set:
    read: Callable[[list[Path]], Parts]
    files: tuple[DataFile, ...]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad: int
    flip: bool


def load_images(name: str, quiet: bool = False) -> Images:
    """Return a named image set; a file that this machine has not is downloaded once.

    Parameters
    ----------
    name
        "digits": the 8 x 8 digits of scikit-learn, enlarged to 28 x 28 (bilinear), every fifth image for validation;
        "mnist", "fashion-mnist"; "cifar10", "cifar100" (full, downloaded); "cifar10-20k", "cifar100-10k": subsets with
        5,000 and 2,000 test images, read from the folder MANIFOLD_ID_DATA; "planted-inputs", "planted-channels",
        "planted-teacher": see nn_bench.planted.
    quiet
        No progress bar for a download.

    Raises
    ------
    ValueError
        For an unknown name (the nearest valid one is suggested) or a damaged file.
    FileNotFoundError
        For a file that is nowhere; the message says where it was looked for.
    """
    if name not in NAMES:
        raise unknown_name("data", name, NAMES)
    if name in PLANTED:
        return PLANTED[name]().images
    chosen = SETS[name]
    train, train_labels, test, test_labels = chosen.read([fetch(file, quiet=quiet) for file in chosen.files])
    tensors = [torch.from_numpy(part.copy(order="C")) for part in (train, test)]
    labels = [torch.from_numpy(part.astype(np.int64)) for part in (train_labels, test_labels)]
    return Images(
        name, tensors[0], labels[0], tensors[1], labels[1],
        chosen.classes, chosen.mean, chosen.std, chosen.pad, chosen.flip,
    )  # fmt: skip


def _digits(paths: list[Path]) -> Parts:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images[:, None]).float() * (255 / 16)
    large = functional.interpolate(small, size=(28, 28), mode="bilinear", align_corners=False)
    images = large.round().to(torch.uint8).numpy()
    held = np.arange(len(images)) % 5 == 4
    return images[~held], bunch.target[~held], images[held], bunch.target[held]


def _idx(paths: list[Path]) -> Parts:
    parts = [_read_idx(path) for path in paths]
    return parts[0][:, None], parts[1], parts[2][:, None], parts[3]


def _read_idx(path: Path) -> np.ndarray:
    with gzip.open(path) as stream:
        raw = stream.read()
    ndim = raw[3] if len(raw) > 3 else 0
    if raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * ndim:
        raise ValueError(f"{path} is no IDX file of bytes: replace it")
    shape = struct.unpack(f">{ndim}I", raw[4 : 4 + 4 * ndim])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def _subset(paths: list[Path]) -> Parts:
    images = []
    for path in (paths[0], paths[2]):
        with lzma.open(path) as stream:
            images.append(np.lib.format.read_array(stream, allow_pickle=False).transpose(0, 3, 1, 2))
    labels = [np.load(path, allow_pickle=False) for path in (paths[1], paths[3])]
    return images[0], labels[0], images[1], labels[1]


def _archive(train: tuple[str, ...], test: str, label_bytes: int) -> Callable[[list[Path]], Parts]:
    """Return the reader of the host's binary archive: rows of label bytes (the last counts) and 3,072 pixels."""

    def read(paths: list[Path]) -> Parts:
        found: dict[str, np.ndarray] = {}
        with tarfile.open(paths[0]) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                short = member.name.rsplit("/", 1)[-1]
                if stream is not None and short in (*train, test):
                    found[short] = np.frombuffer(stream.read(), np.uint8).reshape(-1, label_bytes + 3072)
        if missing := {*train, test} - set(found):
            raise ValueError(f"{paths[0]} lacks {', '.join(sorted(missing))}: download it again")
        parts = [np.concatenate([found[name] for name in train]), found[test]]
        images = [part[:, label_bytes:].reshape(-1, 3, 32, 32) for part in parts]
        labels = [part[:, label_bytes - 1] for part in parts]
        return images[0], labels[0], images[1], labels[1]

    return read


def _idx_files(folder: str, host: str, hashes: tuple[str, str, str, str]) -> tuple[DataFile, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    files = [f"{name}-ubyte.gz" for name in names]
    return tuple(DataFile(f"{folder}/{n}", None, host + n, f"md5:{h}") for n, h in zip(files, hashes, strict=True))


def _subset_files(folder: str, train: str, test: str, hashes: tuple[str, ...]) -> tuple[DataFile, ...]:
    names = [f"{folder}-{part}-{kind}" for part in (train, test) for kind in ("images.npy.xz", "labels.npy")]
    return tuple(DataFile(f"{folder}/{n}", h) for n, h in zip(names, hashes, strict=True))


_GREY = ((0.1307,), (0.3081,))
_CIFAR10 = ((0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784))
_CIFAR100 = ((0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047))
SETS: dict[str, _Set] = {
    "digits": _Set(_digits, (), 10, (0.3058,), (0.3251,), 2, False),
    "mnist": _Set(
        _idx,
        _idx_files(
            "mnist",
            MNIST,
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
        10,
        *_GREY,
        2,
        False,
    ),
    "fashion-mnist": _Set(
        _idx,
        _idx_files(
            "fashion-mnist",
            FASHION,
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        10,
        (0.2860,),
        (0.3530,),
        2,
        True,
    ),
    "cifar10": _Set(
        _archive(tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", 1),
        (
            DataFile(
                "cifar10/cifar-10-binary.tar.gz",
                url=CIFAR + "cifar-10-binary.tar.gz",
                url_hash="md5:c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        10,
        *_CIFAR10,
        4,
        True,
    ),
    "cifar100": _Set(
        _archive(("train.bin",), "test.bin", 2),
        (
            DataFile(
                "cifar100/cifar-100-binary.tar.gz",
                url=CIFAR + "cifar-100-binary.tar.gz",
                url_hash="md5:03b5dce01913d631647c71ecec9e9cb8",
            ),
        ),
        100,
        *_CIFAR100,
        4,
        True,
    ),
    "cifar10-20k": _Set(
        _subset,
        _subset_files(
            "cifar10",
            "train20k",
            "test5k",
            (
                "30a093319fa5da2b430c64f7975e07b73dde5a16a4bc3ca467a93bbf4b079da7",
                "d43172875d1ae72fa3614265aec70cf15b1fafdccdae922288bfcf63b7aa0182",
                "ec142a2b9245f3e89e8fbce7bd9f97fdff625b7f4c22a85f38845570200c44df",
                "e596720bd170847ae868fb8bb9d3dc673aebd7731ec8f6ae3f5d11c75e9d902c",
            ),
        ),
        10,
        *_CIFAR10,
        4,
        True,
    ),
    "cifar100-10k": _Set(
        _subset,
        _subset_files(
            "cifar100",
            "train10k",
            "test2k",
            (
                "4085bab9f4b5d348d094867b8b20d53fd39eb15aada6ad049b844c0f1464ddd5",
                "397fd97b3c6c02100bf4de46c41160e20dde0c3be424a4cafb1846b3c3a52cb6",
                "9178f7f1246dc8fde2afe5b8520a9659e7f9e1e16271323ab9b5a824be087203",
                "e2aaeee5aa88f3bba244a1e55b774274e1ba732607ce7ccf24d834c78a62f36b",
            ),
        ),
        100,
        *_CIFAR100,
        4,
        True,
    ),
}
NAMES = (*SETS, *PLANTED)
