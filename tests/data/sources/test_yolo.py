"""YOLO data sets: layouts, names of classes, faults by line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated

from labelsieve.data.sources import Row, open_source
from labelsieve.data.sources.yolo import class_names, label_file
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def rows(path: Path, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(str(path), **options)).rows())


def test_folder_and_yaml_are_the_same(tmp_path: Path) -> None:
    folder = annotated.yolo(tmp_path / "set")
    found = rows(folder)
    assert [r.uri for r in found] == [r.uri for r in rows(folder / "data.yaml")]
    assert {r.split for r in found} == {"train"}
    assert rows(folder, split="train") and len(found) == 6
    with pytest.raises(DataError, match=r"^--split 'val' is no split of"):
        rows(folder, split="val")


def test_splits_above_the_folders_as_roboflow_has_them(tmp_path: Path) -> None:
    folder = annotated.yolo(tmp_path / "a")
    new = tmp_path / "b"
    new.mkdir()
    shutil.move(folder / "data.yaml", new / "data.yaml")
    for kind in ("images", "labels"):
        shutil.copytree(folder / kind / "train", new / "valid" / kind)
    assert len(rows(new)) == 6
    assert {r.split for r in rows(new)} == {"valid"}


def test_darknet_has_names_in_a_file_and_labels_beside_pictures(tmp_path: Path) -> None:
    folder = annotated.yolo(tmp_path / "a")
    new = tmp_path / "b"
    shutil.copytree(folder / "images" / "train", new / "obj_train_data")
    shutil.copytree(
        folder / "labels" / "train", new / "obj_train_data", dirs_exist_ok=True
    )
    (new / "obj.names").write_text("red\ngreen\nblue\n")
    for row in rows(new):
        assert annotated.colour_of(row.image.read_bytes()) == row.label


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("0 0.5 0.5 0.1\n", r"1\.txt' line 1: '0 0\.5 0\.5 0\.1' is no box"),
        ("0 0.1 0.1 0.1 0.1\ncat 0.1 0.1 0.1 0.1\n", r"1\.txt' line 2: 'cat 0\.1"),
        (
            "3 0.1 0.1 0.1 0.1\n",
            r"line 1: there is no class 3\. Names are given for 0 to 2",
        ),
        ("0 nan 0.1 0.1 0.1\n", r"line 1: '0 nan"),
        ("0 0 0 1 0 1 1 1\n", r"line 1: '0 0 0 1 0 1 1 1' is no box"),
    ],
)
def test_faults_are_named_with_their_line(
    tmp_path: Path, text: str, fault: str
) -> None:
    folder = annotated.yolo(tmp_path / "set")
    (folder / "labels" / "train" / "1.txt").write_text(text)
    with pytest.raises(DataError, match=fault):
        rows(folder)


def test_outlines_are_boxes_around_them(tmp_path: Path) -> None:
    folder = annotated.yolo(tmp_path / "set")
    corners = "0.25 0.333333 0.5 0.333333 0.5 0.666666 0.25 0.666666"
    (folder / "labels" / "train" / "sub" / "2.txt").write_text(f"1 {corners}\n")
    (row,) = [r for r in rows(folder) if "sub/2.png" in r.path]
    assert annotated.colour_of(row.image.read_bytes()) == "green"


def test_a_label_file_without_a_picture_is_noted(tmp_path: Path) -> None:
    folder = annotated.yolo(tmp_path / "set")
    (folder / "labels" / "train" / "9.txt").write_text("")
    source = open_source(DataSpec(folder))
    list(source.rows())
    assert source.notes[0] == (
        "1 label files have no picture, such as 'labels/train/9.txt'"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("names: {0: a, 2: b}", "gives no names of classes"),
        ("train: x", "gives no names of classes"),
        ("names: [a, a]", "gives two classes the same name"),
        ("names: [a", "cannot be read: while parsing a flow sequence"),
        (
            "names: !!python/object/apply:os.system [ls]",
            "cannot be read: could not det",
        ),
    ],
)
def test_a_yaml_without_names_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=fault) as caught:
        class_names(tmp_path / "data.yaml")
    assert "\n" not in str(caught.value)


def test_label_files_as_ultralytics_finds_them() -> None:
    assert label_file("images/train/a.b.png") == "labels/train/a.b.txt"
    assert label_file("images/images/a.png") == "images/labels/a.txt"
    assert label_file("obj_train_data/a.png") == "obj_train_data/a.txt"


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (BOMB + "names: [b, *a8]\n", "it has an alias"),
        ("names: &a [x, *a]", "it has an alias"),
        ("names: [a, !!int '']", "cannot be read"),
        ("names: [a, !!timestamp 'x']", "cannot be read"),
        ("names: [a, 2020-99-99]", "cannot be read"),
        ("names: " + "[" * 5000, "cannot be read"),
        ("names: {0: a, x: b}", "gives no names of classes"),
        ("names: {0: a, ~: b}", "gives no names of classes"),
        ("names: {0: a, 2020-01-02: b}", "gives no names of classes"),
        ("names: [a, ~]", "is no text: None"),
        ("names: [a, [b]]", "is no text"),
        ('names: ["\\ud800", b]', "is no text"),
        ("names: [a, " + "9" * 5000 + "]", "cannot be read|is no text"),
    ],
)
def test_yaml_of_strangers_is_refused_in_a_line(
    tmp_path: Path, text: str, fault: str
) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=fault) as caught:
        class_names(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 500
