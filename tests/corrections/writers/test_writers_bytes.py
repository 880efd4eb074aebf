"""No correction, no other byte: formats beside those of `test_writers_formats`; copies of lists."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from fixtures import annotated
from fixtures.corrections import correction

from labelsieve.corrections import write_back
from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.load import load
from labelsieve.data.sources import Row, open_source
from labelsieve.data.sources._layout import together
from labelsieve.data.spec import DataSpec
from labelsieve.tables import CORRECTIONS

LINES = "image,label,note\n1.png,red,x\nsub/2.png,green,y\n4.png,blue,\n"


def class_folders(folder: Path) -> Path:
    for split, label, number in (
        ("train", "red", 1),
        ("train", "b c", 2),
        ("val", "red", 3),
    ):
        file = folder / split / label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(annotated.paint([("red", number, 0)]))
    return folder


def text_folders(folder: Path) -> Path:
    for label in ("good", "bad"):
        (folder / label).mkdir(parents=True)
        (folder / label / "1.txt").write_bytes(f"so {label}\r\n".encode())
    return folder


def saved(folder: Path) -> Path:
    features = datasets.Features(
        {
            "image": datasets.Value("binary"),
            "label": datasets.ClassLabel(names=["b", "a"]),
        }
    )
    cells = {"image": [b"1", b"2", b"3"], "label": [0, 1, -1]}
    datasets.Dataset.from_dict(cells, features).save_to_disk(folder / "saved")
    return folder / "saved"


def metadata(folder: Path) -> Path:
    for split in ("train", "test"):
        annotated.pictures(folder / split)
        text = '{"file_name": "1.png", "label": "red"}\n{"file_name":"4.png",  "label": "b"}'
        (folder / split / "metadata.jsonl").write_text(text)
    return folder


def utf16(folder: Path) -> Path:
    annotated.pictures(folder)
    text = LINES.replace(",", ";").replace("\n", "\r\n").replace("x", "Käse\t“")
    (folder / "t.csv").write_bytes(text.encode("utf-16"))
    return folder / "t.csv"


def windows(folder: Path) -> Path:
    annotated.pictures(folder)
    text = LINES.replace("\n", "\r").replace("x", '"a ""Käse"" \r,"')
    (folder / "t.csv").write_bytes(text.encode("cp1252"))
    return folder / "t.csv"


def tabs(folder: Path) -> Path:
    annotated.pictures(folder)
    (folder / "t.tsv").write_bytes(
        b"\xef\xbb\xbf\n" + LINES.replace(",", "\t").encode()
    )
    return folder / "t.tsv"


def json_lines(folder: Path) -> Path:
    annotated.pictures(folder)
    text = (
        '\ufeff{"label":"red", "image" : "1.png", "n": 12345678901234567890123}\r\n\n'
    )
    (folder / "t.jsonl").write_text(text + '{"image": "4.png", "label": "K\\u00e4"}')
    return folder / "t.jsonl"


def sets_of_labels(folder: Path) -> Path:
    annotated.pictures(folder)
    (folder / "t.csv").write_text("image,label\n1.png,a| b|\nsub/2.png,a\n4.png,\n")
    return folder / "t.csv"


MAKERS: dict[str, Callable[[Path], Path]] = {
    "class folders": class_folders,
    "text folders": text_folders,
    "saved": saved,
    "metadata": metadata,
    "utf-16": utf16,
    "windows": windows,
    "tabs": tabs,
    "json lines": json_lines,
    "sets": sets_of_labels,
}


def opened(path: Path) -> DataSpec:
    sets = path.is_file() and "a| b|" in path.read_text("latin-1")
    return load(str(path), **({"label_separator": "|"} if sets else {}))


def patch(spec: DataSpec, changes: dict[int, str | None]) -> pa.Table:
    rows: list[Row] = list(open_source(spec).rows())
    made = []
    for number, label in changes.items():
        row = rows[number]
        digest = content_hash(read_bytes(row.image))[:12]
        made.append(correction(row, label, digest, "said so"))
    return pa.Table.from_pylist(made, schema=CORRECTIONS)


def content(folder: Path) -> dict[str, bytes]:
    files = [f for f in sorted(folder.rglob("*")) if f.is_file()]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if not _own(f)}


def _own(file: Path) -> bool:
    return ".labelsieve" in file.parts


@pytest.mark.parametrize("kind", MAKERS)
def test_without_corrections_no_byte_changes_and_with_one_the_way_back(
    tmp_path: Path, kind: str
) -> None:
    top = tmp_path / "set"
    top.mkdir()
    spec = opened(MAKERS[kind](top))
    before = content(tmp_path)
    rows = list(open_source(spec).rows())
    write_back.in_place(spec, patch(spec, {}))
    assert content(tmp_path) == before
    # the label that it has
    write_back.in_place(spec, patch(spec, {0: rows[0].label}))
    assert content(tmp_path) == before
    label = next(r.label for r in rows if r.label not in (None, rows[0].label))
    change = patch(spec, {0: label})
    write_back.in_place(spec, change, "scan")
    after = {
        row.image if isinstance(row.image, bytes) else row.path: row.label
        for row in open_source(spec).rows()
    }
    assert label in after.values() and content(tmp_path) != before
    write_back.reverse(spec, change, "scan")
    assert content(tmp_path) == before


# --- copies of what a list or a pattern names


def beside(folder: Path) -> None:
    """What lies there and was not named."""
    (folder / "others").mkdir()
    (folder / "others" / "large.bin").write_bytes(b"x" * 10)
    annotated.pictures(folder / "others")
    (folder / "c.csv").write_text(LINES)


def csv_files(folder: Path) -> str:
    annotated.pictures(folder)
    for name in "ab":
        (folder / f"{name}.csv").write_text(LINES)
    return together([folder / "a.csv", folder / "b.csv"])


def csv_pattern(folder: Path) -> str:
    csv_files(folder)
    return str(folder / "[ab].csv")


def annotations(folder: Path) -> str:
    for part in "ab":
        made = annotated.coco(folder / part)
        annotated.write_json(folder / part / f"{part}.json", made)
    return together([folder / part / f"{part}.json" for part in "ab"])


def one_shard(folder: Path) -> str:
    with tarfile.open(folder / "s.tar", "w") as tar:
        for name, data in (
            ("1.png", b"1"),
            ("1.cls", b"red"),
            ("2.png", b"2"),
            ("2.cls", b"b"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(folder / "s.tar")


@pytest.mark.parametrize("make", [csv_files, csv_pattern, annotations, one_shard])
def test_a_copy_holds_what_was_named_and_its_pictures_alone(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    top = tmp_path / "set"
    top.mkdir()
    name = make(top)
    needed = set(content(top))
    beside(top)
    spec = load(name)
    rows = list(open_source(spec).rows())
    label = next(r.label for r in rows if r.label != rows[0].label)
    change = patch(spec, {0: label})
    write_back.copy(spec, change, tmp_path / "copy")
    copied = set(content(tmp_path / "copy"))
    assert copied <= needed
    # pictures that no row names may stay behind, but no file that was named
    assert {n for n in needed if not n.endswith(".png")} <= copied
    again = load(name.replace(str(top), str(tmp_path / "copy")))
    found = list(open_source(again).rows())
    assert found[0].label == label and len(found) == len(rows)
    assert [read_bytes(r.image) for r in found] == [read_bytes(r.image) for r in rows]
    assert write_back.copy(spec, change, tmp_path / "copy").already
