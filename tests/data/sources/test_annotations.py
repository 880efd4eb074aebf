"""What COCO, YOLO, CVAT and Label Studio have in common: boxes as crops, whole pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import annotated
from fixtures.annotated import SIDE, SIZE, SQUARES
from PIL import Image

import labelsieve
from labelsieve.data.labels import SET, SINGLE
from labelsieve.data.sources import Row, open_source
from labelsieve.data.sources._annotations import Box, list_of, shown
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError, OptionError

MAKERS: dict[str, Callable[[Path], Path]] = {
    "coco": lambda folder: annotated.write_json(
        folder / "instances.json", annotated.coco(folder)
    ),
    "yolo": annotated.yolo,
    "cvat": annotated.cvat,
    "label-studio": annotated.label_studio,
}
EXPECTED = [colour for squares in SQUARES.values() for colour, *_ in squares]


@pytest.fixture(params=list(MAKERS))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    return MAKERS[request.param](tmp_path / "set")


def rows(path: Path, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(str(path), **options)).rows())


def test_a_crop_shows_what_its_label_says(made: Path) -> None:
    source: Any = open_source(DataSpec(str(made)))
    found = list(source.rows())
    assert source.labels_are == SINGLE
    assert sorted(r.label for r in found) == sorted(EXPECTED)
    assert len({r.key for r in found}) == len({r.uri for r in found}) == len(EXPECTED)
    for row in found:
        assert annotated.colour_of(row.image.read_bytes()) == row.label
        # again by its uri, as the report reads it
        assert source.read(row.uri) == row.image.read_bytes()
    assert source.notes[0].startswith(
        "boxes are judged as crops: wrong classes are found"
    )
    assert source.notes[1] == "1 picture has no box"
    assert set(source.classes) == {"red", "green", "blue"}


def test_whole_pictures_have_the_set_of_their_classes(made: Path) -> None:
    source: Any = open_source(DataSpec(str(made), items="images"))
    assert source.labels_are == SET
    found = {r.path.rpartition("images/")[2]: r.label for r in source.rows()}
    found = {name.removeprefix("train/"): label for name, label in found.items()}
    assert found == {
        "1.png": '["blue", "red"]',
        "sub/2.png": '["green"]',
        "3.png": "[]",
        "4.png": '["blue", "red"]',
    }
    for row in source.rows():
        assert Path(source.read(row.uri)).read_bytes() == Path(row.image).read_bytes()


def test_other_words_for_items_are_refused(made: Path) -> None:
    with pytest.raises(OptionError, match=r"^--items 'crops' is neither boxes nor im"):
        rows(made, items="crops")


def test_a_label_changes_no_id(made: Path) -> None:
    before = {r.key for r in rows(made)}
    file = made if made.is_file() else made / "data.yaml"
    text = file.read_text()
    file.write_text(text.replace("red", "crimson").replace("blue", "navy"))
    after = rows(made)
    assert {r.key for r in after} == before
    assert {r.label for r in after} == {"crimson", "navy", "green"}


def test_columns_are_refused(made: Path) -> None:
    with pytest.raises(DataError, match=r"^--id-column does not apply to"):
        rows(made, id_column="x")


def test_a_scan_of_boxes_judges_crops(made: Path, tmp_path: Path) -> None:
    run = labelsieve.scan(
        labelsieve.load(str(made)),
        output=tmp_path / "run",
        method="zero-shot",
        model="tiny",
    )
    scores = run.scores.to_pylist()
    assert sorted(row["given_label"] for row in scores) == sorted(EXPECTED)
    # the same square twice is one content with two places
    assert all(row["status"] == "ok" and row["p_clean"] is not None for row in scores)
    again = labelsieve.scan(
        labelsieve.load(str(made)),
        output=tmp_path / "run",
        method="zero-shot",
        model="tiny",
    )
    assert again.folder == run.folder


# --- boxes


@pytest.mark.parametrize(
    ("box", "edges"),
    [
        (Box(0, 0, 8, 8), (0, 0, 8, 8)),
        (Box(7.6, 7.6, 0.2, 0.2), (7, 7, 8, 8)),
        (Box(-5, -5, 100, 100), (0, 0, *SIZE)),
        (Box(0.25, 1 / 3, 0.25, 1 / 3, True), (SIDE, SIDE, 2 * SIDE, 2 * SIDE)),
    ],
)
def test_edges_of_a_box(box: Box, edges: tuple[int, ...]) -> None:
    assert box.pixels(SIZE) == edges


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (Box(0, 0, 0, 5), "the box has no area"),
        (Box(0, 0, -3, 5), "the box has no area"),
        (Box(float("nan"), 0, 3, 5), "the box has no area"),
        (Box(0, 0, float("inf"), 5), "the box has no area"),
        (Box(400, 0, 3, 5), "the box lies outside of the picture"),
    ],
)
def test_a_box_that_is_none_is_a_corrupt_row(box: Box, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        box.pixels(SIZE)


def test_a_large_picture_is_cut_like_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is kept for its next box or not."""
    content = annotated.coco(tmp_path)
    path = annotated.write_json(tmp_path / "a.json", content)
    kept = [r.image.read_bytes() for r in rows(path)]
    monkeypatch.setattr("labelsieve.data.sources._annotations.KEPT", 0)
    assert [r.image.read_bytes() for r in rows(path)] == kept


def test_a_crop_is_what_pillow_cuts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "1.png")
    content = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 5, 20, 30]}
        ],
    }
    (row,) = rows(annotated.write_json(tmp_path / "c.json", content))
    crop = np.asarray(Image.open(io.BytesIO(row.image.read_bytes())))
    assert np.array_equal(crop, pixels[5:35, 10:30])


def test_what_a_file_says_is_shown_at_any_length_and_of_any_kind() -> None:
    assert shown("é" * 999).startswith("'\\xe9") and len(shown("é" * 999)) == 80
    assert shown(7) == "7" and shown([None]) == "[None]"
    # Python writes out no more than 4,300 digits
    assert shown(10**5000) == "a number of thousands of digits"


def test_lists_of_entries() -> None:
    assert list_of({"a": [1]}, "a") == [1]
    assert list_of({"a": None}, "a") == list_of({}, "a") == []
    for other in (5, True, "abc", {"b": []}):
        with pytest.raises(ValueError, match="'a' is no list"):
            list_of({"a": other}, "a")
