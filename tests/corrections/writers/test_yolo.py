"""YOLO: the number at the start of a line changes, and no other byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fixtures import annotated

from labelsieve.corrections import write_back
from labelsieve.corrections.writers.yolo import open_writer
from labelsieve.data.images import content_hash
from labelsieve.data.labels import read_set, write_set
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.tables import CORRECTIONS


def test_only_the_number_changes(tmp_path: Path) -> None:
    folder = annotated.yolo(tmp_path / "set")
    file = folder / "labels" / "train" / "4.txt"
    text = "2  0.875 0.833333 0.25 0.333333 \r\n\r\n2 0.125 0.166667 0.25 0.333333"
    file.write_bytes(text.encode())
    spec = DataSpec(str(folder))
    source: Any = open_source(spec)
    writer: Any = open_writer(spec, source)
    target = tmp_path / "new.txt"
    writer._write(source, file, {3: "green"}, target)
    assert target.read_bytes() == text.replace("\n2 0.1", "\n1 0.1").encode()
    writer._write(source, file, {1: None}, target)
    assert target.read_bytes() == b"\r\n2 0.125 0.166667 0.25 0.333333"


def test_extra_labels_of_a_picture_go_with_their_boxes_and_missing_ones_need_one(
    tmp_path: Path,
) -> None:
    folder = annotated.yolo(tmp_path / "set")
    spec = DataSpec(str(folder), items="images")
    source: Any = open_source(spec)
    writer: Any = open_writer(spec, source)
    number, row = next(
        (n, row) for n, row in enumerate(source.rows()) if len(read_set(row.label)) > 1
    )
    first, *others = read_set(row.label)
    ((name, lines),) = writer._by_file(source, {number: write_set([first])}).items()
    assert lines and set(lines.values()) == {None}
    target = tmp_path / "new.txt"
    writer._write(source, folder / name, lines, target)
    numbers = {int(line.split()[0]) for line in target.read_text().splitlines()}
    assert numbers == {source.classes.index(first)}
    other = next(name for name in source.classes if name not in (first, *others))
    with pytest.raises(DataError, match="needs a box"):
        writer._by_file(source, {number: write_set([first, other])})


def test_two_pictures_with_one_label_file_are_named(tmp_path: Path) -> None:
    folder = annotated.yolo(tmp_path / "set")
    picture = folder / "images" / "train" / "4.png"
    picture.with_suffix(".jpg").write_bytes(picture.read_bytes())
    spec = DataSpec(str(folder))
    source: Any = open_source(spec)
    writer: Any = open_writer(spec, source)
    rows = [row.path for row in source.rows()]
    number = next(n for n, name in enumerate(rows) if "4.jpg" in name)
    with pytest.raises(DataError, match=r"4\.jpg' and '.*4\.png' share .*4\.txt"):
        writer._by_file(source, {number: "green"})
    # others are not held up by it
    number = next(n for n, name in enumerate(rows) if "4." not in name)
    assert len(writer._by_file(source, {number: "green"})) == 1


def test_a_linked_label_file_stays_a_link(tmp_path: Path) -> None:
    folder = annotated.yolo(tmp_path / "set")
    link = folder / "labels" / "train" / "4.txt"
    link.rename(tmp_path / "4.txt")
    link.symlink_to(tmp_path / "4.txt")
    row = next(r for r in open_source(DataSpec(str(folder))).rows() if "4.png" in r.uri)
    wanted = {
        "sample_id": f"{row.key}#{content_hash(row.image.read_bytes())[:12]}",
        "uri": row.uri,
        "path": row.path,
        "action": "relabel",
        "old_label": row.label,
        "new_label": "green",
        "reason": "said so",
        "new_uri": None,
    }
    patch = pa.Table.from_pylist([wanted], schema=CORRECTIONS)
    for call in (write_back.check, write_back.in_place):
        with pytest.raises(DataError, match="is a link, and would not be one"):
            call(DataSpec(str(folder)), patch, "scan")
    assert link.is_symlink()
