"""CVAT for images: tags and boxes, and XML of strangers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated

from labelsieve.data.sources import Row, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def rows(path: Path, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(str(path), **options)).rows())


def test_tags_are_labels_of_pictures(tmp_path: Path) -> None:
    path = annotated.cvat(tmp_path, tags=True)
    found = rows(path)
    assert [(r.key, r.label, r.split) for r in found] == [
        ("1.png", '["blue", "red"]', "train"),
        ("sub/2.png", '["green"]', "train"),
        ("3.png", "[]", "train"),
        ("4.png", '["blue", "red"]', "train"),
    ]


def test_classes_are_in_the_order_of_the_task(tmp_path: Path) -> None:
    source: Any = open_source(DataSpec(annotated.cvat(tmp_path)))
    assert source.classes == ["red", "green", "blue"]


def test_names_of_classes_keep_their_spaces(tmp_path: Path) -> None:
    path = annotated.cvat(tmp_path)
    text = path.read_text().replace("<name>red</name>", "<name>red </name>")
    text = text.replace("<name>blue</name>", "<name>\n  blue\n</name>")
    path.write_text(text.replace('label="red"', 'label="red "'))
    source: Any = open_source(DataSpec(path))
    assert source.classes == ["red ", "green", "blue"]
    assert {r.label for r in source.rows()} == {"red ", "green", "blue"}


def test_other_shapes_are_counted(tmp_path: Path) -> None:
    path = annotated.cvat(tmp_path)
    shape = '<polygon label="red" points="1,2;3,4;5,6"></polygon></image>'
    path.write_text(path.read_text().replace("</image>", shape))
    source = open_source(DataSpec(path))
    assert len(list(source.rows())) == 6
    assert source.notes[0] == (
        "4 of the kind polygon were not read: only boxes and tags are"
    )


BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotations><meta></meta><image id="0" name="&b;"></image></annotations>"""


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("</annotations>", "", r"no element found"),
        ('xtl="0.00"', "", r"a box has no corners \(line \d+\)"),
        ('xtl="0.00"', 'xtl="x"', r"a box has no corners \(line \d+\)"),
        ('label="red" ', "", r"a box or tag has no label \(line \d+\)"),
        ('name="1.png" ', "", r"an image has no name \(line \d+\)"),
    ],
)
def test_faults_are_named_in_one_line(
    tmp_path: Path, old: str, new: str, fault: str
) -> None:
    path = annotated.cvat(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=rf"cannot be read as CVAT: {fault}") as caught:
        rows(path)
    assert "\n" not in str(caught.value)


def test_entities_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(BOMB)
    with pytest.raises(DataError, match=r"a\.xml' declares entities\. Remove them"):
        rows(tmp_path / "a.xml")


@pytest.mark.parametrize(
    "encoding", ["shift_jis", "utf-7", "xyz", "rot13", "base64", "idna"]
)
def test_encodings_that_cannot_be_are_named(tmp_path: Path, encoding: str) -> None:
    path = annotated.cvat(tmp_path)
    _, _, rest = path.read_text().rpartition("?>")
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?>{rest}')
    with pytest.raises(DataError, match=r"' cannot be read as CVAT: .+\. Export it"):
        rows(path)


def test_pictures_in_data_as_fiftyone_writes_them(tmp_path: Path) -> None:
    file = annotated.cvat(tmp_path / "set")
    (tmp_path / "set" / "images").rename(tmp_path / "set" / "data")
    rows = list(open_source(DataSpec(str(file))).rows())
    assert rows and all(row.image.read_bytes() for row in rows)
    # another folder of that name is none of theirs
    (tmp_path / "set" / "data").rename(tmp_path / "set" / "images")
    (tmp_path / "set" / "data").mkdir()
    assert [r.uri for r in open_source(DataSpec(str(file))).rows()] == [
        r.uri for r in rows
    ]
