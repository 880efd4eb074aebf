"""Clothing1M: a million photos of 14 kinds of clothes from shops.

They are labelled by the words around them; about 38 % of these labels are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labelsieve.data.archives._layout import (
    Archive,
    Folder,
    class_of,
    find,
    lines,
    listing,
    pairs,
    spec,
)
from labelsieve.data.sources.archive import Listing
from labelsieve.data.spec import DataSpec

WHERE = (
    "The authors give access on request (https://github.com/Cysu/noisy_label); the "
    "folder must hold images/ (0 to 9, unpacked) "
    "and, here or in annotations/, category_names_eng.txt, noisy_label_kv.txt, "
    "clean_label_kv.txt and the *_key_list.txt files."
)
CITE = (
    "T. Xiao, T. Xia, Y. Yang, C. Huang, X. Wang, Learning from Massive Noisy Labeled "
    "Data for Image Classification, CVPR 2015"
)
LISTS = {
    "train": "noisy_train_key_list.txt",
    "test": "clean_test_key_list.txt",
    "clean-train": "clean_train_key_list.txt",
    "clean-val": "clean_val_key_list.txt",
}
# "both": every image with a noisy and a clean label; only there can detection be scored.
SPLITS = (*LISTS, "both")
WHOLE = {
    "train": 1_000_000,
    "test": 10_526,
    "clean-train": 47_570,
    "clean-val": 14_313,
    "both": 37_497,
}


def read(directory: Path, split: str = "train") -> Listing:
    """Label sets `noisy_label` and `clean_label`, the clean one first in clean parts.

    They are empty where an image has no label.

    Raises:
        DataError: the folder does not hold the archive, or a listed image has no label.
    """
    archive = Archive("clothing1m", directory, WHERE)
    archive.check(split, SPLITS)
    store = find(archive, "Clothing1M", "images", [f"{k}.tar" for k in range(10)])
    # the archive has them in a folder; copies that go round have them beside the pictures
    lists = store.root / "annotations"
    texts = Folder(lists if (lists / "category_names_eng.txt").exists() else store.root)
    classes = lines(archive, texts, "category_names_eng.txt")
    noisy = _labels(archive, texts, "noisy_label_kv.txt", classes)
    clean = _labels(archive, texts, "clean_label_kv.txt", classes)
    if split == "both":
        keys = [k for k in noisy if k in clean]
    else:
        keys = lines(archive, texts, LISTS[split])
    given = noisy if split in ("train", "both") else clean
    for key in keys:
        if key not in given:
            file = "noisy_label_kv.txt" if given is noisy else "clean_label_kv.txt"
            raise archive.error(f"'{key}' of '{LISTS[split]}' has no line in '{file}'.")
    sets: dict[str, Sequence[str | None]] = {
        "noisy_label": [noisy.get(k) for k in keys],
        "clean_label": [clean.get(k) for k in keys],
    }
    if given is clean:
        sets = dict(reversed(sets.items()))  # the first one is the given one
    # its classes are words already, so that prompts take them as they are
    names = dict(zip(classes, classes, strict=True))
    return listing(archive, store, keys, sets, WHOLE[split], names)


def open(directory: Path, split: str = "train") -> DataSpec:
    """The archive as data; true labels are named where noisily labelled images have any.

    Raises DataError as `read`.
    """
    images = read(directory, split)
    truth = None
    if split in ("train", "both") and any(images.labels["clean_label"]):
        truth = "clean_label"
    return spec(Archive("clothing1m", directory, WHERE), split, images, truth)


def _labels(
    archive: Archive, texts: Folder, file: str, classes: list[str]
) -> dict[str, str]:
    labels = {}
    for key, number in pairs(archive, texts, file):
        labels[key] = class_of(archive, number, classes, f"'{key}' in '{file}'")
    return labels
