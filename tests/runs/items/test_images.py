"""Pictures as people see them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fixtures.annotated import SIDE, SIZE, coco, paint, write_json, yolo
from PIL import Image

from labelsieve.data.images import content_hash
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import ImageError
from labelsieve.runs.items import images, kind_of, view_of
from labelsieve.runs.items.images import SIZES, embed, facts, in_units, show
from labelsieve.runs.pictures import Images


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


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_a_box_is_shown_in_its_picture(layout: str, tmp_path: Path) -> None:
    """The whole picture with a red frame around each square."""
    data = yolo(tmp_path) if layout == "yolo" else tmp_path / "boxes.json"
    if layout == "coco":
        write_json(data, coco(tmp_path))
    spec = DataSpec(str(data), items="boxes")
    rows = list(open_source(spec).rows())
    hashes = [content_hash(row.image.read_bytes()) for row in rows]
    ids = [f"{n}#{each[:12]}" for n, each in enumerate(hashes)]
    columns = {"sample_id": ids, "uri": [r.uri for r in rows], "content_hash": hashes}
    pictures = Images(spec, pa.table(columns))
    assert len(ids) > 5
    for sample_id, row in zip(ids, rows, strict=True):
        shown = show(pictures, sample_id, "around")
        assert shown is not None and sides(shown) == SIZE
        found = facts(pictures, sample_id)
        assert found is not None and (found.boxed, found.width) == (True, SIDE)
        with Image.open(io.BytesIO(shown)) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        left, top, right, _ = row.image.box.pixels(SIZE)
        # the frame takes the pixels right above the square, where there are any
        if top > 0:
            assert (pixels[top - 1, left:right] == images.RED).all()
    # another picture under the same name is not what was judged
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(paint([]))
    assert {show(pictures, each, "around") for each in ids} == {None}


def test_what_is_no_box_is_in_no_larger_picture() -> None:
    assert show(One(), "red", "around") is None
    found = facts(One(), "red")
    assert found is not None and not found.boxed


def test_the_largest_picture_is_one_that_webp_holds() -> None:
    assert max(SIZES.values()) == 2**14 - 1
