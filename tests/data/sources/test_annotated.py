"""Several annotation files are one data set, and are corrected each in its place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fixtures import annotated

from labelsieve import tables
from labelsieve.corrections import write_back
from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def downloaded(folder: Path, inner: str = "") -> Path:
    """COCO as it is downloaded, with the same ids and names of files in both splits."""
    (folder / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        content = annotated.coco(folder / "made")
        if split == "val":
            content["categories"].reverse()
        target = folder / inner / f"{split}{'' if inner else '2017'}"
        annotated.pictures(target)
        annotated.write_json(folder / f"annotations/instances_{split}.json", content)
        captions = {**content, "annotations": [], "categories": []}
        annotated.write_json(folder / f"annotations/captions_{split}.json", captions)
    shutil.rmtree(folder / "made")
    return folder


def cvat_tasks(folder: Path) -> Path:
    for name in ("one", "two"):
        annotated.cvat(folder / name)
    return folder


@pytest.mark.parametrize("inner", ["", "images"])
def test_a_downloaded_folder_is_one_set(tmp_path: Path, inner: str) -> None:
    folder = downloaded(tmp_path / "set", inner)
    source: Any = open_source(DataSpec(str(folder)))
    rows = list(source.rows())
    assert [row.split for row in rows] == ["train"] * 6 + ["val"] * 6
    assert len({row.key for row in rows}) == 12
    assert rows[0].key == "annotations/instances_train.json|100"
    assert all(
        annotated.colour_of(read_bytes(source.read(r.uri))) == r.label for r in rows
    )
    # the val pictures are those of val
    assert "val" in str(rows[6].image.member)
    assert source.classes == ["red", "blue", "green"]
    assert source.class_ids == {"red": 7, "blue": 3, "green": 90}
    assert any("captions_train.json" in note for note in source.notes)
    chosen = list(open_source(DataSpec(str(folder), split="val")).rows())
    assert [row.key for row in chosen] == [row.key for row in rows[6:]]
    with pytest.raises(DataError, match="--split 'x' is no split"):
        list(open_source(DataSpec(str(folder), split="x")).rows())


def test_a_pattern_names_several(tmp_path: Path) -> None:
    folder = downloaded(tmp_path / "set")
    spec = DataSpec(f"{folder}/annotations/instances_*.json")
    assert len(list(open_source(spec).rows())) == 12
    tasks = cvat_tasks(tmp_path / "tasks")
    assert len(list(open_source(DataSpec(f"{tasks}/*/*.xml")).rows())) == 12


def correction(source: Any, number: int, label: str | None) -> pa.Table:
    row = list(source.rows())[number]
    entry = dict.fromkeys(tables.CORRECTIONS.names)
    digest = content_hash(read_bytes(source.read(row.uri)))
    entry |= {
        "sample_id": f"{row.key}#{digest[:12]}",
        "uri": row.uri,
        "path": row.path,
        "old_label": row.label,
        "new_label": label,
        "action": "relabel",
    }
    return pa.Table.from_pylist([entry], schema=tables.CORRECTIONS)


@pytest.mark.parametrize("make", [downloaded, cvat_tasks])
def test_each_file_is_corrected_in_place_and_back(tmp_path: Path, make: Any) -> None:
    folder = make(tmp_path / "set")
    files = [f for f in sorted(folder.rglob("*")) if f.suffix in (".json", ".xml")]
    before = {file: file.read_bytes() for file in files}
    spec = DataSpec(str(folder))
    source: Any = open_source(spec)
    patch = correction(source, 7, "green")
    write_back.in_place(spec, patch, "scan")
    changed = [file for file in files if file.read_bytes() != before[file]]
    assert [f.relative_to(folder).as_posix() for f in changed] == [source.names[1]]
    again: Any = open_source(spec)
    assert [row.label for row in again.rows()][7] == "green"
    # the same scan with another decision: made from the originals
    other = correction(source, 0, "blue")
    write_back.in_place(spec, other, "scan")
    labels = [row.label for row in open_source(spec).rows()]
    assert labels[0] == "blue"
    assert labels[7] == "blue"
    write_back.reverse(spec, other, "scan")
    assert {file: file.read_bytes() for file in files} == before


def test_only_the_class_number_changes(tmp_path: Path) -> None:
    folder = downloaded(tmp_path / "set")
    spec = DataSpec(str(folder))
    file = folder / "annotations/instances_val.json"
    before = json.loads(file.read_text())
    write_back.in_place(spec, correction(open_source(spec), 7, "green"), "scan")
    after = json.loads(file.read_text())
    assert after["categories"] == before["categories"]
    assert after["annotations"][1]["category_id"] == 90
