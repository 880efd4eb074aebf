"""Zip and tar files of class folders, read where they lie."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labelsieve
from labelsieve.data.sources import Row, _stores, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError

NAMES = ["photos/cat/1.png", "photos/dog/2.png", "photos/dog/sub/3.png"]
KINDS = ["t.zip", "t.tar", "t.tar.gz", "t.tgz", "t.tar.xz"]


def pack(path: Path, files: dict[str, bytes]) -> Path:
    """As zip and tar write them."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in files.items():
                packed.writestr(name, data)
        return path
    kind = {"t.tar": "w", "t.tar.xz": "w:xz"}.get(path.name, "w:gz")
    with tarfile.open(path, kind) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def content(name: str) -> bytes:
    return f"picture {name}".encode()


def rows(path: Path, **options: Any) -> tuple[list[Row], list[str]]:
    source = open_source(DataSpec(path, **options))
    return list(source.rows()), source.notes


def bytes_of(row: Row) -> bytes:
    data: bytes = row.image if isinstance(row.image, bytes) else row.image.read_bytes()
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_class_folders_are_read_as_in_a_folder(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / kind, {name: content(name) for name in NAMES})
    found, notes = rows(path)
    assert [(r.key, r.label) for r in found] == list(
        zip(NAMES, ["cat", "dog", "dog"], strict=True)
    )
    assert [bytes_of(r) for r in found] == [content(n) for n in NAMES]
    source = open_source(DataSpec(path))
    assert [source.read(r.uri) for r in reversed(found)] == [
        content(n) for n in reversed(NAMES)
    ]
    assert notes == []


@pytest.mark.parametrize("kind", KINDS[:3])
def test_splits(tmp_path: Path, kind: str) -> None:
    names = ["a/train/cat/1.png", "a/train/dog/2.png", "a/val/cat/3.png"]
    path = pack(tmp_path / kind, {name: b"x" for name in names})
    assert [(r.label, r.split) for r in rows(path)[0]] == [
        ("cat", "train"),
        ("dog", "train"),
        ("cat", "val"),
    ]
    assert [r.key for r in rows(path, split="val")[0]] == ["a/val/cat/3.png"]
    with pytest.raises(
        DataError, match=r"^Split 'test' is unknown; there are: train, v"
    ):
        rows(path, split="test")


@pytest.mark.parametrize("kind", KINDS[:3])
def test_members_that_lead_out_are_left_out_and_named(
    tmp_path: Path, kind: str
) -> None:
    names = ["cat/1.png", "../dog/2.png", "/etc/dog/3.png", "dog/4.png", "dog/a.txt"]
    found, notes = rows(pack(tmp_path / kind, {name: b"x" for name in names}))
    assert [r.key for r in found] == ["cat/1.png", "dog/4.png"]
    assert notes == [
        f"2 members of '{kind}' lead out of it, such as '../dog/2.png', and were left out",
        f"1 file in '{kind}' is no image by the suffix",
    ]


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name, link in (("cat/1.png", ""), ("cat/2.png", "/etc/passwd")):
            info = tarfile.TarInfo(name)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            tar.addfile(info)
    found, notes = rows(tmp_path / "t.tar")
    assert [r.key for r in found] == ["cat/1.png"]
    assert notes == ["1 links and devices in 't.tar' were left out"]


def test_a_member_that_is_there_twice_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for data in (b"old", b"newer"):
            info = tarfile.TarInfo("cat/1.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    found, notes = rows(tmp_path / "t.tar")
    assert [bytes_of(r) for r in found] == [b"newer"]
    assert notes == ["'cat/1.png' is in 't.tar' twice; the last was read"]


def test_a_table_in_it_is_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "t.zip", {"1.png": b"x", "labels.csv": b"image,label"})
    with pytest.raises(DataError, match=r"has no class folders\. If a table has the"):
        rows(path)
    path = pack(tmp_path / "t.zip", {"a/1.png": b"x", "labels.csv": b"image,label"})
    assert rows(path)[1] == [
        "'labels.csv' in 't.zip' was not read; if it holds the labels, unpack it and scan "
        "it with --root t.zip"
    ]


