from __future__ import annotations

from typing import Any

import pytest

from labelsieve.data.archives import clothing1m
from labelsieve.errors import DataError


@pytest.mark.parametrize("lists", ["", "annotations/"])
def test_noisy_labels_are_given_and_true_ones_known_for_some(
    build: Any, rows: Any, lists: str
) -> None:
    spec = clothing1m.open(build.clothing(lists))
    assert (spec.label_column, spec.truth_column) == ("noisy_label", "clean_label")
    assert [(r.key, r.label, r.truth) for r in rows(spec)] == [
        ("images/3/03/1003,2003.jpg", "Underwear", None),
        ("images/0/00/1000,2000.jpg", "T-Shirt", None),
        ("images/1/01/1001,2001.jpg", "Sweater", "Knitwear"),
        ("images/2/02/1002,2002.jpg", "Dress", None),
    ]


def test_images_with_both_labels_are_a_part_of_their_own(build: Any, rows: Any) -> None:
    found = rows(clothing1m.open(build.clothing(), "both"))
    assert [(r.label, r.truth) for r in found] == [
        ("Sweater", "Knitwear"),
        ("Downcoat", "Downcoat"),
    ]


@pytest.mark.parametrize(
    ("split", "labels"),
    [
        ("test", ["Suit"]),
        ("clean-val", ["T-Shirt"]),
        ("clean-train", ["Knitwear", "Downcoat"]),
    ],
)
def test_clean_parts_give_the_clean_label(
    build: Any, rows: Any, split: str, labels: list[str]
) -> None:
    spec = clothing1m.open(build.clothing(), split)
    assert [r.label for r in rows(spec)] == labels and spec.truth_column is None


def test_without_any_true_label_none_are_named(build: Any) -> None:
    build.clothing()
    build.write("clean_label_kv.txt", "images/6/06/1006,2006.jpg 9\n")
    assert clothing1m.open(build.folder).truth_column is None


def test_a_listed_image_without_a_label_is_named(build: Any) -> None:
    build.clothing()
    build.write("noisy_label_kv.txt", "images/3/03/1003,2003.jpg 13\n")
    with pytest.raises(
        DataError,
        match=r"'images/0/00/1000,2000.jpg' of 'noisy_train_key_list.txt' has no line in 'noisy_",
    ):
        clothing1m.open(build.folder)


@pytest.mark.parametrize(
    "lost", ["category_names_eng.txt", "noisy_label_kv.txt", "clean_test_key_list.txt"]
)
def test_what_is_missing_is_named(build: Any, lost: str) -> None:
    (build.clothing() / lost).unlink()
    with pytest.raises(DataError, match=rf"'{lost}' is missing.*Cysu/noisy_label"):
        clothing1m.open(build.folder, "test")


def test_a_class_that_is_none_is_refused(build: Any) -> None:
    build.clothing()
    build.write("noisy_label_kv.txt", "images/3/03/1003,2003.jpg 14\n")
    with pytest.raises(DataError, match=r"has the label '14'; there are 14 classes"):
        clothing1m.open(build.folder)


def test_without_images_the_packed_ones_are_named(build: Any) -> None:
    build.write("0.tar", b"")
    with pytest.raises(DataError, match=r"'0.tar' is still packed"):
        clothing1m.open(build.folder)
