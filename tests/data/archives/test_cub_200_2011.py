from __future__ import annotations

from typing import Any

import pytest

from labelsieve.data.archives.cub_200_2011 import open
from labelsieve.data.images import decode, read_bytes
from labelsieve.errors import DataError


def test_lists_are_joined_by_number_and_the_part_is_chosen(
    build: Any, rows: Any
) -> None:
    spec = open(build.cub())
    found = rows(spec)
    assert [(r.key, r.label) for r in found] == [
        (
            "images/001.Black_footed_Albatross/Black_footed_Albatross_0001.jpg",
            "001.Black_footed_Albatross",
        ),
        (
            "images/002.Laysan_Albatross/Laysan_Albatross_0002.jpg",
            "002.Laysan_Albatross",
        ),
        (
            "images/023.Brandt_Cormorant/Brandt_Cormorant_0004.jpg",
            "023.Brandt_Cormorant",
        ),
        (
            "images/023.Brandt_Cormorant/Brandt_Cormorant_0005.jpg",
            "023.Brandt_Cormorant",
        ),
    ]
    assert dict(spec.class_names) == {
        "001.Black_footed_Albatross": "Black footed Albatross",
        "002.Laysan_Albatross": "Laysan Albatross",
        "023.Brandt_Cormorant": "Brandt Cormorant",
    }
    assert all(decode(read_bytes(r.image)).size == (56, 56) for r in found)


def test_lists_may_be_in_any_order(build: Any, rows: Any) -> None:
    before = rows(open(build.cub()))
    for name in ("image_class_labels", "train_test_split"):
        path = build.folder / "CUB_200_2011" / f"{name}.txt"
        path.write_text("\n".join(reversed(path.read_text().splitlines())))
    assert rows(open(build.folder)) == before


def test_the_test_part_is_the_rest_and_classes_that_do_not_occur_have_no_name(
    build: Any, rows: Any
) -> None:
    spec = open(build.cub(), "test")
    assert [r.label for r in rows(spec)] == [
        "001.Black_footed_Albatross",
        "002.Laysan_Albatross",
    ]
    assert set(spec.class_names) == {
        "001.Black_footed_Albatross",
        "002.Laysan_Albatross",
    }


def test_lists_of_other_images_are_refused(build: Any) -> None:
    build.cub()
    build.write("CUB_200_2011/train_test_split.txt", "1 1\n2 0\n")
    with pytest.raises(
        DataError, match=r"'train_test_split.txt' has 2 images, 'images.txt' has 6"
    ):
        open(build.folder)


def test_a_line_without_a_value_is_named(build: Any) -> None:
    build.cub()
    build.write("CUB_200_2011/image_class_labels.txt", "1 1\n2\n")
    with pytest.raises(
        DataError, match=r"line 2 of 'image_class_labels.txt' is not a pair: '2'"
    ):
        open(build.folder)


def test_a_class_that_is_none_is_refused(build: Any) -> None:
    build.cub()
    build.write(
        "CUB_200_2011/image_class_labels.txt",
        "".join(f"{i} {4 if i == 3 else 1}\n" for i in range(1, 7)),
    )
    with pytest.raises(
        DataError, match=r"image 3 has the label '4'; there are 3 classes"
    ):
        open(build.folder)


def test_no_text_and_a_packed_archive_are_told(build: Any) -> None:
    build.write("CUB_200_2011.tgz", b"")
    with pytest.raises(DataError, match=r"'CUB_200_2011.tgz' is still packed"):
        open(build.folder)
    build.cub()
    build.write("CUB_200_2011/classes.txt", b"\xff\xfe\x00 1")
    with pytest.raises(DataError, match=r"'classes.txt' cannot be read"):
        open(build.folder)


def test_an_image_listed_twice_is_refused(build: Any) -> None:
    build.cub()
    path = build.folder / "CUB_200_2011" / "images.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], f"3 {lines[1].split()[1]}", *lines[3:]]))
    with pytest.raises(DataError, match=r"Albatross_0001.jpg' is listed twice"):
        open(build.folder)
