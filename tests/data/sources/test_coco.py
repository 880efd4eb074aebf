"""COCO files: where pictures are, ids that name nothing, image-level classes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated

from labelsieve.data.sources import Row, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def rows(path: Path, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(str(path), **options)).rows())


def test_ids_are_those_of_the_file(tmp_path: Path) -> None:
    content = annotated.coco(tmp_path)
    path = annotated.write_json(tmp_path / "a.json", content)
    assert [r.key for r in rows(path)] == [f"{n}" for n in range(100, 106)]
    content["annotations"].reverse()
    annotated.write_json(path, content)
    assert {r.key for r in rows(path)} == {f"{n}" for n in range(100, 106)}


def test_annotations_without_boxes_are_labels_of_pictures(tmp_path: Path) -> None:
    content = annotated.coco(tmp_path, boxes=False)
    content["annotations"] = content["annotations"][::2][:2]
    path = annotated.write_json(tmp_path / "a.json", content)
    found = rows(path)
    assert [(r.key, r.label) for r in found] == [
        ("1.png", "red"),
        ("sub/2.png", "green"),
        ("3.png", None),
        ("4.png", None),
    ]


@pytest.mark.parametrize("where", ["images", "data", ".", "../train2017", "../images"])
def test_pictures_are_found_in_usual_folders(tmp_path: Path, where: str) -> None:
    content = annotated.coco(tmp_path / "x")
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "instances_train2017.json"
    annotated.write_json(path, content)
    with pytest.raises(DataError, match=r"such as '1\.png', are not beside it\. Name"):
        rows(path)
    annotated.pictures(tmp_path / "annotations" / where)
    assert len(rows(path)) == 6


def test_pictures_in_a_zip_are_named_with_root(tmp_path: Path) -> None:
    content = annotated.coco(tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as packed:
        for name, squares in annotated.SQUARES.items():
            packed.writestr(name, annotated.paint(squares))
    path = annotated.write_json(tmp_path / "a.json", content)
    found = rows(path, root=str(tmp_path / "p.zip"))
    for row in found:
        assert annotated.colour_of(row.image.read_bytes()) == row.label


def change(content: dict[str, Any], where: str, key: str, value: Any) -> None:
    content[where][0][key] = value


@pytest.mark.parametrize(
    ("where", "key", "value", "fault"),
    [
        (
            "annotations",
            "image_id",
            99,
            "annotation 100 has the image_id 99, which is no",
        ),
        (
            "annotations",
            "category_id",
            1,
            "annotation 100 has the category_id 1, which",
        ),
        ("annotations", "id", 101, "two annotations have the id 101"),
        ("annotations", "id", None, "an annotation has no id"),
        ("images", "id", 11, "two images have the id 11"),
        ("images", "file_name", 3, "an entry of 'images' has no id or no file_name"),
        ("categories", "id", 3, "two categories have the id 3"),
        ("categories", "name", "blue", "categories 7 and 3 are both 'blue'"),
    ],
)
def test_ids_that_name_nothing_are_named(
    tmp_path: Path, where: str, key: str, value: Any, fault: str
) -> None:
    content = annotated.coco(tmp_path)
    change(content, where, key, value)
    with pytest.raises(DataError, match=fault):
        rows(annotated.write_json(tmp_path / "a.json", content))


def test_names_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(annotated.paint([]))
    content = annotated.coco(tmp_path / "set")
    content["images"][0]["file_name"] = "../../secret.png"
    content["images"][1]["file_name"] = str(tmp_path / "secret.png")
    path = annotated.write_json(tmp_path / "set" / "a.json", content)
    for row in rows(path)[:3]:
        with pytest.raises(DataError, match="leads out of the data"):
            row.image.read_bytes()


@pytest.mark.parametrize(
    "text", ['{"images": [', '{"images": {}, "annotations": 3}', '{"images": [3]}']
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json' cannot be read as COCO") as caught:
        rows(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "key", "value", "fault"),
    [
        ("annotations", "bbox", [10**400, 0, 5, 5], "the box of annotation 100 has no"),
        ("annotations", "id", "\ud800", r"annotation, '\\ud800', is no text"),
        ("images", "file_name", "\ud800.png", r"images 10: '\\ud800\.png' is no valid"),
        ("categories", "name", "\ud800", r"'\\ud800' is no valid text"),
        ("images", "file_name", "x" * 5000, "such as 'x+', are not beside it"),
    ],
)
def test_values_that_cannot_be_are_named(
    tmp_path: Path, where: str, key: str, value: Any, fault: str
) -> None:
    content = annotated.coco(tmp_path)
    content[where][0][key] = value
    with pytest.raises(DataError, match=fault) as caught:
        rows(annotated.write_json(tmp_path / "a.json", content))
    assert "a.json" in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", ["annotations", "categories"])
@pytest.mark.parametrize("value", [5, True, "abc", {"a": 1}])
def test_lists_that_are_none_are_named(tmp_path: Path, kind: str, value: Any) -> None:
    content = annotated.coco(tmp_path)
    content[kind] = value
    path = annotated.write_json(tmp_path / "a.json", content)
    with pytest.raises(DataError, match=rf"a\.json' .* COCO: '{kind}' is no list"):
        rows(path)


def test_what_we_read_is_what_pycocotools_reads(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    path = annotated.write_json(tmp_path / "a.json", annotated.coco(tmp_path))
    theirs = coco.COCO(str(path))
    names = {c["id"]: c["name"] for c in theirs.loadCats(theirs.getCatIds())}
    expected = {str(a["id"]): names[a["category_id"]] for a in theirs.anns.values()}
    assert {r.key: r.label for r in rows(path)} == expected
    assert json.loads(path.read_text())["info"] == {"year": 2026}
