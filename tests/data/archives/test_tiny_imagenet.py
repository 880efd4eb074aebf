from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from labelsieve.data.archives import tiny_imagenet
from labelsieve.data.images import decode, read_bytes
from labelsieve.errors import DataError

NAMES = {
    "n01440764": "tench",
    "n01443537": "goldfish",
    "n02012849": "crane, bird",
}  # two cranes; one has no synonym


@pytest.mark.parametrize("packed", [False, True])
def test_training_images_have_the_class_of_their_folder(
    build: Any, rows: Any, packed: bool
) -> None:
    spec = tiny_imagenet.open(build.tiny(packed))
    found = rows(spec)
    assert [r.key for r in found[:4]] == [
        "train/n01440764/images/n01440764_0.JPEG",
        "train/n01440764/images/n01440764_1.JPEG",
        "train/n01440764/images/n01440764_2.JPEG",
        "train/n01443537/images/n01443537_0.JPEG",
    ]
    assert len(found) == 8 and all(r.label == r.key.split("/")[1] for r in found)
    assert dict(spec.class_names) == {**NAMES, "n03126707": "crane"}
    assert {decode(read_bytes(r.image)).size for r in found} == {(64, 64)}


def test_packed_and_unpacked_give_the_same_rows(
    build: Any, rows: Any, tmp_path: Path
) -> None:
    unpacked = rows(tiny_imagenet.open(build.tiny()))
    build.folder = tmp_path / "packed"
    packed = rows(tiny_imagenet.open(build.tiny(packed=True)))
    assert [(r.key, r.label, read_bytes(r.image)) for r in packed] == [
        (r.key, r.label, read_bytes(r.image)) for r in unpacked
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_the_validation_part_has_the_classes_of_its_list(
    build: Any, rows: Any, packed: bool
) -> None:
    found = rows(tiny_imagenet.open(build.tiny(packed), "test"))
    assert [(r.key, r.label) for r in found] == [
        ("val/images/val_0.JPEG", "n02012849"),
        ("val/images/val_1.JPEG", "n03126707"),
        ("val/images/val_2.JPEG", "n01443537"),
        ("val/images/val_3.JPEG", "n01440764"),
    ]


@pytest.mark.parametrize(
    "lost", ["words.txt", "train/n03126707", "val/val_annotations.txt"]
)
def test_what_is_missing_is_named(build: Any, lost: str) -> None:
    path = build.tiny() / "tiny-imagenet-200" / lost
    path.rename(build.folder / "away")
    with pytest.raises(DataError, match=rf"'{lost}.*tiny-imagenet-200\.zip from http"):
        tiny_imagenet.open(build.folder, "test" if "val" in lost else "train")


def test_an_empty_folder_and_a_broken_zip_are_refused(build: Any) -> None:
    build.folder.mkdir()
    with pytest.raises(DataError, match=r"neither 'wnids.txt' nor"):
        tiny_imagenet.open(build.folder)
    build.write("tiny-imagenet-200.zip", b"PK not a zip")
    with pytest.raises(DataError, match=r"'tiny-imagenet-200.zip' cannot be unpacked"):
        tiny_imagenet.open(build.folder)


def test_one_broken_picture_of_the_zip_is_one_unusable_row(
    build: Any, rows: Any
) -> None:
    path = build.tiny(packed=True) / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(path) as file:
        member = file.getinfo(
            "tiny-imagenet-200/train/n01440764/images/n01440764_1.JPEG"
        )
    content = bytearray(path.read_bytes())
    content[member.header_offset + 120] ^= (
        255  # inside its data: the checksum no longer fits
    )
    path.write_bytes(content)
    found = rows(tiny_imagenet.open(build.folder))
    assert [isinstance(r.image, zipfile.BadZipFile) for r in found[:3]] == [
        False,
        True,
        False,
    ]


def test_a_class_without_words_and_a_class_that_is_none_are_refused(build: Any) -> None:
    build.tiny()
    build.write(
        "tiny-imagenet-200/val/val_annotations.txt",
        "val_0.JPEG\tn99999999\t0\t0\t1\t1\n",
    )
    with pytest.raises(DataError, match=r"'val_0.JPEG'.* has the class 'n99999999'"):
        tiny_imagenet.open(build.folder, "test")
    build.write("tiny-imagenet-200/words.txt", "n01440764\ttench\n")
    with pytest.raises(DataError, match=r"'words.txt' has no line for n01443537"):
        tiny_imagenet.open(build.folder)
