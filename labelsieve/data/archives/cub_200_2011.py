"""CUB-200-2011: 5,994 training and 5,794 test photos of 200 species of birds."""

from __future__ import annotations

from pathlib import Path

from labelsieve.data.archives._layout import (
    Archive,
    class_of,
    find,
    listing,
    pairs,
    spec,
)
from labelsieve.data.sources.archive import Listing
from labelsieve.data.spec import DataSpec

WHERE = (
    "Get CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 and unpack "
    "it in this folder: images/, images.txt, "
    "classes.txt, image_class_labels.txt and train_test_split.txt."
)
CITE = (
    "C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie, The Caltech-UCSD "
    "Birds-200-2011 Dataset, CNS-TR-2011-001"
)
SPLITS = ("train", "test")
WHOLE = {"train": 5_994, "test": 5_794}


def read(directory: Path, split: str = "train") -> Listing:
    """Label set `label`: "001.Black_footed_Albatross", in prompts "Black footed Albatross".

    Raises:
        DataError: the folder does not hold the archive, or its lists do not fit together.
    """
    archive = Archive("cub-200-2011", directory, WHERE)
    archive.check(split, SPLITS)
    store = find(archive, "CUB_200_2011", "images.txt", ("CUB_200_2011.tgz",))
    images = dict(pairs(archive, store, "images.txt"))
    classes = dict(pairs(archive, store, "classes.txt"))
    numbers = dict(pairs(archive, store, "image_class_labels.txt"))
    parts = dict(pairs(archive, store, "train_test_split.txt"))
    for name, table in (("image_class_labels", numbers), ("train_test_split", parts)):
        if table.keys() != images.keys():
            raise archive.error(
                f"'{name}.txt' has {len(table)} images, 'images.txt' has "
                f"{len(images)}; not the same ones."
            )
    # labels count these lines: a gap would shift every class after it
    if set(classes) != {str(k + 1) for k in range(len(classes))}:
        raise archive.error("'classes.txt' does not count the classes from 1 on.")
    ordered = [classes[str(k + 1)] for k in range(len(classes))]
    in_training = {"train": "1", "test": "0"}[split]  # text, as the list has it
    keys, labels = [], []
    for image, name in images.items():
        if parts[image] == in_training:
            keys.append(f"images/{name}")
            number = numbers[image]
            labels.append(class_of(archive, number, ordered, f"image {image}", first=1))
    names = {c: _species(c) for c in ordered}
    return listing(archive, store, keys, {"label": labels}, WHOLE[split], names)


def _species(label: str) -> str:
    """Of "001.Black_footed_Albatross", for example: "Black footed Albatross"."""
    return " ".join(label.partition(".")[2].replace("_", " ").split()) or label


def open(directory: Path, split: str = "train") -> DataSpec:
    """The archive as data. Raises DataError when the folder does not hold it."""
    return spec(
        Archive("cub-200-2011", directory, WHERE), split, read(directory, split)
    )
