"""CIFAR-100N: CIFAR-100's training pictures with labels that people gave, 40.2 % of them wrong."""

from __future__ import annotations

from pathlib import Path

from labelsieve.data.archives import _cifar, cifar100
from labelsieve.data.archives._layout import Archive, spec
from labelsieve.data.sources.archive import Listing
from labelsieve.data.spec import DataSpec

FILE = "CIFAR-100_human.pt"
WHERE = (
    f"Get {FILE} from https://github.com/UCSC-REAL/cifar-10-100n (data/) into this "
    "folder, and cifar-100-binary.tar.gz "
    "(CIFAR-100 binary version) from https://www.cs.toronto.edu/~kriz/cifar.html "
    "beside it, packed or unpacked."
)
CITE = (
    "Wei, Zhu, Cheng, Liu, Niu, Liu, Learning with Noisy Labels Revisited: A Study "
    "Using Real-World Human Annotations, "
    "ICLR 2022 (labels CC BY-NC 4.0); " + cifar100.CITE
)
SPLITS = ("train", "test")


def read(directory: Path, split: str = "train") -> Listing:
    """Label sets `noisy_label` and `clean_label`; `clean_label` alone for the test part.

    Raises:
        DataError: the folder does not hold pictures and labels, or not in the same order.
    """
    return _cifar.relabelled(
        Archive("cifar100n", directory, WHERE),
        _cifar.CIFAR100,
        split,
        FILE,
        ("noisy_label",),
    )


def open(directory: Path, split: str = "train") -> DataSpec:
    """The archive as data, the human labels given. Raises DataError when it is not there."""
    truth = "clean_label" if split == "train" else None
    archive = Archive("cifar100n", directory, WHERE)
    return spec(archive, split, read(directory, split), truth)
