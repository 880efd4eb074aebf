"""CIFAR's binary release: records of one or two label bytes and 3 x 32 x 32 colour bytes (Krizhevsky, 2009)."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.serialization import safe_globals

from labelsieve.data.archives._layout import Archive, class_of, size_note
from labelsieve.data.sources.archive import Listing
from labelsieve.errors import DataError

SIDE = 32
PIXELS = 3 * SIDE * SIDE
LARGEST = 60_000  # records: all there are


@dataclass(frozen=True)
class Release:
    """One of the two data sets. `label_bytes`: how many labels a record has; the last one is the class."""

    classes: int
    folder: str
    names: str  # file of the class names, in order
    label_bytes: int
    files: dict[str, tuple[str, ...]]  # part -> its files, in order
    whole: dict[str, int]  # part -> images
    python: tuple[str, ...]  # what gives the Python release away


CIFAR10 = Release(
    10,
    "cifar-10-batches-bin",
    "batches.meta.txt",
    1,
    {
        "train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
        "test": ("test_batch.bin",),
    },
    {"train": 50_000, "test": 10_000},
    ("cifar-10-python.tar.gz", "cifar-10-batches-py", "batches.meta", "data_batch_1"),
)
CIFAR100 = Release(
    100,
    "cifar-100-binary",
    "fine_label_names.txt",
    2,
    {"train": ("train.bin",), "test": ("test.bin",)},
    {"train": 50_000, "test": 10_000},
    ("cifar-100-python.tar.gz", "cifar-100-python", "train"),
)
PACKED = {
    "cifar-10-batches-bin": "cifar-10-binary.tar.gz",
    "cifar-100-binary": "cifar-100-binary.tar.gz",
}


@dataclass(frozen=True, eq=False)
class Records:
    """One part: class numbers [n], pictures uint8 [n, 3, 32, 32], and the names of the classes."""

    labels: np.ndarray
    pixels: np.ndarray
    classes: list[str]

    def listing(
        self, split: str, labels: dict[str, Sequence[str | None]], whole: int
    ) -> Listing:
        """With the given label sets; images are known by part and number: "train/00017"."""
        keys = [f"{split}/{number:05d}" for number in range(len(self.labels))]
        notes = size_note(len(keys), whole)
        return Listing(keys, labels, self.picture, {}, notes, self.classes)

    def picture(self, key: str) -> Image.Image:
        """The picture of "train/00017"."""
        return Image.fromarray(
            np.ascontiguousarray(
                self.pixels[int(key.rpartition("/")[2])].transpose(1, 2, 0)
            )
        )

    def own_labels(self) -> list[str]:
        """[n] labels of the release itself."""
        return [self.classes[k] for k in self.labels]


def read(archive: Archive, release: Release, split: str) -> Records:
    """One part, from the unpacked folder or from the packed file.

    Raises:
        DataError: something is missing, of the wrong size, or of the Python release, which is pickled.
    """
    content = _unpacked(archive, release, split) or _packed(archive, release, split)
    if content is None:
        raise _absent(archive, release)
    classes = _class_names(archive, release, content[release.names])
    parts = [
        _records(archive, release, name, content[name]) for name in release.files[split]
    ]
    labels = np.concatenate([labels for labels, _ in parts])
    worst = int(labels.argmax())
    class_of(archive, int(labels[worst]), classes, f"record {worst}")
    pixels = (
        parts[0][1]
        if len(parts) == 1
        else np.concatenate([pixels for _, pixels in parts])
    )
    return Records(labels, pixels, classes)


def _unpacked(archive: Archive, release: Release, split: str) -> dict[str, Any] | None:
    """File name -> bytes or uint8 [size]; None when there is no such folder. Records are mapped, not loaded."""
    wanted = release.files[split]
    for root in (archive.directory / release.folder, archive.directory):
        if any((root / name).is_file() for name in (*wanted, release.names)):
            for name in (release.names, *wanted):
                if not (root / name).is_file():
                    raise archive.error(f"'{name}' is missing.")
            try:
                records = {
                    name: np.memmap(root / name, np.uint8, "r") for name in wanted
                }
                return {release.names: (root / release.names).read_bytes(), **records}
            except (
                OSError,
                ValueError,
            ) as error:  # ValueError: an empty file cannot be mapped
                raise archive.error(f"a file cannot be read: {error}.") from error
    return None


def _packed(archive: Archive, release: Release, split: str) -> dict[str, Any] | None:
    """The same from the .tar.gz; nothing is unpacked to disk, and no file beyond its largest size."""
    path = archive.directory / PACKED[release.folder]
    if not path.is_file():
        return None
    found = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                name = member.name.removeprefix("./").removeprefix(f"{release.folder}/")
                if name in (release.names, *release.files[split]) and member.isfile():
                    if member.size > LARGEST * (release.label_bytes + PIXELS):
                        raise archive.error(
                            f"'{name}' in '{path.name}' is too large ({member.size:,} bytes)."
                        )
                    file = tar.extractfile(member)
                    found[name] = b"" if file is None else file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise archive.error(f"'{path.name}' cannot be unpacked: {error}.") from error
    for name in (release.names, *release.files[split]):
        if name not in found:
            raise archive.error(f"'{path.name}' holds no '{name}'.")
    return found


def _absent(archive: Archive, release: Release) -> DataError:
    for name in release.python:
        path = archive.directory / name
        if path.is_file() or (
            path.is_dir() and name.startswith("cifar")
        ):  # other archives have a folder `train`
            return archive.error(
                f"'{name}' is of the Python release, whose files are pickles: reading them would run code that they hold. "
                "The binary release is needed."
            )
    return archive.error(
        f"there is neither '{release.folder}' nor '{PACKED[release.folder]}'."
    )


def _class_names(archive: Archive, release: Release, text: bytes) -> list[str]:
    names = [
        line.strip()
        for line in text.decode("utf-8", "replace").splitlines()
        if line.strip()
    ]
    if len(set(names)) != release.classes:
        raise archive.error(
            f"'{release.names}' has {len(set(names))} class names; there must be {release.classes}."
        )
    return names


def _records(
    archive: Archive, release: Release, name: str, content: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers [n] and pixels [n, 3, 32, 32] of one file."""
    values = (
        content if isinstance(content, np.ndarray) else np.frombuffer(content, np.uint8)
    )
    size = release.label_bytes + PIXELS
    if not len(values) or len(values) % size:
        raise archive.error(
            f"'{name}' has {len(values):,} bytes, no multiple of {size:,} (one record). Was the download cut off?"
        )
    table = values.reshape(-1, size)
    return np.array(table[:, release.label_bytes - 1]), table[
        :, release.label_bytes :
    ].reshape(-1, 3, SIDE, SIDE)


