"""WebDataset shards: keys as ids, labels beside pictures."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from labelsieve.data.sources import Row, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError

Files = list[tuple[str, bytes]]
# Written by `webdataset.TarWriter`, version 1.0.2: four pictures of one pixel, with .cls and .json.
GOLDEN = Path(__file__).parent / "golden" / "webdataset-000000.tar"


def shard(path: Path, files: Files) -> Path:
    kind: Any = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, kind) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(key: str, **files: Any) -> Files:
    return [
        (f"{key}.jpg", key.encode()),
        *((f"{key}.{k}", v) for k, v in files.items()),
    ]


def rows(path: Any, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(str(path), **options)).rows())


def labels(path: Any, **options: Any) -> list[str | None]:
    return [row.label for row in rows(path, **options)]


@pytest.mark.parametrize("name", ["t.tar", "t.tar.gz"])
def test_two_samples_of_one_key_are_two_pictures(tmp_path: Path, name: str) -> None:
    files = [("a.jpg", b"one"), ("a.cls", b"1"), ("b.jpg", b"two"), ("a.jpg", b"three")]
    path = shard(tmp_path / name, files)
    source = open_source(DataSpec(path))
    found = list(source.rows())
    assert len({row.key for row in found}) == len({row.uri for row in found}) == 3
    read = [source.read(row.uri) for row in found]
    assert read == [b"one", b"two", b"three"]
    # of a run of somebody else
    for odd in ("x", "0", "9", "9" * 5000):
        with (
            pytest.raises(DataError) if odd in ("9", "0") else contextlib.nullcontext()
        ):
            source.read(f"{found[0].uri}%@{odd}")


@pytest.mark.parametrize("name", ["train-0.tar", "train-0.tar.gz"])
def test_keys_are_ids_and_labels_lie_beside(tmp_path: Path, name: str) -> None:
    files = [*sample("a/001", cls=b"3"), *sample("a/002", cls=b"cat\n")]
    files += sample("003", txt=b"a dog")
    path = shard(tmp_path / name, files)
    found = rows(path)
    assert [(r.key, r.label, r.split) for r in found] == [
        ("a/001", "3", "train"),
        ("a/002", "cat", "train"),
        ("003", "a dog", "train"),
    ]
    source = open_source(DataSpec(path))
    for row in reversed(found):
        assert source.read(row.uri) == row.key.encode()


def test_json_has_the_label_under_a_usual_or_a_named_key(tmp_path: Path) -> None:
    one = json.dumps({"label": "cat", "truth": "dog", "n": 7}).encode()
    path = shard(tmp_path / "t.tar", [*sample("1", json=one), *sample("2", json=b"{")])
    assert labels(path) == ["cat", None]
    assert labels(path, label_column="n") == ["7", None]
    assert [r.truth for r in rows(path, truth_column="truth")] == ["dog", None]
    assert [r.truth for r in rows(path)] == [None, None]


def test_a_file_beside_the_shards_names_the_classes(tmp_path: Path) -> None:
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    path = shard(tmp_path / "t.tar", [*sample("1", cls=b"1"), *sample("2", cls=b"5")])
    assert labels(path) == ["dog", "5"]
    source: Any = open_source(DataSpec(path))
    assert source.classes == ["cat", "dog"]


def test_folders_patterns_and_ranges_name_shards(tmp_path: Path) -> None:
    for number in range(3):
        files = sample(f"{number}", cls=b"x")
        shard(tmp_path / f"s-{number:03d}.tar", files)
    assert [r.key for r in rows(tmp_path)] == ["0", "1", "2"]
    assert [r.key for r in rows(tmp_path / "s-*.tar")] == ["0", "1", "2"]
    assert [r.key for r in rows(tmp_path / "s-{000..001}.tar")] == ["0", "1"]
    with pytest.raises(
        DataError, match=r"s-003\.tar' does not exist\. Check the range"
    ):
        rows(tmp_path / "s-{000..003}.tar")
    with pytest.raises(DataError, match=r"x-\*\.tar' fits no file"):
        rows(tmp_path / "x-*.tar")
    with pytest.raises(DataError, match=r"names no range of shards"):
        rows(tmp_path / "s-{0..99999999999}.tar")


def test_a_sample_without_a_picture_keeps_its_row(tmp_path: Path) -> None:
    path = shard(tmp_path / "t.tar", [("1.cls", b"x"), *sample("2", cls=b"y")])
    first, second = rows(path)
    assert (first.key, first.label) == ("1", "x")
    with pytest.raises(ImageError, match="the sample has no picture"):
        first.image.read_bytes()
    assert second.image.read_bytes() == b"2"


def test_two_samples_of_one_key_are_named(tmp_path: Path) -> None:
    path = shard(tmp_path / "t.tar", [*sample("1", cls=b"x"), *sample("1", cls=b"y")])
    with pytest.raises(DataError, match=r"t\.tar' has '1\.jpg' twice\. Two samples"):
        rows(path)


def test_a_broken_shard_is_named(tmp_path: Path) -> None:
    for number in range(2):
        shard(tmp_path / f"{number}.tar", sample("1", cls=b"x"))
    (tmp_path / "1.tar").write_bytes((tmp_path / "1.tar").read_bytes()[:700])
    with pytest.raises(DataError, match=r"1\.tar' cannot be read as tar"):
        rows(tmp_path)


def test_options_of_tables_are_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "t.tar", sample("1", cls=b"x"))
    with pytest.raises(
        DataError, match=r"^--id-column does not apply to .*t\.tar': sam"
    ):
        rows(path, id_column="x")


def test_what_webdataset_wrote_is_read(tmp_path: Path) -> None:
    found = rows(GOLDEN)
    assert [(r.key, r.label) for r in found] == [
        (f"sample{n:03d}", str(n % 2)) for n in range(4)
    ]
    assert labels(GOLDEN, label_column="name") == ["cat", "dog", "cat", "dog"]
    assert all(r.image.read_bytes().startswith(b"\x89PNG") for r in found)
