"""CIFAR's binary release (Krizhevsky, 2009).

Records of one or two label bytes and 3 x 32 x 32 colour bytes.
"""

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
PIXELS = 3 * SIDE * SIDE  # bytes of a picture: red, then green, then blue
LARGEST = 60_000  # records: all there are


@dataclass(frozen=True)
class Release:
    """One of the two data sets.

    label_bytes: how many labels a record has; the last one is the class.
    """

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
    2,  # coarse, then fine
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
        # five digits, so that keys are sorted as their numbers are
        keys = [f"{split}/{number:05d}" for number in range(len(self.labels))]
        notes = size_note(len(keys), whole)
        return Listing(keys, labels, self.picture, {}, notes, self.classes)

    def picture(self, key: str) -> Image.Image:
        """The picture of "train/00017"."""
        # colour planes to pixels, and in order, as Pillow reads memory from end to end
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
        DataError: something is missing, of the wrong size, or of the Python release, which is
            pickled.
    """
    content = _unpacked(archive, release, split) or _packed(archive, release, split)
    if content is None:
        raise _absent(archive, release)
    classes = _class_names(archive, release, content[release.names])
    numbers, pixels = _joined(archive, release, split, content)
    # the largest number is wrong if any is
    worst = int(numbers.argmax())
    class_of(archive, int(numbers[worst]), classes, f"record {worst}")
    return Records(numbers, pixels, classes)


def _joined(
    archive: Archive, release: Release, split: str, content: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers [n] and pixels [n, 3, 32, 32] of all files of a part."""
    labels, pixels = [], []
    for name in release.files[split]:
        numbers, pictures = _records(archive, release, name, content[name])
        labels.append(numbers)
        pixels.append(pictures)
    # a single file stays mapped: joining would load it
    whole = pixels[0] if len(pixels) == 1 else np.concatenate(pixels)
    return np.concatenate(labels), whole


def _unpacked(archive: Archive, release: Release, split: str) -> dict[str, Any] | None:
    """File name -> bytes or uint8 [size]; None when there is no such folder.

    Records are mapped, not loaded.
    """
    # any of the files makes a folder the one, so that what it lacks is told
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
            # ValueError: an empty file cannot be mapped
            except (OSError, ValueError) as error:
                raise archive.error(f"a file cannot be read: {error}.") from error
    return None


def _packed(archive: Archive, release: Release, split: str) -> dict[str, Any] | None:
    """The same from the .tar.gz: nothing on the disk, and no file beyond its largest size."""
    path = archive.directory / PACKED[release.folder]
    if not path.is_file():
        return None
    content: dict[str, Any] = {}
    wanted = (release.names, *release.files[split])
    largest = LARGEST * (release.label_bytes + PIXELS)
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                # tar keeps a leading ./ or not, by how it was called
                name = member.name.removeprefix("./").removeprefix(f"{release.folder}/")
                if name not in wanted or not member.isfile():
                    continue
                # the size is the archive's own word, and what is read ends there
                if member.size > largest:
                    raise archive.error(
                        f"'{name}' in '{path.name}' is too large ({member.size:,} bytes)."
                    )
                file = tar.extractfile(member)
                content[name] = b"" if file is None else file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise archive.error(f"'{path.name}' cannot be unpacked: {error}.") from error
    for name in wanted:
        if name not in content:
            raise archive.error(f"'{path.name}' holds no '{name}'.")
    return content


def _absent(archive: Archive, release: Release) -> DataError:
    for name in release.python:
        path = archive.directory / name
        # other archives have a folder `train`
        is_folder = path.is_dir() and name.startswith("cifar")
        if path.is_file() or is_folder:
            return archive.error(
                f"'{name}' is of the Python release, whose files are pickles: reading them "
                "would run code that they hold. The binary release is needed."
            )
    return archive.error(
        f"there is neither '{release.folder}' nor '{PACKED[release.folder]}'."
    )


