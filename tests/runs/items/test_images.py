"""Pictures as people see them."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from labelsieve.errors import ImageError
from labelsieve.runs.items import images, kind_of, view_of
from labelsieve.runs.items.images import SIZES, embed, in_units, show


class One:
    """Data with one wide picture."""

    def read(self, sample_id: str) -> Any:
        if sample_id == "gone":
            raise ImageError("not there")
        return Image.new("RGB", (1500, 750), sample_id)


def sides(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        return image.size


def test_pictures_are_what_a_source_has_that_names_no_other_kind() -> None:
    assert kind_of(One()) == "images" and view_of(One()) is images


def test_one_file_holds_pictures_as_text() -> None:
    data = embed(One(), "red", 96, 70)
    assert sides(base64.b64decode(data)) == (96, 48)
    assert embed(One(), "gone", 96, 70) == "" and show(One(), "gone", "small") is None


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 KB"),
        (41_234, "41 KB"),
        (999_600, "1.0 MB"),
        (8_250_000_000, "8.2 GB"),
        (8_250_000_000_000, "8250 GB"),
    ],
)
def test_sizes_are_said_as_people_say_them(size: int, words: str) -> None:
    assert in_units(size) == words


def test_the_largest_picture_is_one_that_webp_holds() -> None:
    assert max(SIZES.values()) == 2**14 - 1