@pytest.mark.parametrize("kind", ["t.zip", "t.tar"])
def test_a_table_names_members(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / kind, {name: content(name) for name in NAMES})
    lines = ["image,label", *(f"./{n},x" for n in NAMES), "photos/gone.png,x"]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    source = open_source(DataSpec(tmp_path / "labels.csv", root=str(path)))
    found = list(source.rows())
    assert [bytes_of(r) for r in found[:3]] == [content(n) for n in NAMES]
    assert [source.read(r.uri) for r in found[:3]] == [content(n) for n in NAMES]
    with pytest.raises(ImageError, match=rf"not in '{kind}'"):
        bytes_of(found[3])


def test_a_compressed_tar_cannot_be_a_root(tmp_path: Path) -> None:
    path = pack(tmp_path / "t.tar.gz", {"a/1.png": b"x"})
    (tmp_path / "labels.csv").write_text("image,label\na/1.png,x\n")
    with pytest.raises(DataError, match=r"is neither a folder nor a zip or tar file"):
        rows(tmp_path / "labels.csv", root=str(path))


# --- hostile and damaged files


@pytest.mark.parametrize("kind", KINDS[:4])
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, kind: str) -> None:
    files = {f"cat/{n}.png": os.urandom(700) for n in range(30)}
    path = pack(tmp_path / kind, files)
    whole = path.read_bytes()
    for data in (b"", b"nonsense", whole[:5000]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"{kind}' cannot be read as") as caught:
            rows(path)
        assert "\n" not in str(caught.value)


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = pack(tmp_path / "t.tar", {f"cat/{n}.png": b"x" for n in range(9)})
    data = bytearray(path.read_bytes())
    data[4 * 1024 : 4 * 1024 + 100] = b"\xff" * 100
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"bad checksum at byte 4,096|cannot be read as"
    ):
        rows(path)


def test_a_header_of_gigabytes_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    with (tmp_path / "t.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 33)
    with pytest.raises(DataError, match=r"a header of 8,589,934,592 bytes"):
        rows(tmp_path / "t.tar")


def test_a_zip_bomb_is_one_corrupt_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stores, "BOMB", 1 << 20)
    path = pack(tmp_path / "t.zip", {"a/1.png": bytes(4 << 20), "a/2.png": b"x"})
    first, second = rows(path)[0]
    with pytest.raises(ImageError, match="decompression bomb"):
        bytes_of(first)
    assert bytes_of(second) == b"x"


def test_a_member_that_is_packed_in_another_way_is_not_called_encrypted(
    tmp_path: Path,
) -> None:
    path = pack(tmp_path / "t.zip", {"a/1.png": b"x"})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + offset] = 77  # a compression method that there is not
    path.write_bytes(data)
    with pytest.raises(ImageError, match="packed in a way that is not read"):
        bytes_of(rows(path)[0][0])


def test_a_member_that_needs_a_password_is_one_corrupt_row(tmp_path: Path) -> None:
    path = pack(tmp_path / "t.zip", {"a/1.png": b"x"})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1  # "encrypted", section 4.4.4 of APPNOTE
    path.write_bytes(data)
    with pytest.raises(ImageError, match="encrypted"):
        bytes_of(rows(path)[0][0])


@pytest.mark.parametrize("kind", ["t.zip", "t.tar", "t.tar.gz"])
def test_a_scan_of_a_packed_folder_is_that_of_the_folder(
    tmp_path: Path, kind: str, digit_folder: Path
) -> None:
    files = {}
    for file in sorted(digit_folder.rglob("*.png")):
        files[f"digits/{file.relative_to(digit_folder).as_posix()}"] = file.read_bytes()
    files["digits/zero/broken.png"] = b"no picture"
    path = pack(tmp_path / kind, files)
    choices: dict[str, Any] = {"method": "zero-shot", "model": "tiny"}
    packed = labelsieve.scan(path, output=tmp_path / "packed", **choices)
    plain = labelsieve.scan(digit_folder, output=tmp_path / "plain", **choices)
    by_key: Callable[[Any], dict[str, float]] = lambda run: {  # noqa: E731
        r["path"].removeprefix("digits/"): r["p_clean"]
        for r in run.scores.to_pylist()
        if r["status"] == "ok"
    }
    assert by_key(packed) == by_key(plain)
    corrupt = [r for r in packed.scores.to_pylist() if r["status"] == "corrupt"]
    assert [r["path"] for r in corrupt] == ["digits/zero/broken.png"]
