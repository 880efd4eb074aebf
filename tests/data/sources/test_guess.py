"""Every refusal says what the input looks like, and the one thing that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

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
        ("t.xml", "<annotation><folder>", "looks like Pascal VOC annotations. Convert"),
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
            "looks like Label Studio annotations, 'tasks.json'. Try: labelsieve scan set",
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
