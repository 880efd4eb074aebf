"""COCO: ids and order stay; only numbers of categories change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated

from labelsieve.corrections.writers import find_rows
from labelsieve.corrections.writers._spans import Edit, edited, elements, find, without
from labelsieve.corrections.writers.coco import open_writer
from labelsieve.data.images import content_hash
from labelsieve.data.labels import read_set, write_set
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def rewritten(path: Path, changes: dict[int, str | None], **options: Any) -> str:
    spec = DataSpec(str(path), **options)
    source: Any = open_source(spec)
    writer: Any = open_writer(spec, source)
    writer._write(source, changes, path.with_name("new.json"))
    return path.with_name("new.json").read_text()


def test_one_number_changes_and_nothing_else(tmp_path: Path) -> None:
    path = annotated.write_json(tmp_path / "a.json", annotated.coco(tmp_path))
    before = path.read_text().splitlines()
    after = rewritten(path, {1: "green"}).splitlines()
    (line,) = [n for n in range(len(before)) if before[n] != after[n]]
    assert before[line].strip() == '"category_id": 3,'
    assert after[line].strip() == '"category_id": 90,'


def test_what_is_left_out_is_gone_whichever_it_is(tmp_path: Path) -> None:
    path = annotated.write_json(tmp_path / "a.json", annotated.coco(tmp_path))
    for gone in ({0}, {5}, {2, 3}, {0, 5}, {4, 5}, set(range(6))):
        content = json.loads(rewritten(path, dict.fromkeys(gone)))
        left = [entry["id"] for entry in content["annotations"]]
        assert left == [100 + n for n in range(6) if n not in gone]
        assert len(content["images"]) == 4


def test_whole_pictures_change_their_one_annotation(tmp_path: Path) -> None:
    content = annotated.coco(tmp_path, boxes=False)
    content["annotations"] = content["annotations"][::2][:2]
    path = annotated.write_json(tmp_path / "a.json", content)
    new = json.loads(rewritten(path, {0: "blue", 1: None}))
    assert [a["category_id"] for a in new["annotations"]] == [3]
    assert [i["file_name"] for i in new["images"]] == ["1.png", "3.png", "4.png"]
    with pytest.raises(DataError, match="has 0 annotations, not one"):
        rewritten(path, {2: "blue"})


def test_sets_of_whole_pictures_lose_and_get_annotations_and_nothing_else_changes(
    tmp_path: Path,
) -> None:
    content = annotated.coco(tmp_path, boxes=False)
    path = annotated.write_json(tmp_path / "a.json", content)
    before = [(a["image_id"], a["category_id"]) for a in content["annotations"]]
    source: Any = open_source(DataSpec(str(path)))
    rows = [row.label for row in source.rows()]
    number = next(n for n, text in enumerate(rows) if len(read_set(text)) > 1)
    empty = rows.index("[]")
    gone, *kept = read_set(rows[number])
    changes = {number: write_set(kept), empty: write_set(["blue", "red"])}
    after = json.loads(rewritten(path, changes))
    ids = {c["name"]: c["id"] for c in content["categories"]}
    image = {n: 10 + n for n in (number, empty)}
    wanted = [pair for pair in before if pair != (image[number], ids[gone])]
    wanted += [(image[empty], ids[name]) for name in ("blue", "red")]
    assert [(a["image_id"], a["category_id"]) for a in after["annotations"]] == wanted
    assert len({a["id"] for a in after["annotations"]}) == len(wanted)
    assert after["images"] == content["images"]
    # everything is taken away, and then something is put in
    nothing = dict.fromkeys(range(4), "[]")
    assert json.loads(rewritten(path, nothing))["annotations"] == []
    one = json.loads(rewritten(path, {**nothing, 0: '["green"]'}))["annotations"]
    assert [(a["image_id"], a["category_id"]) for a in one] == [(10, 90)]
    with pytest.raises(DataError, match="declares no class 'lilac'"):
        rewritten(path, {0: '["lilac"]'})


def test_a_missing_label_of_pictures_with_boxes_needs_one(tmp_path: Path) -> None:
    path = annotated.write_json(tmp_path / "a.json", annotated.coco(tmp_path))
    source: Any = open_source(DataSpec(str(path), items="images"))
    rows = [read_set(row.label) for row in source.rows()]
    number = next(n for n, labels in enumerate(rows) if len(labels) > 1)
    fewer = write_set(rows[number][1:])
    after = json.loads(rewritten(path, {number: fewer}, items="images"))
    assert len(after["annotations"]) < 6
    lacking = next(n for n, labels in enumerate(rows) if 0 < len(labels) < 3)
    with pytest.raises(DataError, match="needs a box"):
        rewritten(path, {lacking: '["blue", "green", "red"]'}, items="images")


def test_pycocotools_opens_what_was_written(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    path = annotated.write_json(tmp_path / "a.json", annotated.coco(tmp_path))
    rewritten(path, {0: "green", 5: None})
    theirs = coco.COCO(str(tmp_path / "new.json"))
    assert theirs.anns[100]["category_id"] == 90 and 105 not in theirs.anns


def test_elements_go_with_their_commas() -> None:
    text = '[ 1 ,\n{"a": [2, 3]}, "x]" ,4 ]'
    spans = list(elements(text, 0))
    assert [text[a:b] for a, b in spans] == ["1", '{"a": [2, 3]}', '"x]"', "4"]
    whole = json.loads(text)
    for bits in range(16):
        gone = {n for n in range(4) if bits >> n & 1}
        left = json.loads(edited(text, without(spans, gone)))
        assert left == [whole[n] for n in range(4) if n not in gone]


def test_a_value_is_found_by_names_and_numbers() -> None:
    text = '{"a": {"b": [0, {"c": 1.50}]}, "a2": 1}'
    start, end = find(text, 0, "a", "b", 1, "c")
    assert text[start:end] == "1.50"
    assert edited(text, [Edit(start, end, "2")]) == text.replace("1.50", "2")
    for path in (("x",), ("a", "b", 7)):
        with pytest.raises(LookupError):
            find(text, 0, *path)


@pytest.mark.parametrize("name", ["category_id", "annotations"])
def test_a_name_that_stands_twice_is_named(tmp_path: Path, name: str) -> None:
    path = annotated.write_json(tmp_path / "a.json", annotated.coco(tmp_path))
    text = path.read_text()
    before = {"category_id": '"category_id": 3, ', "annotations": '"annotations": [], '}
    start = text.index(f'"{name}"')
    path.write_text(text[:start] + before[name] + text[start:])
    with pytest.raises(DataError, match=f"'{name}' stands 2 times, not once"):
        rewritten(path, {0: "green"})


def test_an_id_that_went_to_another_box_is_not_followed(tmp_path: Path) -> None:
    content = annotated.coco(tmp_path)
    path = annotated.write_json(tmp_path / "a.json", content)
    source: Any = open_source(DataSpec(str(path)))
    row = next(iter(source.rows()))
    digest = content_hash(row.image.read_bytes())[:12]
    wanted = {
        "sample_id": f"{row.key}#{digest}",
        "uri": row.uri,
        "path": row.path,
        "old_label": row.label,
        "new_label": "green",
    }
    # the label is the same, and so is the picture: the box alone tells both apart
    one, other = (
        n for n, a in enumerate(content["annotations"]) if a["category_id"] == 7
    )
    ids = [a["id"] for a in content["annotations"]]
    content["annotations"][one]["id"], content["annotations"][other]["id"] = (
        ids[other],
        ids[one],
    )
    annotated.write_json(path, content)
    again: Any = open_source(DataSpec(str(path)))
    assert find_rows(again, [wanted]) == {one: "green"}
    del content["annotations"][one]
    annotated.write_json(path, content)
    with pytest.raises(DataError, match="and the image that was scanned"):
        find_rows(open_source(DataSpec(str(path))), [wanted])
