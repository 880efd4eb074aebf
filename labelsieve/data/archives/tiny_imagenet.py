"""Tiny-ImageNet: 100,000 training and 10,000 validation pictures of 64 x 64 pixels.

They show 200 classes of ImageNet.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from labelsieve.data.archives._layout import (
    Archive,
    Folder,
    Store,
    Zip,
    first_synonyms,
    lines,
    listing,
    pairs,
    spec,
)
from labelsieve.data.sources.archive import Listing
from labelsieve.data.spec import DataSpec

FOLDER = "tiny-imagenet-200"
WHERE = (
    "Get tiny-imagenet-200.zip from http://cs231n.stanford.edu/tiny-imagenet-200.zip "
    "into this folder; packed, or unpacked to "
    "wnids.txt, words.txt, train/ and val/."
)
CITE = (
    "Y. Le, X. Yang, Tiny ImageNet Visual Recognition Challenge, CS 231N, Stanford, "
    "2015"
)
# "test" is the official validation part: the test part has no labels.
SPLITS = ("train", "test")
WHOLE = {"train": 100_000, "test": 10_000}


def read(directory: Path, split: str = "train") -> Listing:
    """Label set `label`: WordNet ids; their names in prompts are the first synonyms of words.txt.

    Raises:
        DataError: the folder does not hold the archive.
    """
    archive = Archive("tiny-imagenet", directory, WHERE)
    archive.check(split, SPLITS)
    store = _store(archive)
    classes = lines(archive, store, "wnids.txt")
    words = dict(pairs(archive, store, "words.txt"))
    for wnid in classes:
        if wnid not in words:
            raise archive.error(
                f"'words.txt' has no line for {wnid}, a class of 'wnids.txt'."
            )
    read_part = _train if split == "train" else _val
    keys, labels = read_part(archive, store, classes)
    names = first_synonyms({c: words[c] for c in classes})
    return listing(archive, store, keys, {"label": labels}, WHOLE[split], names)


def open(directory: Path, split: str = "train") -> DataSpec:
    """The archive as data. Raises DataError when the folder does not hold it."""
    return spec(
        Archive("tiny-imagenet", directory, WHERE), split, read(directory, split)
    )


def _store(archive: Archive) -> Store:
    for root in (archive.directory, archive.directory / FOLDER):
        if (root / "wnids.txt").exists():
            return Folder(root)
    path = archive.directory / f"{FOLDER}.zip"
    if not path.is_file():
        raise archive.error(
            f"there is neither 'wnids.txt' nor '{FOLDER}' nor '{path.name}'."
        )
    try:
        return Zip(path, FOLDER)
    except (zipfile.BadZipFile, OSError) as error:
        raise archive.error(f"'{path.name}' cannot be unpacked: {error}.") from error


def _train(
    archive: Archive, store: Store, classes: list[str]
) -> tuple[list[str], list[str]]:
    keys, labels = [], []
    for wnid in classes:
        names = store.files(f"train/{wnid}/images")
        # other files, such as those that macOS adds, are no pictures
        files = [name for name in names if name.endswith(".JPEG")]
        if not files:
            raise archive.error(f"'train/{wnid}/images' holds no pictures.")
        keys += files
        labels += [wnid] * len(files)
    return keys, labels


def _val(
    archive: Archive, store: Store, classes: list[str]
) -> tuple[list[str], list[str]]:
    """val_annotations.txt: file, WordNet id and a box, with tabs between."""
    known = set(classes)
    keys, labels = [], []
    for file, rest in pairs(archive, store, "val/val_annotations.txt"):
        wnid = rest.partition("\t")[0]  # the box is of no use here
        if wnid not in known:
            raise archive.error(
                f"'{file}' in 'val_annotations.txt' has the class '{wnid}', which is "
                "not in 'wnids.txt'."
            )
        keys.append(f"val/images/{file}")
        labels.append(wnid)
    return keys, labels
