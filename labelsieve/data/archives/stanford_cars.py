"""Stanford Cars: 8,144 training and 8,041 test photos of 196 cars by make, model and year."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from labelsieve.data.archives._layout import (
    Archive,
    Folder,
    class_of,
    find,
    listing,
    spec,
)
from labelsieve.data.sources.archive import Listing
from labelsieve.data.spec import DataSpec

WHERE = (
    "Stanford no longer serves the archive "
    "(https://github.com/pytorch/vision/issues/7545 tells of copies); the folder must "
    "hold "
    "cars_train/, cars_test/, devkit/cars_meta.mat, devkit/cars_train_annos.mat and "
    "cars_test_annos_withlabels.mat."
)
CITE = (
    "J. Krause, M. Stark, J. Deng, L. Fei-Fei, 3D Object Representations for "
    "Fine-Grained Categorization, 3dRR 2013"
)
SPLITS = ("train", "test")
WHOLE = {"train": 8_144, "test": 8_041}
ANNOTATIONS = {
    "train": ("cars_train", ("devkit/cars_train_annos.mat",)),
    # labels of the test part came after the devkit: copies have them beside it or in it
    "test": (
        "cars_test",
        ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"),
    ),
}
PACKED = ("car_devkit.tgz", "cars_train.tgz", "cars_test.tgz")


def read(directory: Path, split: str = "train") -> Listing:
    """Label set `label`: the class name as the devkit has it, such as "Audi TT RS Coupe 2012".

    Raises:
        DataError: the folder does not hold the archive.
    """
    archive = Archive("stanford-cars", directory, WHERE)
    archive.check(split, SPLITS)
    store = find(archive, "stanford_cars", "devkit/cars_meta.mat", PACKED)
    names_of_classes = _array(archive, store, "devkit/cars_meta.mat", "class_names")
    classes = [str(name).strip() for name in names_of_classes]
    folder, files = ANNOTATIONS[split]
    file = next((name for name in files if store.has(name)), files[0])
    keys, labels = [], []
    for number, row in enumerate(_array(archive, store, file, "annotations"), 1):
        if row.dtype.names is None or not {"class", "fname"} <= set(row.dtype.names):
            raise archive.error(f"'{file}' gives no class and file name of each image.")
        keys.append(f"{folder}/{row['fname']}")
        where = f"image {number} of '{file}'"
        labels.append(class_of(archive, str(row["class"]), classes, where, first=1))
    names = dict(zip(classes, classes, strict=True))
    return listing(archive, store, keys, {"label": labels}, WHOLE[split], names)


def open(directory: Path, split: str = "train") -> DataSpec:
    """The archive as data. Raises DataError when the folder does not hold it."""
    return spec(
        Archive("stanford-cars", directory, WHERE), split, read(directory, split)
    )


def _array(archive: Archive, store: Folder, file: str, variable: str) -> Any:
    """A variable of a MATLAB file: plain data, which cannot run code."""
    if not store.has(file):
        raise archive.error(f"'{file}' is missing.")
    try:
        path = store.root / file
        content = loadmat(path, squeeze_me=True, variable_names=[variable])
        # a single entry comes without its dimension
        return np.atleast_1d(content[variable])
    except KeyError as error:
        raise archive.error(f"'{file}' has no variable '{variable}'.") from error
    # a damaged file fails in many ways
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise archive.error(
            f"'{file}' cannot be read as a MATLAB file: {reason}."
        ) from error
