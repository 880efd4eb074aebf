from __future__ import annotations

from typing import Any

import pytest

from labelsieve.data.archives import webvision
from labelsieve.errors import DataError


def test_the_first_fifty_classes_of_the_google_part_are_taken(
    build: Any, rows: Any
) -> None:
    spec = webvision.open(build.webvision())
    found = rows(spec)
    assert [(r.key, r.label) for r in found] == [
        ("google/q0001/a.jpg", "n01440764"),
        ("google/q0001/b c.jpg", "n01443537"),
        ("google/q0055/d.jpg", "n10000049"),
    ]
    assert dict(spec.class_names) == {
        "n01440764": "tench",
        "n01443537": "goldfish",
        "n10000049": "thing 49",
    }
    assert spec.truth_column is None


@pytest.mark.parametrize("folder", ["val_images_256", "val_images"])
def test_the_validation_part_is_below_its_own_folder(
    build: Any, rows: Any, folder: str
) -> None:
    (build.webvision() / "val_images_256").rename(build.folder / folder)
    spec = webvision.open(build.folder, "test")
    assert [(r.key, r.label) for r in rows(spec)] == [
        (f"{folder}/val000001.jpg", "n02012849"),
        (f"{folder}/val000003.jpg", "n03126707"),
    ]
    assert dict(spec.class_names) == {"n02012849": "crane, bird", "n03126707": "crane"}


@pytest.mark.parametrize(
    "lost", ["info/synsets.txt", "info/train_filelist_google.txt", "google/q0001/a.jpg"]
)
def test_what_is_missing_is_named(build: Any, lost: str) -> None:
    (build.webvision() / lost).unlink()
    with pytest.raises(DataError, match=rf"'{lost}'.*data\.vision\.ee\.ethz\.ch"):
        webvision.open(build.folder)


@pytest.mark.parametrize(
    "line", ["google/q0001/a.jpg", "google/q0001/a.jpg x", "google/q0001/a.jpg 1000"]
)
def test_lines_that_fit_no_class_are_refused(build: Any, line: str) -> None:
    build.webvision()
    build.write("info/train_filelist_google.txt", line + "\n")
    with pytest.raises(DataError, match=r"is not a pair|has the label"):
        webvision.open(build.folder)


def test_a_list_that_leads_elsewhere_is_refused(build: Any) -> None:
    build.webvision()
    build.write("info/train_filelist_google.txt", "/etc/passwd 0\n")
    with pytest.raises(
        DataError, match="'/etc/passwd', which leads out of the archive"
    ):
        webvision.open(build.folder)


def test_a_list_without_these_classes_has_no_images(build: Any) -> None:
    build.webvision()
    build.write("info/train_filelist_google.txt", "google/q1600/f.jpg 999\n")
    with pytest.raises(DataError, match="it lists no images"):
        webvision.open(build.folder)
