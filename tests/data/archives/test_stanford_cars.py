from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from labelsieve.data.archives import stanford_cars
from labelsieve.data.images import decode, read_bytes
from labelsieve.errors import DataError

HUMMER, ACURA, RAM = (
    "AM General Hummer SUV 2000",
    "Acura RL Sedan 2012",
    "Ram C/V Cargo Van Minivan 2012",
)


def test_classes_count_from_one_and_are_named_by_the_devkit(
    build: Any, rows: Any
) -> None:
    found = rows(stanford_cars.open(build.cars()))
    assert [(r.key, r.label) for r in found] == [
        ("cars_train/00001.jpg", HUMMER),
        ("cars_train/00002.jpg", RAM),
        ("cars_train/00003.jpg", RAM),
        ("cars_train/00004.jpg", ACURA),
    ]
    assert all(decode(read_bytes(r.image)).size == (48, 48) for r in found)


def test_the_test_part_has_its_own_file_of_labels(build: Any, rows: Any) -> None:
    found = rows(stanford_cars.open(build.cars(), "test"))
    assert [(r.key, r.label) for r in found] == [
        ("cars_test/00001.jpg", ACURA),
        ("cars_test/00002.jpg", HUMMER),
    ]
    (build.folder / "cars_test_annos_withlabels.mat").rename(
        build.folder / "devkit" / "cars_test_annos_withlabels.mat"
    )
    assert rows(stanford_cars.open(build.folder, "test")) == found


def test_one_image_is_a_part_too(build: Any, rows: Any) -> None:
    assert [r.label for r in rows(stanford_cars.open(build.cars([2])))] == [ACURA]


@pytest.mark.parametrize("label", [0, 4])
def test_a_class_that_is_none_is_refused(build: Any, label: int) -> None:
    with pytest.raises(
        DataError,
        match=rf"image 2 of '.*' has the label '{label}'; there are 3 classes",
    ):
        stanford_cars.open(build.cars([1, label]))


@pytest.mark.parametrize(
    "lost",
    ["devkit/cars_train_annos.mat", "devkit/cars_meta.mat", "cars_train/00001.jpg"],
)
def test_what_is_missing_is_named(build: Any, lost: str) -> None:
    (build.cars() / lost).unlink()
    with pytest.raises(DataError, match=rf"'{lost}'.*pytorch/vision/issues/7545"):
        stanford_cars.open(build.folder)


def test_packed_files_are_to_be_unpacked(build: Any) -> None:
    build.write("car_devkit.tgz", b"")
    with pytest.raises(
        DataError,
        match=r"'car_devkit.tgz' is still packed; unpack it there \(tar -xf 'car_devkit.tgz'\)",
    ):
        stanford_cars.open(build.folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MATLAB 5.0 MAT-file, cut off",
        bytes(200),
        b"\x89HDF\r\n\x1a\n" + bytes(600),
    ],
)
def test_files_that_are_not_of_matlab_are_refused(build: Any, content: bytes) -> None:
    build.cars()
    build.write("devkit/cars_train_annos.mat", content)
    with pytest.raises(
        DataError,
        match=r"'devkit/cars_train_annos.mat' (cannot be read as a MATLAB file|has no variable)",
    ):
        stanford_cars.open(build.folder)


def test_other_contents_are_refused(build: Any) -> None:
    path = build.cars() / "devkit" / "cars_train_annos.mat"
    savemat(path, {"other": np.zeros(3)})
    with pytest.raises(DataError, match="has no variable 'annotations'"):
        stanford_cars.open(build.folder)
    savemat(path, {"annotations": np.zeros((1, 3))})
    with pytest.raises(DataError, match="gives no class and file name"):
        stanford_cars.open(build.folder)


def test_a_file_outside_the_archive_is_refused(build: Any) -> None:
    path = build.cars() / "devkit" / "cars_train_annos.mat"
    row = np.zeros((1, 1), dtype=[("class", object), ("fname", object)])
    row[0, 0] = (1, "../../secret.jpg")
    savemat(path, {"annotations": row})
    with pytest.raises(
        DataError,
        match=r"'cars_train/\.\./\.\./secret\.jpg', which leads out of the archive",
    ):
        stanford_cars.open(build.folder)