def relabelled(
    archive: Archive, release: Release, split: str, file: str, sets: Sequence[str]
) -> Listing:
    """The pictures with the label sets of CIFAR-N's file, and `clean_label`; `clean_label` alone for the test part.

    Raises:
        DataError: the folder does not hold pictures and labels, or not in the same order.
    """
    archive.check(split, ("train", "test"))
    records = read(archive, release, split)
    human = (
        human_labels(archive, file, records.labels, sets) if split == "train" else {}
    )
    named: dict[str, Sequence[str | None]] = {
        name: [
            class_of(archive, int(k), records.classes, f"'{name}' in '{file}'")
            for k in human[name]
        ]
        for name in sets
        if name in human
    }
    return records.listing(
        split, {**named, "clean_label": records.own_labels()}, release.whole[split]
    )


def human_labels(
    archive: Archive, file: str, clean: np.ndarray, sets: Sequence[str]
) -> dict[str, np.ndarray]:
    """Label sets [n] of CIFAR-N's .pt file (Wei et al., ICLR 2022).

    The file is a pickle of arrays. torch reads it with an unpickler that knows numbers, lists and arrays and nothing else,
    so it cannot run code.

    Args:
        clean: [n] the release's own labels, which the file repeats: they show that its order is the same.

    Raises:
        DataError: it is missing, damaged, holds anything else, or is in another order.
    """
    found = next(
        (
            p
            for p in (archive.directory / file, archive.directory / "data" / file)
            if p.is_file()
        ),
        None,
    )
    if found is None:
        raise archive.error(f"'{file}' is missing.")
    table = _load(archive, found)
    labels = {}
    for name in ("clean_label", *sets):
        values = (
            np.asarray(table[name])
            if isinstance(table, dict) and name in table
            else None
        )
        if (
            values is None
            or values.shape != clean.shape
            or values.dtype.kind not in "iu"
        ):
            have = (
                "is missing"
                if values is None
                else f"is {values.dtype} of shape {values.shape}"
            )
            raise archive.error(
                f"'{name}' in '{found.name}' {have}; {len(clean):,} class numbers are needed."
            )
        labels[name] = values
    wrong = int((labels["clean_label"] != clean).sum())
    if wrong:
        raise archive.error(
            f"'clean_label' in '{found.name}' differs from the pictures' own labels {wrong:,} times: it is in another order."
        )
    return labels


def _load(archive: Archive, path: Path) -> Any:
    import torch

    rebuild: Any = np.zeros(0).__reduce__()[
        0
    ]  # what rebuilds arrays, under the names that old and new numpy give it
    known: list[Any] = [
        (rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")
    ]
    known += [
        np.ndarray,
        np.dtype,
        *(
            type(np.dtype(kind))
            for kind in ("int64", "int32", "int16", "int8", "uint8")
        ),
    ]
    try:
        with safe_globals(known):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign file fails in many ways
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        raise archive.error(
            f"'{path.name}' is no file of labels ({reason})."
        ) from error
