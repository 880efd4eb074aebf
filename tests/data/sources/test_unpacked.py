"""Tables that are packed by themselves are read like others, and damage is named."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from labelsieve.data.sources import open_source
from labelsieve.data.sources._unpacked import bare, packed_like, whole_suffix
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
}
CSV = "image;label\na.png;Käse\nb.png;dog\n"


def found(path: Path) -> list[tuple[str, str | None]]:
    return [(row.path, row.label) for row in open_source(DataSpec(path)).rows()]


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_every_packing(tmp_path: Path, suffix: str, encoding: str) -> None:
    path = tmp_path / f"T.CSV{suffix.upper()}"
    path.write_bytes(PACK[suffix](CSV.encode(encoding)))
    expected = [("a.png", "Käse"), ("b.png", "dog")]
    assert found(path) == expected
    if encoding == "utf-8-sig":
        lines = b'{"image": "a.png", "label": "K\xc3\xa4se"}\n{"image": "b.png", "label": "dog"}'
        (tmp_path / f"t.jsonl{suffix}").write_bytes(PACK[suffix](lines))
        assert found(tmp_path / f"t.jsonl{suffix}") == expected
        tabs = CSV.replace(";", "\t").encode()
        (tmp_path / f"t.tsv{suffix}").write_bytes(PACK[suffix](tabs))
        assert found(tmp_path / f"t.tsv{suffix}") == expected


@pytest.mark.parametrize("suffix", PACK)
def test_damage_is_named(tmp_path: Path, suffix: str) -> None:
    lines = "".join(f"{n}.png,{n * n % 97}\n" for n in range(20_000))
    packed = PACK[suffix](f"image,label\n{lines}".encode())
    path = tmp_path / f"t.csv{suffix}"
    for content in (packed[: len(packed) // 2], packed[:-1], b"nothing", b""):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            found(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_in_several_parts_is_one(tmp_path: Path) -> None:
    # as pigz and bgzip write it
    parts = gzip.compress(b"image,label\na.png,x\n") + gzip.compress(b"b.png,y\n")
    (tmp_path / "t.csv.gz").write_bytes(parts)
    assert found(tmp_path / "t.csv.gz") == [("a.png", "x"), ("b.png", "y")]


def test_folders_of_packed_shards(tmp_path: Path) -> None:
    for split in ("train", "test"):
        table = f"image,label\n{split}.png,x\n".encode()
        (tmp_path / f"{split}.csv.gz").write_bytes(gzip.compress(table))
    rows = list(open_source(DataSpec(tmp_path)).rows())
    assert [(r.path, r.split) for r in rows] == [
        ("test.png", "test"),
        ("train.png", "train"),
    ]


@pytest.mark.parametrize("suffix", PACK)
def test_packing_again_depends_on_the_bytes_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.csv{suffix}"
    path.write_bytes(PACK[suffix](b"old"))
    made = [tmp_path / "1", tmp_path / "2"]
    for target in made:
        with packed_like(path, target) as out:
            out.write(b"ne")
            out.write(b"w")
    first = made[0].read_bytes()
    assert first == made[1].read_bytes()
    assert {".gz": gzip, ".bz2": bz2, ".xz": lzma}.get(suffix, Zstd).decompress(
        first
    ) == b"new"


class Zstd:
    @staticmethod
    def decompress(data: bytes) -> bytes:
        return bytes(pa.input_stream(pa.py_buffer(data), compression="zstd").read())


def test_names() -> None:
    for name, inner, suffix in (
        ("a/t.csv.gz", "a/t.csv", ".csv.gz"),
        ("t.csv", "t.csv", ".csv"),
        ("t.gz", "t", ".gz"),
    ):
        assert bare(Path(name)) == Path(inner) and whole_suffix(Path(name)) == suffix