def _class_names(archive: Archive, release: Release, text: bytes) -> list[str]:
    lines = text.decode("utf-8", "replace").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if len(set(names)) != release.classes:
        raise archive.error(
            f"'{release.names}' has {len(set(names))} class names; there must be "
            f"{release.classes}."
        )
    return names


def _records(
    archive: Archive, release: Release, name: str, content: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers [n] and pixels [n, 3, 32, 32] of one file."""
    values = content
    if not isinstance(values, np.ndarray):
        values = np.frombuffer(values, np.uint8)
    size = release.label_bytes + PIXELS
    if not len(values) or len(values) % size:
        raise archive.error(
            f"'{name}' has {len(values):,} bytes, no multiple of {size:,} (one "
            "record). Was the download cut off?"
        )
    table = values.reshape(-1, size)
    # a copy: else each label would be read from a mapped page of its own
    labels = np.array(table[:, release.label_bytes - 1])
    return labels, table[:, release.label_bytes :].reshape(-1, 3, SIDE, SIDE)


def relabelled(
    archive: Archive, release: Release, split: str, file: str, sets: Sequence[str]
) -> Listing:
    """The pictures with the label sets of CIFAR-N's file, and `clean_label`.

    The test part has `clean_label` alone.

    Raises:
        DataError: the folder does not hold pictures and labels, or not in the same order.
    """
    archive.check(split, ("train", "test"))
    records = read(archive, release, split)
    named: dict[str, Sequence[str | None]] = {}
    if split == "train":
        human = human_labels(archive, file, records.labels, sets)
        for name in sets:
            where = f"'{name}' in '{file}'"
            classes = records.classes
            named[name] = [
                class_of(archive, int(k), classes, where) for k in human[name]
            ]
    named["clean_label"] = records.own_labels()
    return records.listing(split, named, release.whole[split])


def human_labels(
    archive: Archive, file: str, clean: np.ndarray, sets: Sequence[str]
) -> dict[str, np.ndarray]:
    """Label sets [n] of CIFAR-N's .pt file (Wei et al., ICLR 2022).

    The file is a pickle of arrays. torch reads it with an unpickler that knows numbers, lists
    and arrays and nothing else, so it cannot run code.

    Args:
        clean: [n] the release's own labels, which the file repeats: they show that its order
            is the same.

    Raises:
        DataError: it is missing, damaged, holds anything else, or is in another order.
    """
    path = archive.directory / file
    if not path.is_file():
        path = archive.directory / "data" / file  # as in the authors' repository
    if not path.is_file():
        raise archive.error(f"'{file}' is missing.")
    table = _load(archive, path)
    labels = {}
    for name in ("clean_label", *sets):
        fault = "is missing"
        if isinstance(table, dict) and name in table:
            values = labels[name] = np.asarray(table[name])
            fault = f"is {values.dtype} of shape {values.shape}"
            if values.shape == clean.shape and values.dtype.kind in "iu":
                continue
        raise archive.error(
            f"'{name}' in '{path.name}' {fault}; {len(clean):,} class numbers are needed."
        )
    wrong = int((labels["clean_label"] != clean).sum())
    if wrong:
        raise archive.error(
            f"'clean_label' in '{path.name}' differs from the pictures' own labels "
            f"{wrong:,} times: it is in another order."
        )
    return labels


def _load(archive: Archive, path: Path) -> Any:
    import torch

    try:
        with safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    # a damaged or foreign file fails in many ways
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        raise archive.error(
            f"'{path.name}' is not a file of labels ({reason})."
        ) from error


def _harmless() -> list[Any]:
    """What the unpickler may call: enough for arrays of whole numbers."""
    # what rebuilds arrays, under the names that old and new numpy give it
    rebuild: Any = np.zeros(0).__reduce__()[0]
    known: list[Any] = [np.ndarray, np.dtype]
    for core in ("core", "_core"):
        known.append((rebuild, f"numpy.{core}.multiarray._reconstruct"))
    # numpy has a class for the type of each kind of number
    for kind in ("int64", "int32", "int16", "int8", "uint8"):
        known.append(type(np.dtype(kind)))
    return known
