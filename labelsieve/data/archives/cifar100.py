"""CIFAR-100: 50,000 training and 10,000 test pictures of 32 x 32 pixels, 100 classes."""

from __future__ import annotations

from pathlib import Path

from labelsieve.data.archives import _cifar
from labelsieve.data.archives._layout import Archive, spec
from labelsieve.data.sources.archive import Listing
from labelsieve.data.spec import DataSpec

WHERE = (
    "Get cifar-100-binary.tar.gz (CIFAR-100 binary version) from "
    "https://www.cs.toronto.edu/~kriz/cifar.html into this folder; "
    "packed, or unpacked to train.bin, test.bin and fine_label_names.txt."
)
CITE = (
    "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical "
    "report, 2009"
)
SPLITS = ("train", "test")


def read(directory: Path, split: str = "train") -> Listing:
    """Label set `label`: the fine class. Raises DataError when the archive is not there."""
    archive = Archive("cifar100", directory, WHERE)
    archive.check(split, SPLITS)
    records = _cifar.read(archive, _cifar.CIFAR100, split)
    return records.listing(
        split, {"label": records.own_labels()}, _cifar.CIFAR100.whole[split]
    )


def open(directory: Path, split: str = "train") -> DataSpec:
    """The archive as data. Raises DataError when the folder does not hold it."""
    return spec(Archive("cifar100", directory, WHERE), split, read(directory, split))
