"""The table of named data sets: size, recipe, files with their hashes, source and licence.

A new data set is one entry here (and, where none fits, one function in `recipes` or `readers`). Sources of the packed
files are given in full in `datasets/README.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convex_bench.data import recipes
from convex_bench.data.recipes import Loaded
from manifold_id.remote import DataFile

PACKED = Path(__file__).parent / "datasets"
SHA256 = {
    "a9a.bz2": "492b39d646a679f2863b6c7afd6cdde55b13817e8cdbfc3195cbd7e212326271",
    "a9a.groups.txt": "019e0ece3bddfa8726770ce72c663d2d1cbf6b66a8621559a7113dc2e06a0dcc",
    "mushrooms.bz2": "e3c021d26c1f732d213b95a073c3daef1b158abe30c1fd579551a1d552c313be",
    "mushrooms.groups.txt": "0a5c14dd4f1e468d514099c2278e8110422d1afab5025b5785367cf1c3f08f8c",
    "memset-donor-400.csv": "ad0105d78ebc166f8922a28575424553eaa859b711b5c202b6b44b562c1ac55f",
    "colon-cancer.bz2": "c14ac0065ba3a7aec48daf16900b6c0782ab7a2083c11d9a6a0c482976a639e8",
    "libsvm/w8a.bz2": "15838cb4a316ae056c334199d5a96f55b02cf2119fd0f04f9c9a1bb820b20854",
    "libsvm/german.numer.bz2": "06e16ecb6048865ed158fcd8c012fdf6f6c514722c59431a17ee5a0f33a6ddfc",
    "libsvm/australian.bz2": "34ea8fbb14591cd8f86761db0249dcf35655bfb9236dabd256bfba6ffb241276",
    "libsvm/rcv1-ccat-small.bz2": "4b8a342a9c2a21289cdc6e9a2ff5d2cc60996319b8f71da1a1424c371aeb55de",
    "microarray/leukemia.bz2": "2d250c9ec47a42f074c3d0b5f3372e4ae02f0284e979da57e4793c127131b1fb",
    "groups/birthwt.csv": "8ee983435e36c55e7a3d636587689f4e5269368521f5422fb227c5ae2cdcfd89",
    "groups/birthwt.groups.txt": "62c61a27723f624e481707e76bbd44d102c1ba5a06a113beef3404b434a7be06",
    "mnist/train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "mnist/train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "fashion-mnist/train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "fashion-mnist/train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "cifar10/cifar10-train20k-images.npy.xz": "30a093319fa5da2b430c64f7975e07b73dde5a16a4bc3ca467a93bbf4b079da7",
    "cifar10/cifar10-train20k-labels.npy": "d43172875d1ae72fa3614265aec70cf15b1fafdccdae922288bfcf63b7aa0182",
    "cifar100/cifar100-train10k-images.npy.xz": "4085bab9f4b5d348d094867b8b20d53fd39eb15aada6ad049b844c0f1464ddd5",
    "cifar100/cifar100-train10k-labels.npy": "397fd97b3c6c02100bf4de46c41160e20dde0c3be424a4cafb1846b3c3a52cb6",
}
LIBSVM = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/"
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
CIFAR = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class DataSet:
    """One named data set; `read` turns (columns, paths of the files) into (X, y, groups)."""

    name: str
    rows: int
    columns: int
    classes: int
    groups: int | None
    read: Callable[[int, list[Path]], Loaded]
    files: tuple[DataFile, ...]
    source: str
    licence: str


def _packed(*names: str) -> tuple[DataFile, ...]:
    return tuple(DataFile(name, SHA256[name], packed=PACKED) for name in names)


def _local(*paths: str) -> tuple[DataFile, ...]:
    return tuple(DataFile(path, SHA256[path]) for path in paths)


def _libsvm(name: str, remote: str | None = None) -> tuple[DataFile, ...]:
    return (DataFile(f"libsvm/{name}", SHA256.get(f"libsvm/{name}"), LIBSVM + (remote or name)),)


def _idx(folder: str, host: str) -> tuple[DataFile, ...]:
    paths = [f"{folder}/train-images-idx3-ubyte.gz", f"{folder}/train-labels-idx1-ubyte.gz"]
    return tuple(DataFile(path, SHA256[path], host + path.split("/")[1], f"sha256:{SHA256[path]}") for path in paths)


def _cifar(folder: str, name: str, md5: str) -> tuple[DataFile, ...]:
    return (DataFile(f"{folder}/{name}", None, CIFAR + name, f"md5:{md5}"),)


UCI = "UCI: CC BY 4.0"
KRIZHEVSKY = "Krizhevsky, 2009, cs.toronto.edu/~kriz/cifar.html"
CITE = "none stated; cite the report"
_ROWS, _DENSE, _EXPRESSION = recipes.sparse_rows, recipes.dense_rows, recipes.expression
_SETS = (
    DataSet(
        "a9a", 32561, 123, 2, 14, _ROWS, _packed("a9a.bz2", "a9a.groups.txt"), "UCI Adult; Platt, 1998; LIBSVM", UCI
    ),
    DataSet(
        "mushrooms",
        8124,
        112,
        2,
        21,
        _ROWS,
        _packed("mushrooms.bz2", "mushrooms.groups.txt"),
        "UCI Mushroom; LIBSVM",
        UCI,
    ),
    DataSet(
        "memset",
        400,
        28,
        2,
        7,
        recipes.memset,
        _packed("memset-donor-400.csv"),
        "MEMset Donor, 400 rows: Yeo and Burge, 2004; R package grplasso",
        "GPL",
    ),
    DataSet(
        "colon-cancer",
        62,
        2000,
        2,
        None,
        _EXPRESSION,
        _packed("colon-cancer.bz2"),
        "Alon et al., PNAS 96, 1999; R package datamicroarray",
        "none stated (package: MIT)",
    ),
    DataSet("digits", 1797, 64, 10, None, recipes.digits, (), "UCI Optical Digits; scikit-learn", UCI),
    DataSet(
        "breast_cancer", 569, 30, 2, None, recipes.breast_cancer, (), "UCI Breast Cancer Wisconsin; scikit-learn", UCI
    ),
    DataSet(
        "mnist",
        60000,
        784,
        10,
        None,
        recipes.idx,
        _idx("mnist", MNIST),
        "LeCun, Cortes, Burges; Proc. IEEE 86(11), 1998",
        "commonly CC BY-SA 3.0",
    ),
    DataSet(
        "fashion-mnist",
        60000,
        784,
        10,
        None,
        recipes.idx,
        _idx("fashion-mnist", FASHION),
        "Xiao, Rasul, Vollgraf, arXiv:1708.07747",
        "MIT",
    ),
    DataSet(
        "cifar10",
        50000,
        3072,
        10,
        None,
        recipes.cifar10,
        _cifar("cifar10", "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
        KRIZHEVSKY,
        CITE,
    ),
    DataSet(
        "cifar100",
        50000,
        3072,
        100,
        None,
        recipes.cifar100,
        _cifar("cifar100", "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
        KRIZHEVSKY,
        CITE,
    ),
    DataSet(
        "cifar10-20k",
        20000,
        3072,
        10,
        None,
        recipes.cifar_subset,
        _local("cifar10/cifar10-train20k-images.npy.xz", "cifar10/cifar10-train20k-labels.npy"),
        "subset of CIFAR-10's training images, 2,000 a class",
        CITE,
    ),
    DataSet(
        "cifar100-10k",
        10000,
        3072,
        100,
        None,
        recipes.cifar_subset,
        _local("cifar100/cifar100-train10k-images.npy.xz", "cifar100/cifar100-train10k-labels.npy"),
        "subset of CIFAR-100's training images, 100 a class",
        CITE,
    ),
    DataSet("w8a", 49749, 300, 2, None, _ROWS, _libsvm("w8a.bz2", "w8a"), "Platt, SMO, 1998; LIBSVM", "none stated"),
    DataSet(
        "german.numer",
        1000,
        24,
        2,
        None,
        _DENSE,
        _libsvm("german.numer.bz2", "german.numer"),
        "UCI Statlog German credit; LIBSVM",
        UCI,
    ),
    DataSet(
        "australian",
        690,
        14,
        2,
        None,
        _DENSE,
        _libsvm("australian.bz2", "australian"),
        "UCI Statlog Australian credit; LIBSVM",
        UCI,
    ),
    DataSet(
        "rcv1-ccat-small",
        1000,
        47117,
        2,
        None,
        _ROWS,
        _local("libsvm/rcv1-ccat-small.bz2"),
        "1,000 documents of RCV1, topic CCAT: Lewis et al., JMLR 5, 2004; vowpal_wabbit",
        "BSD-3-Clause (repository)",
    ),
    DataSet(
        "leukemia",
        38,
        7129,
        2,
        None,
        _EXPRESSION,
        _local("microarray/leukemia.bz2"),
        "Golub et al., Science 286, 1999; R package datamicroarray",
        "none stated (package: MIT)",
    ),
    DataSet(
        "birthwt",
        189,
        16,
        2,
        8,
        recipes.birthwt,
        _local("groups/birthwt.csv", "groups/birthwt.groups.txt"),
        "Hosmer and Lemeshow, 1989; R package grpreg",
        "GPL-3",
    ),
    DataSet(
        "rcv1_train.binary",
        20242,
        47236,
        2,
        None,
        _ROWS,
        _libsvm("rcv1_train.binary.bz2"),
        "Lewis et al., JMLR 5, 2004; LIBSVM",
        "none stated",
    ),
    DataSet("real-sim", 72309, 20958, 2, None, _ROWS, _libsvm("real-sim.bz2"), "McCallum; LIBSVM", "none stated"),
    DataSet(
        "news20.binary",
        19996,
        1355191,
        2,
        None,
        _ROWS,
        _libsvm("news20.binary.bz2"),
        "Keerthi and DeCoste, JMLR 6, 2005; LIBSVM",
        "none stated",
    ),
    DataSet("ijcnn1", 49990, 22, 2, None, _ROWS, _libsvm("ijcnn1.bz2"), "Prokhorov, IJCNN 2001; LIBSVM", "none stated"),
    DataSet(
        "covtype.binary",
        581012,
        54,
        2,
        None,
        _ROWS,
        _libsvm("covtype.libsvm.binary.scale.bz2"),
        "UCI Covertype, classes joined, columns in [0, 1]; LIBSVM",
        UCI,
    ),
    DataSet(
        "gisette",
        6000,
        5000,
        2,
        None,
        _DENSE,
        _libsvm("gisette_scale.bz2"),
        "NIPS 2003 feature selection, columns in [-1, 1]; LIBSVM",
        UCI,
    ),
)
REGISTRY = {data.name: data for data in _SETS}


def register(data: DataSet) -> None:
    """Add a data set, so that `load`, study files and the command line know its name in this process.

    Raises
    ------
    TypeError, ValueError
        If `data` is no DataSet, or another one has its name.
    """
    if not isinstance(data, DataSet):
        raise TypeError(f"data={data!r} must be a DataSet")
    if REGISTRY.get(data.name, data) != data:
        raise ValueError(f"name={data.name!r} is that of another data set: choose another name")
    REGISTRY[data.name] = data
