"""Every refusal says what the input looks like, and the one thing that helps."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from fixtures import annotated

from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(open_source(DataSpec(str(path))).rows())
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "t.xlsx",
            "x",
            "cannot read 't.xlsx': it looks like a spreadsheet. Save it as",
        ),
        ("t.pkl", "x", "looks like a pickle, which could run code. Save it as Parquet"),
        ("t.npy", "x", "looks like an array. Use labelsieve.load((images, labels))"),
        ("t.7z", "x", "looks like an archive of a kind that is not read. Unpack it"),
        ("t.json", '[{"a": 1}]', "a JSON list of records. Write one per line: jq -c"),
        ("a;b.json", '[{"a": 1}]', "'a;b.json' > 'a;b.jsonl' (with jq 1.7 or later"),
        (
            "t.xml",
            "<annotation><folder>",
            "looks like Pascal VOC, a file per picture. Write its boxes as COCO: python",
        ),
        ("t.png", "x", "looks like a single picture. Name the folder above"),
        ("t.what", "x", "cannot read 't.what'. Give a folder of class folders, a CSV"),
        ("t.json", "{}", "cannot read 't.json'. Give a folder of class folders, a CSV"),
    ],
)
def test_files(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    assert words in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "'set' has no class folders. Put the images of each class into a folder"),
        (
            {"1.png": "", "2.png": ""},
            "no class folders; it looks like pictures without",
        ),
        (
            {"1.png": "", "c.json": '{"images": [], "annotations": []}'},
            "The pictures of 'set/c.json', such as '?', are not beside it. Name the",
        ),
        (
            {"tasks.json": '[{"data": {}, "annotations": []}]'},
            "'set/tasks.json' cannot be read as Label Studio: task 0 has no picture",
        ),
        (
            {"annotations.xml": "<annotations><version>1.1</version><meta>"},
            "'set/annotations.xml' cannot be read as CVAT",
        ),
        (
            {"my data.zip": ""},
            "a packed data set. Try: labelsieve scan 'set/my data.zip'",
        ),
        (
            {"0.tar": "", "1.tar": ""},
            "looks like shards of WebDataset. Try: labelsieve scan 'set/*.tar'",
        ),
    ],
)
def test_folders(tmp_path: Path, files: dict[str, str], words: str) -> None:
    (tmp_path / "set").mkdir()
    for name, content in files.items():
        (tmp_path / "set" / name).write_text(content)
    assert words in refusal(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        (
            "labels.csv",
            "x",
            "'labels.csv' beside the folders was not read. Try: labelsi",
        ),
        (
            "c.json",
            '{"images": [], "annotations": []}',
            "the folder also holds COCO annotations, 'c.json', which was not read. Try: l",
        ),
        ("notes.csv", "x", None),
    ],
)
def test_what_lies_beside_class_folders_is_told(
    tmp_path: Path, name: str, content: str, note: str | None
) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(b"x")
    (tmp_path / name).write_text(content)
    source = open_source(DataSpec(tmp_path))
    assert [row.label for row in source.rows()] == ["cat", "dog"]
    assert [n[: len(note or "")] for n in source.notes] == ([note] if note else [])


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.zip", content)
    return buffer.getvalue()


LYING_AROUND = {
    "t.mat": (b"x", "looks like a file of MATLAB. Write image and label into a CSV"),
    "t.tfrecord": (b"x", "looks like TensorFlow records. Use labelsieve.load(dataset)"),
    "t.tfrecord-00000-of-00002": (b"x", "looks like TensorFlow records. Use"),
    "t.hdf5": (b"x", "looks like HDF5. Use labelsieve.load((images, labels))"),
    "t.rar": (b"x", "looks like an archive of a kind that is not read. Unpack it"),
    "t.npz": (b"x", "looks like arrays. Use labelsieve.load((images, labels))"),
    "t.parquet.gz": (
        b"x",
        "looks like a Parquet file packed once more. Unpack it: gunzip",
    ),
    "t.json.gz": (b"x", "looks like packed JSON. Unpack it: gunzip -k"),
    "n.ipynb": (b"{}", "looks like a notebook. Name the data that it reads"),
    "l.json": (b'["a.png"]', "a JSON list without records. Write one record per line"),
    "l.txt": (b"a/1.png\n", "a list of pictures without labels. Write the label after"),
    "m.txt": (
        b"1 a/1.png cat\n",
        "a list with the path behind other columns. Write the",
    ),
    "n.txt": (
        b"a/1.png b.png cat\n",
        "a list with several pictures in a line. Put a path",
    ),
    "e.zip": (packed(), "'e.zip' holds no pictures. Packed files in it are not read"),
    "n.zip": (packed(inner=packed()), "'n.zip' holds no pictures. Packed files in it"),
    "n.csv": (b"1.png,cat\n2.png,dog\n", "Put a line of names before it: image,label"),
    "lmdb/data.mdb": (b"x", "looks like LMDB. Use labelsieve.load(dataset)"),
    "kit/ILSVRC2012_devkit_t12/data/meta.mat": (b"x", "development kit of ImageNet"),
}


@pytest.mark.parametrize("name", LYING_AROUND)
def test_what_lies_around_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    content, words = LYING_AROUND[name]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(content)
    said = refusal(tmp_path / name.partition("/")[0])
    assert words in said
    assert "\n" not in said


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    picture = annotated.paint([])
    for name in ("JPEGImages/1.png", "Annotations/1.xml", "ImageSets/Main/train.txt"):
        (tmp_path / "voc" / name).parent.mkdir(parents=True)
        (tmp_path / "voc" / name).write_bytes(picture)
    assert "'voc' looks like Pascal VOC" in refusal(tmp_path / "voc")
    for label in ("cat", "dog"):
        (tmp_path / "set/data/train" / label).mkdir(parents=True)
        (tmp_path / "set/data/train" / label / "1.png").write_bytes(picture)
    assert "Try: labelsieve scan set/data" in refusal(tmp_path / "set")
    rows = list(open_source(DataSpec(str(tmp_path / "set/data"))).rows())
    assert [(row.split, row.label) for row in rows] == [
        ("train", "cat"),
        ("train", "dog"),
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("name", ["a.json", "a.xml", "a.txt", "a.csv", "a.tar", "a.gz"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert f"cannot read '{name}'" in refusal(tmp_path / name)
