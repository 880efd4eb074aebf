"""The image folder convention: metadata beside pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

from labelsieve.data.sources import Row, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError

RECORDS = [
    {"file_name": "0.png", "label": "cat", "note": "x"},
    {"file_name": "sub/1.png", "label": "dog", "note": "y"},
    {"file_name": "2.png", "label": "cat", "note": "z"},
]


def pictures(folder: Path, picture: bytes = b"x") -> Path:
    for record in RECORDS:
        file = folder / record["file_name"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture)
    return folder


def describe(folder: Path, suffix: str, records: Any = RECORDS) -> None:
    frame = pd.DataFrame(records)
    if suffix == "csv":
        frame.to_csv(folder / "metadata.csv", index=False)
    elif suffix == "parquet":
        frame.to_parquet(folder / "metadata.parquet")
    else:
        text = "".join(json.dumps(r) + "\n" for r in records)
        (folder / "metadata.jsonl").write_text(text)


def rows(folder: Path, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(folder, **options)).rows())


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_metadata_describe_pictures(tmp_path: Path, suffix: str) -> None:
    describe(pictures(tmp_path / "set"), suffix)
    source = open_source(DataSpec(str(tmp_path / "set")))
    found = list(source.rows())
    assert [(r.key, r.label) for r in found] == [
        (r["file_name"], r["label"]) for r in RECORDS
    ]
    assert [r.image for r in found] == [tmp_path / "set" / r.key for r in found]
    assert [source.read(r.uri) for r in found] == [r.image for r in found]
    assert source.notes == []
    assert [r.label for r in rows(tmp_path / "set", label_column="note")] == [*"xyz"]


def test_it_reads_what_hugging_face_reads(
    tmp_path: Path, digits: Any, encode: Any
) -> None:
    """The very convention: their loader gives the same pictures and labels."""
    describe(pictures(tmp_path / "set", encode(digits[0][0])), "jsonl")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "set"), cache_dir=str(tmp_path / "c")
    )["train"]
    theirs = loaded.cast_column("image", datasets.Image(decode=False))
    expected = {(r["image"]["path"], r["label"]) for r in theirs}
    assert {(str(r.image), r.label) for r in rows(tmp_path / "set")} == expected


def test_split_folders_have_tables_of_their_own(tmp_path: Path) -> None:
    for split in ("train", "test"):
        describe(pictures(tmp_path / "set" / split), "jsonl")
    found = rows(tmp_path / "set")
    assert [r.split for r in found] == ["test"] * 3 + ["train"] * 3
    assert found[1].uri == "test/sub/1.png"
    assert [r.key for r in rows(tmp_path / "set", split="train")] == [
        "train/0.png",
        "train/sub/1.png",
        "train/2.png",
    ]


def test_pictures_that_no_row_names_are_counted(tmp_path: Path) -> None:
    describe(pictures(tmp_path / "set"), "csv", RECORDS[:2])
    source = open_source(DataSpec(tmp_path / "set"))
    assert len(list(source.rows())) == 2
    assert source.notes == ["1 picture is in no row of 'metadata.csv' and left out"]


def test_folders_give_the_label_where_metadata_have_none(tmp_path: Path) -> None:
    records = [{"file_name": "a/0.png", "size": 3}]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(b"x")
    describe(tmp_path, "jsonl", records)
    assert [(r.key, r.label) for r in rows(tmp_path)] == [("a/0.png", "a")]
    assert [r.label for r in rows(tmp_path, label_column="size")] == ["3"]


def test_a_row_that_names_no_picture_is_a_fault_of_the_row(tmp_path: Path) -> None:
    describe(pictures(tmp_path / "set"), "csv", [*RECORDS, {"file_name": "9.png"}])
    assert [r.image.exists() for r in rows(tmp_path / "set")] == [True] * 3 + [False]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_no_row_leads_out_of_the_folder(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "secret").mkdir()
    secret = tmp_path / "secret" / "private.png"
    secret.write_bytes(b"private")
    names = ["../secret/private.png", "sub/../../secret/private.png", str(secret)]
    records = [{"file_name": name, "label": "cat"} for name in ["0.png", *names]]
    describe(pictures(tmp_path / "set"), suffix, records)
    source = open_source(DataSpec(tmp_path / "set"))
    good, *bad = source.rows()
    assert good.image == tmp_path / "set" / "0.png"
    assert len(bad) == 3
    for row in bad:
        with pytest.raises(ImageError, match="it leads out of the data"):
            row.image.read_bytes()
        with pytest.raises(ImageError, match="it leads out of the data"):
            source.read(row.uri)


def test_a_split_may_name_pictures_of_its_sibling(tmp_path: Path) -> None:
    split = pictures(tmp_path / "set" / "train")
    (tmp_path / "set" / "images").mkdir()
    (tmp_path / "set" / "images" / "0.png").write_bytes(b"x")
    (tmp_path / "0.png").write_bytes(b"x")
    names = ["../images/0.png", "../../0.png"]
    describe(split, "jsonl", [{"file_name": n, "label": "cat"} for n in names])
    source = open_source(DataSpec(tmp_path / "set"))
    inside, outside = source.rows()
    assert inside.image.read_bytes() == b"x"
    assert source.read(inside.uri).read_bytes() == b"x"
    with pytest.raises(ImageError):
        outside.image.read_bytes()


@pytest.mark.parametrize("name", ["labels.csv", "annotations.tsv", "my_table.jsonl"])
def test_a_table_beside_pictures_is_proposed(tmp_path: Path, name: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "0.png").write_bytes(b"x")
    (tmp_path / "set" / name).write_text("x")
    with pytest.raises(DataError) as caught:
        rows(tmp_path / "set")
    folder = tmp_path / "set"
    assert str(caught.value) == (
        f"'{folder}' has no class folders; it looks like pictures with a table of labels, "
        f"'{name}'. Try: labelsieve scan {folder}/{name}"
    )
