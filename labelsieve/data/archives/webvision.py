"""Mini-WebVision: the first 50 classes of ImageNet among WebVision 1.0's pictures from Google.

Their labels are the words that were searched for.
"""

from __future__ import annotations

from pathlib import Path

from labelsieve.data.archives._layout import (
    Archive,
    class_of,
    find,
    first_synonyms,
    lines,
    listing,
    pairs,
    spec,
)
from labelsieve.data.sources.archive import Listing
from labelsieve.data.spec import DataSpec

WHERE = (
    "Get Google Images Resized, Validation Images Resized and Training & Validation "
    "Labels of WebVision 1.0 from "
    "https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html and unpack them in "
    "this folder: google/, val_images_256/, info/."
)
CITE = (
    "W. Li, L. Wang, W. Li, E. Agustsson, L. Van Gool, WebVision Database: Visual "
    "Learning and Understanding from Web Data, 2017"
)
SPLITS = ("train", "test")  # "test" is the official validation part, labelled by people
# Of 1,000: Jiang et al., MentorNet, ICML 2018; used so by DivideMix and DeFT.
CLASSES = 50
WHOLE = {"train": 65_944, "test": 2_500}
PACKED = ("google_resized_256.tar", "webvision_train_labels.tar", "info.tar")


def read(directory: Path, split: str = "train") -> Listing:
    """Label set `label`: WordNet ids, in prompts the first synonyms of synsets.txt.

    There are no true labels.

    Raises:
        DataError: the folder does not hold the archive.
    """
    archive = Archive("webvision", directory, WHERE)
    archive.check(split, SPLITS)
    store = find(archive, "webvision", "info/synsets.txt", PACKED)
    classes = []
    words = {}
    for line in lines(archive, store, "info/synsets.txt"):
        wnid, _, text = line.partition(" ")
        # in the order of the list, which the labels count
        classes.append(wnid)
        words[wnid] = text.strip() or wnid
    file, above = "info/train_filelist_google.txt", ""
    if split == "test":
        # two names, for two archives of it: resized, and as they were
        small = store.has("val_images_256")
        file, above = "info/val_filelist.txt", "val_images_256/"
        if not small:
            above = "val_images/"
    keys, labels = [], []
    for name, number in pairs(archive, store, file):
        wnid = class_of(archive, number, classes, f"'{name}' in '{file}'")
        # the list is of all 1,000 classes
        if int(number) < CLASSES:
            keys.append(f"{above}{name}")
            labels.append(wnid)
    names = first_synonyms({wnid: words[wnid] for wnid in classes[:CLASSES]})
    return listing(archive, store, keys, {"label": labels}, WHOLE[split], names)


def open(directory: Path, split: str = "train") -> DataSpec:
    """The archive as data. Raises DataError when the folder does not hold it."""
    return spec(Archive("webvision", directory, WHERE), split, read(directory, split))
