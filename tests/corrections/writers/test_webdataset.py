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
