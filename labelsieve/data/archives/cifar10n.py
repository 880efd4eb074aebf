"""CIFAR-10N: CIFAR-10's training pictures with labels that people gave, five sets of them.

Of these labels 9 to 40 % are wrong.
"""

from __future__ import annotations

from pathlib import Path

from labelsieve.data.archives import _cifar, cifar100n
from labelsieve.data.archives._layout import Archive, spec
from labelsieve.data.sources.archive import Listing
from labelsieve.data.spec import DataSpec

FILE = "CIFAR-10_human.pt"
SETS = ("worse_label", "aggre_label", "random_label1", "random_label2", "random_label3")
WHERE = (
    f"Get {FILE} from https://github.com/UCSC-REAL/cifar-10-100n (data/) into this "
    "folder, and cifar-10-binary.tar.gz "
    "(CIFAR-10 binary version) from https://www.cs.toronto.edu/~kriz/cifar.html beside "
    "it, packed or unpacked."
)
CITE = cifar100n.CITE
SPLITS = ("train", "test")


def read(directory: Path, split: str = "train") -> Listing:
    """Label sets `worse_label` and the other four, and `clean_label`.

    The test part has `clean_label` alone.

    Raises:
        DataError: the folder does not hold pictures and labels, or not in the same order.
    """
    return _cifar.relabelled(
        Archive("cifar10n", directory, WHERE), _cifar.CIFAR10, split, FILE, SETS
    )


def open(directory: Path, split: str = "train") -> DataSpec:
    """The archive as data, `worse_label` given; --label-column chooses another.

    Raises DataError as `read`.
    """
    truth = "clean_label" if split == "train" else None
    archive = Archive("cifar10n", directory, WHERE)
    return spec(archive, split, read(directory, split), truth)
