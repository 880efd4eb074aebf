"""WebDataset: a label changes in its shard; all other members are the same bytes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from labelsieve.corrections.writers.webdataset import open_writer
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

GOLDEN = (
    Path(__file__).parents[2] / "data" / "sources" / "golden" / "webdataset-000000.tar"
)


def rewritten(path: Path, changes: dict[int, str | None], **options: Any) -> Path:
    spec = DataSpec(str(path), **options)
    source: Any = open_source(spec)
    writer: Any = open_writer(spec, source)
    new = path.with_name("new.tar")
    writer._write(source, path, changes, new)
    return new


def members(path: Path) -> dict[str, tuple[Any, bytes]]:
    found = {}
    with tarfile.open(path) as tar:
        for info in tar:
            about = (info.mode, info.mtime, info.uid, info.gid, info.uname, info.type)
            member = tar.extractfile(info)
            found[info.name] = (about, member.read() if member else b"")
    return found


@pytest.mark.parametrize("label", ["0", "a much longer label", "ö" * 400])
def test_what_the_library_wrote_changes_in_one_member(
    tmp_path: Path, label: str
) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(GOLDEN.read_bytes())
    before = members(path)
    after = members(rewritten(path, {1: label}))
    about, _ = before["sample001.cls"]
    assert after == {**before, "sample001.cls": (about, label.encode())}
    left = members(rewritten(path, {0: None, 3: None}))
    assert left == {k: v for k, v in before.items() if k[8] in "12"}
    assert rewritten(path, {}).read_bytes() == path.read_bytes()


def test_a_key_of_the_json_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(GOLDEN.read_bytes())
    before = members(path)
    after = members(rewritten(path, {1: "bird"}, label_column="name"))
    about, text = before["sample001.json"]
    changed = (about, text.replace(b"dog", b"bird"))
    assert after == {**before, "sample001.json": changed}


def test_long_names_keep_their_headers(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    name = "n" * 150
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for kind, data in (("png", b"x"), ("cls", b"old")):
            info = tarfile.TarInfo(f"{name}ä.{kind}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    after = members(rewritten(path, {0: "newer"}))
    assert [data for _, data in after.values()] == [b"x", b"newer"]
    assert members(rewritten(path, {0: None})) == {}


def test_compressed_shards_say_why_not(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for kind in ("png", "cls"):
            info = tarfile.TarInfo(f"1.{kind}")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(DataError, match="is compressed, and would not be the same"):
        rewritten(path, {0: "y"})


def packed(path: Path, *files: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    "holder, old, new",
    [
        ("cls", b"cat\n", b"dog\n"),
        ("json", b'{"x": 1, "label": "cat"}', b'{"x": 1, "label": "dog"}'),
        # the first of the names that the reader knows
        (
            "json",
            b'{"class": "a", "label": "cat"}',
            b'{"class": "a", "label": "dog"}',
        ),
        ("json", b'\xef\xbb\xbf{"label": "cat"}', b'\xef\xbb\xbf{"label": "dog"}'),
        ("txt", b"cat", b"dog"),
    ],
)
def test_only_the_member_changes_that_the_label_was_read_from(
    tmp_path: Path, holder: str, old: bytes, new: bytes
) -> None:
    # what reading looks at after the holder
    others = {"cls": ("json", "txt"), "json": ("txt",), "txt": ()}[holder]
    beside = {"json": b'{"label": "kept"}', "txt": b"a caption"}
    path = packed(
        tmp_path / "a.tar",
        ("1.png", b"x"),
        (f"1.{holder}", old),
        *((f"1.{kind}", beside[kind]) for kind in others),
        ("2.png", b"y"),
        ("2.cls", b"cat"),
    )
    before = members(path)
    after = members(rewritten(path, {0: "dog"}))
    about, _ = before[f"1.{holder}"]
    assert after == {**before, f"1.{holder}": (about, new)}


def test_of_two_samples_with_one_key_the_one_that_is_meant_changes(
    tmp_path: Path,
) -> None:
    path = packed(
        tmp_path / "a.tar",
        *(("1.png", b"x"), ("1.cls", b"cat")),
        *(("2.png", b"y"), ("2.cls", b"cat")),
        *(("1.png", b"z"), ("1.cls", b"cat")),
    )
    labels = []
    with tarfile.open(rewritten(path, {2: "dog"})) as tar:
        for info in tar:
            member = tar.extractfile(info)
            assert member is not None
            labels.append(member.read())
    assert labels == [b"x", b"cat", b"y", b"cat", b"z", b"dog"]
    with tarfile.open(rewritten(path, {0: None})) as tar:
        assert tar.getnames() == ["2.png", "2.cls", "1.png", "1.cls"]


@pytest.mark.parametrize(
    "text, fault",
    [
        (b'{"label": "a", "label": "cat"}', "'label' stands 2 times"),
        ('{"label": "cat"}'.encode("utf-16"), "it is not UTF-8"),
        (b"[1, 2]", "the label was not found"),
        (b'{"label": 7}', "has a number as its label"),
    ],
)
def test_json_that_cannot_be_written_back_is_one_line(
    tmp_path: Path, text: bytes, fault: str
) -> None:
    path = packed(
        tmp_path / "a.tar",
        *(("1.png", b"x"), ("1.json", text)),
        *(("2.png", b"y"), ("2.cls", b"cat")),
    )
    with pytest.raises(DataError, match=fault):
        rewritten(path, {0: "dog"})
