"""Names of pictures as other systems and competitions write them into tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def images(path: Path, **options: Any) -> list[Path]:
    source = open_source(DataSpec(path, **options))
    found = []
    for row in source.rows():
        assert source.read(row.uri) == row.image
        found.append(row.image)
    return found


@pytest.mark.skipif(os.name == "nt", reason="its own paths")
def test_paths_of_windows_are_those_of_folders(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b\\2.jpg", "b/2.jpg")
    (tmp_path / "t.csv").write_text("image,label\na\\1.jpg,x\nb\\2.jpg,y\nc\\3.jpg,z\n")
    # a file of the very name comes first, and what is not there stays what it was called
    expected = [tmp_path / "a/1.jpg", tmp_path / "b\\2.jpg", tmp_path / "c\\3.jpg"]
    assert images(tmp_path / "t.csv") == expected
    (tmp_path / "shards").mkdir()
    put(tmp_path / "shards", "a/1.jpg")
    for part in "ab":
        (tmp_path / "shards" / f"{part}.csv").write_text("image,label\na\\1.jpg,x\n")
    assert images(tmp_path / "shards" / "*.csv") == 2 * [
        tmp_path / "shards" / "a/1.jpg"
    ]


def test_a_suffix_that_was_left_away(tmp_path: Path) -> None:
    put(
        tmp_path,
        "train/1.jpg",
        "train/2.png",
        "train/2.jpeg",
        "train/3",
        "train/4.5.png",
    )
    (tmp_path / "t.csv").write_text("id,breed\n1,a\n2,b\n3,c\n4.5,d\n")
    found = images(
        tmp_path / "t.csv",
        image_column="id",
        label_column="breed",
        root=str(tmp_path / "train"),
    )
    # of two that it might be, none is taken
    assert [file.name for file in found] == ["1.jpg", "2", "3", "4.5.png"]


def test_links_out_of_the_data_stay_refused(tmp_path: Path) -> None:
    put(tmp_path, "secret.jpg", "set/a.jpg")
    (tmp_path / "set" / "metadata.csv").write_text(
        "file_name,label\n..\\secret,x\n..\\secret.jpg,y\na.jpg,z\n"
    )
    rows = list(open_source(DataSpec(tmp_path / "set")).rows())
    for row in rows[:2]:
        assert not str(getattr(row.image, "resolve", str)()).startswith(
            str(tmp_path / "secret")
        )
    assert rows[2].image == tmp_path / "set" / "a.jpg"


def test_one_folder_of_pictures_and_a_table_is_no_single_class(tmp_path: Path) -> None:
    put(tmp_path / "set", "train/1.jpg")
    (tmp_path / "set" / "train.csv").write_text("id,label\n1,a\n")
    with pytest.raises(
        DataError, match=r"scan \S*train\.csv --image-column id --root \S*/train"
    ):
        list(open_source(DataSpec(tmp_path / "set")).rows())


def test_a_mark_that_lies_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfimage,label\na.png,K\xe4se\n")
    with pytest.raises(
        DataError, match="begins as UTF-8, and other bytes in it are not"
    ):
        open_source(DataSpec(tmp_path / "t.csv"))


def test_names_that_programs_give_to_tables(tmp_path: Path) -> None:
    (tmp_path / "t.tab").write_text("image\tlabel\na.png\tx\n")
    assert images(tmp_path / "t.tab") == [tmp_path / "a.png"]
    (tmp_path / "t.txt").write_text("image\tlabel\na.png\tx\n")
    with pytest.raises(
        DataError, match=r"looks like a table. Name it so: cp \S*t.txt \S*t.tsv"
    ):
        open_source(DataSpec(tmp_path / "t.txt"))
    (tmp_path / "votes.csv").write_text("image,person_1,person_2\n1.png,a,b\n")
    with pytest.raises(DataError, match="Several people: --vote-columns"):
        open_source(DataSpec(tmp_path / "votes.csv"))
