"""Damage of every kind of source: named with its file and place, and nothing else is lost."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures import annotated

from labelsieve.data.images import read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError

PICTURE = annotated.paint([("red", 0, 0)])
Options = dict[str, Any]
# What makes damaged data in a folder, gives what a person names, and options.
Maker = Callable[[Path], "tuple[Path, Options]"]


def csv(folder: Path, text: str, **options: Any) -> tuple[Path, Options]:
    for name in ("1.png", "2.png"):
        (folder / name).write_bytes(PICTURE)
    (folder / "t.csv").write_text(text)
    return folder / "t.csv", options


def jsonl(folder: Path) -> tuple[Path, Options]:
    (folder / "t.jsonl").write_text('{"image": "1.png", "label": "a"}\n{"image": "2.p')
    return folder / "t.jsonl", {}


def shards(folder: Path, *, cut: bool) -> tuple[Path, Options]:
    for number in (0, 1):
        table = pa.table({"image": [PICTURE] * 3, "label": ["a", "b", "a"]})
        pq.write_table(table, folder / f"train-{number:05d}-of-00003.parquet")
    if cut:
        last = folder / "train-00001-of-00003.parquet"
        last.write_bytes(last.read_bytes()[:-20])
    return folder, {}


def packed_csv(folder: Path) -> tuple[Path, Options]:
    lines = "".join(f"{n}.png,a\n" for n in range(50_000))
    data = gzip.compress(f"image,label\n{lines}".encode())
    (folder / "t.csv.gz").write_bytes(data[: len(data) // 2])
    return folder / "t.csv.gz", {}


def path_list(folder: Path) -> tuple[Path, Options]:
    (folder / "l.txt").write_text("1.png a\nnothing\n")
    return folder / "l.txt", {}


def metadata(folder: Path) -> tuple[Path, Options]:
    (folder / "1.png").write_bytes(PICTURE)
    (folder / "3.png").write_bytes(PICTURE)
    (folder / "metadata.csv").write_text("file_name,label\n1.png,a\n2.png,b\n")
    return folder, {}


def coco(
    folder: Path, change: Callable[[dict[str, Any]], None]
) -> tuple[Path, Options]:
    content = annotated.coco(folder)
    change(content)
    return annotated.write_json(folder / "c.json", content), {}


def coco_gone(folder: Path) -> tuple[Path, Options]:
    path, options = coco(folder, lambda content: None)
    (folder / "images" / "4.png").unlink()
    return path, options


def yolo(folder: Path, line: str) -> tuple[Path, Options]:
    annotated.yolo(folder)
    with (folder / "labels" / "train" / "1.txt").open("a") as file:
        file.write(line)
    return folder, {}


def cvat(folder: Path) -> tuple[Path, Options]:
    path = annotated.cvat(folder)
    path.write_bytes(path.read_bytes()[:-40])
    return path, {}


def label_studio(folder: Path, *, cut: bool) -> tuple[Path, Options]:
    path = annotated.label_studio(folder)
    if cut:
        path.write_bytes(path.read_bytes()[:-40])
        return path, {}
    tasks = json.loads(path.read_bytes())
    tasks[2]["data"] = {"text": "no picture"}
    return annotated.write_json(path, tasks), {}


def tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


SAMPLE = [("1.png", PICTURE), ("1.cls", b"a"), ("2.png", PICTURE), ("2.cls", b"b")]


def webdataset(
    folder: Path, *, members: list[tuple[str, bytes]], cut: int = 0
) -> tuple[Path, Options]:
    path = tar(folder / "s.tar", members)
    if cut:
        path.write_bytes(path.read_bytes()[:cut])
    return path, {}


def zipped(folder: Path, *, flip: bool) -> tuple[Path, Options]:
    path = folder / "p.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("a/1.png", "b/2.png"):
            file.writestr(name, PICTURE)
    data = bytearray(path.read_bytes())
    if flip:
        # inside of the first picture, behind its header
        data[data.index(PICTURE) + len(PICTURE) // 2] ^= 255
    path.write_bytes(bytes(data) if flip else bytes(data[:-30]))
    return path, {}


def class_folders(folder: Path) -> tuple[Path, Options]:
    for name in ("a/1.png", "b/2.png"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(PICTURE)
    (folder / "b" / "3.png").write_bytes(b"")
    return folder, {}


def no_category(content: dict[str, Any]) -> None:
    content["annotations"][1]["category_id"] = 999


def no_image(content: dict[str, Any]) -> None:
    content["annotations"][1]["image_id"] = 999


def twice(content: dict[str, Any]) -> None:
    content["annotations"][1]["id"] = content["annotations"][0]["id"]


def hub(folder: Path) -> tuple[Path, Options]:
    datasets = pytest.importorskip("datasets", reason="needs the extra hub")
    rows = {"image": [PICTURE] * 3, "label": ["a", "b", "a"]}
    datasets.Dataset.from_dict(rows).save_to_disk(str(folder / "saved"))
    (file,) = (folder / "saved").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:100])
    return folder / "saved", {}


# Kind of damage -> its maker, and what is said when the rows are listed, as a part of one line.
REFUSED: dict[str, tuple[Maker, str]] = {
    "csv row": (
        lambda f: csv(f, "image,label\n1.png,a\n2.png,b,c\n"),
        "t.csv' cannot be read as CSV",
    ),
    "csv id twice": (
        lambda f: csv(f, "id,image,label\n7,1.png,a\n7,2.png,b\n", id_column="id"),
        "'7'",
    ),
    "csv no id": (
        lambda f: csv(f, "image,label\n1.png,a\n", id_column="key"),
        "Column 'key'",
    ),
    "jsonl line": (jsonl, "t.jsonl' cannot be read as JSONL: line 2 is not JSON"),
    "shard": (
        lambda f: shards(f, cut=True),
        "train-00001-of-00003.parquet' cannot be read",
    ),
    "csv.gz": (packed_csv, "t.csv.gz' cannot be read as CSV"),
    "list line": (path_list, "Line 2 of "),
    "coco category": (
        lambda f: coco(f, no_category),
        "the category_id 999, which is no",
    ),
    "coco image": (lambda f: coco(f, no_image), "the image_id 999, which is no"),
    "yolo class": (lambda f: yolo(f, "17 .5 .5 .2 .2\n"), "1.txt"),
    "yolo line": (lambda f: yolo(f, "0 .5 x\n"), "1.txt"),
    "cvat": (cvat, "annotations.xml' cannot be read as CVAT"),
    "label-studio": (
        lambda f: label_studio(f, cut=True),
        "tasks.json' cannot be read as Label",
    ),
    "label-studio task": (
        lambda f: label_studio(f, cut=False),
        "task 3 has no picture",
    ),
    "coco id": (lambda f: coco(f, twice), "two annotations have the id 100"),
    "webdataset": (
        lambda f: webdataset(f, members=SAMPLE, cut=2100),
        "s.tar' cannot be read as tar",
    ),
    "zip": (lambda f: zipped(f, flip=False), "p.zip' cannot be read as zip"),
    "hub": (hub, "saved"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_listed_is_named_in_one_line(tmp_path: Path, kind: str) -> None:
    make, words = REFUSED[kind]
    path, options = make(tmp_path)
    with pytest.raises(DataError) as caught:
        list(open_source(DataSpec(path, **options)).rows())
    said = str(caught.value)
    assert words in said and "\n" not in said


# Kind -> its maker, the number of rows that are listed, rows that cannot be read, a note.
LISTED: dict[str, tuple[Maker, int, int, str]] = {
    "csv": (lambda f: csv(f, "image,label\n1.png,a\n3.png,b\n,a\n2.png,\n"), 4, 2, ""),
    "shard missing": (
        lambda f: shards(f, cut=False),
        6,
        0,
        "1 shards are missing: 'train-00002",
    ),
    "metadata": (metadata, 2, 1, ""),
    "coco member": (coco_gone, 6, 3, ""),
    "webdataset label": (lambda f: webdataset(f, members=SAMPLE[:3]), 2, 0, ""),
    # an id without a picture is a row, too
    "webdataset picture": (
        lambda f: webdataset(f, members=[*SAMPLE, ("3.cls", b"a")]),
        3,
        1,
        "",
    ),
    "webdataset twice": (
        lambda f: webdataset(f, members=[*SAMPLE, ("x/1.png", PICTURE), *SAMPLE[:2]]),
        4,
        0,
        "",
    ),
    "zip member": (lambda f: zipped(f, flip=True), 2, 1, ""),
    "folder": (class_folders, 3, 1, ""),
}


@pytest.mark.parametrize("kind", LISTED)
def test_what_cannot_be_read_keeps_its_row(tmp_path: Path, kind: str) -> None:
    make, count, bad, words = LISTED[kind]
    path, options = make(tmp_path)
    source = open_source(DataSpec(path, **options))
    rows = list(source.rows())
    assert len(rows) == len({row.key for row in rows}) == count
    faults = []
    for row in rows:
        try:
            read_bytes(row.image)
        except ImageError as error:
            faults.append(str(error))
    assert len(faults) == bad and all(faults), faults
    assert words in " ".join(source.notes)


def test_the_folder_of_a_scan_is_no_data(planted: Any) -> None:
    with pytest.raises(DataError, match="is the folder of a scan") as refused:
        open_source(DataSpec(str(planted.folder)))
    for verb in ("review", "report", "score"):
        assert f"labelsieve {verb} {planted.folder}" in refused.value.do
