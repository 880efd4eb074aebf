"""Folders and globs of tables, as cloned Hugging Face repositories have them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.data.sources import Row, Source, open_source
from labelsieve.data.sources._keys import Numbers, RowKeys
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import uri_to_path

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture
def clone(tmp_path: Path, digits: Any, encode: Callable[..., bytes]) -> Path:
    """A repository as `push_to_hub` fills it: two splits, three shards and one, a README."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=WORDS)}
    )
    root = tmp_path / "clone"
    (root / "data").mkdir(parents=True)
    (root / "README.md").write_text("---\nlicense: mit\n---\n")
    (root / ".git").mkdir()
    (root / ".git" / "x.csv").write_text("no,data\n")
    images, truth = digits
    for split, first, count in (("train", 0, 3), ("test", 90, 1)):
        for shard in range(count):
            own = range(first + 30 * shard, first + 30 * shard + 30)
            part = datasets.Dataset.from_dict(
                {
                    "image": [{"bytes": encode(images[r]), "path": None} for r in own],
                    "label": [int(truth[r]) for r in own],
                },
                features,
            )
            name = f"{split}-{shard:05d}-of-{count:05d}.parquet"
            part.to_parquet(root / "data" / name)
    return root


def rows(data: Any, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(data, **options)).rows())


def test_a_cloned_repository_is_read_with_its_splits(clone: Path, digits: Any) -> None:
    found = rows(str(clone))
    # the order of the files' names: test comes before train
    expected = [*range(90, 120), *range(90)]
    assert [r.label for r in found] == [WORDS[digits[1][n]] for n in expected]
    assert [r.split for r in found] == ["test"] * 30 + ["train"] * 90
    assert len({r.key for r in found}) == len({r.uri for r in found}) == 120
    source: Any = open_source(DataSpec(str(clone)))
    assert source.classes == WORDS
    for row in found[::17]:
        assert source.read(row.uri) == row.image
    train = rows(str(clone), split="train")
    assert [r.key for r in train] == [r.key for r in found[30:]]
    with pytest.raises(DataError, match=r"^Split 'val' is unknown; there are: test, t"):
        rows(str(clone), split="val")


def test_a_glob_names_some_of_them(clone: Path) -> None:
    found = rows(f"{clone}/data/train-0000[01]-*.parquet")
    assert len(found) == 60
    assert {r.split for r in found} == {"train"}
    assert [r.key for r in found] == [r.key for r in rows(str(clone))[30:90]]
    with pytest.raises(DataError, match=r"\*\.csv' fits no file"):
        rows(f"{clone}/data/*.csv")


def test_ids_are_those_of_the_content_wherever_a_row_is(clone: Path) -> None:
    before = {r.key for r in rows(str(clone))}
    (clone / "data" / "train-00000-of-00003.parquet").rename(clone / "train-x.parquet")
    (clone / "data" / "train-00001-of-00003.parquet").rename(clone / "train-a.parquet")
    (clone / "data" / "train-00002-of-00003.parquet").rename(clone / "train-b.parquet")
    assert {r.key for r in rows(str(clone))} == before


def test_a_shard_that_is_missing_is_said(clone: Path) -> None:
    (clone / "data" / "train-00001-of-00003.parquet").unlink()
    source = open_source(DataSpec(clone))
    assert len(list(source.rows())) == 90
    assert source.notes == ["1 shards are missing: 'data/train-00001-of-00003.parquet'"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"PAR1 cut", r"train-00001-of-00003\.parquet' cannot be read as PARQUET"),
        (b"", r"train-00001-of-00003\.parquet' cannot be read as PARQUET"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            r"train-00001-of-00003\.parquet' is a pointer of Git LFS .* git lfs pull",
        ),
    ],
)
def test_a_broken_shard_is_named(clone: Path, content: bytes, fault: str) -> None:
    (clone / "data" / "train-00001-of-00003.parquet").write_bytes(content)
    with pytest.raises(DataError, match=fault):
        rows(clone)


def test_a_shard_of_other_columns_is_named(clone: Path) -> None:
    other = clone / "data" / "train-00001-of-00003.parquet"
    pq.write_table(pa.table({"image": [b"x"], "other": ["x"]}), other)
    with pytest.raises(DataError, match=r"train-00001-of-00003\.parquet' .*label"):
        rows(clone)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_text_shards_name_files_from_their_own_folders(
    tmp_path: Path, suffix: str
) -> None:
    for folder in ("a", "b/c"):
        (tmp_path / folder).mkdir(parents=True)
        lines = ["image,label"] + [f"{n}.png,{folder[0]}" for n in range(3)]
        text = "\n".join(lines) + "\n"
        if suffix == "tsv":
            text = text.replace(",", "\t")
        if suffix == "jsonl":
            records = [{"image": f"{n}.png", "label": folder[0]} for n in range(3)]
            text = "".join(json.dumps(r) + "\n" for r in records)
        (tmp_path / folder / f"part-{len(folder)}.{suffix}").write_text(text)
    source = open_source(DataSpec(tmp_path))
    found = list(source.rows())
    assert [r.uri for r in found] == [
        *(f"a/{n}.png" for n in range(3)),
        *(f"b/c/{n}.png" for n in range(3)),
    ]
    assert [source.read(r.uri) for r in found] == [tmp_path / r.uri for r in found]
    assert [r.image for r in found] == [tmp_path / r.uri for r in found]
    root = tmp_path / "elsewhere"
    root.mkdir()
    found = rows(tmp_path, root=str(root))
    assert [r.image for r in found] == [root / f"{n}.png" for n in range(3)] * 2
    assert [r.key for r in found][3:] == [f"{n}.png@2" for n in range(3)]


def test_a_column_of_splits_is_followed_where_names_tell_none(tmp_path: Path) -> None:
    for part in "ab":
        text = "image,label,split\n0.png,x,one\n1.png,y,two\n"
        (tmp_path / f"{part}.csv").write_text(text)
    assert [r.split for r in rows(tmp_path)] == ["one", "two"] * 2
    assert [r.label for r in rows(tmp_path, split="two")] == ["y", "y"]
    with pytest.raises(DataError, match=r"^--split 'three' matches no row"):
        rows(tmp_path, split="three")


def test_several_formats_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,label\n")
    (tmp_path / "b.jsonl").write_text("{}\n")
    with pytest.raises(
        DataError, match=r"several formats: csv, jsonl\. Name some .*csv"
    ):
        rows(tmp_path)


def test_an_id_in_two_shards_is_named_with_both(tmp_path: Path) -> None:
    for part in "ab":
        text = f"image,label,id\n0.png,x,{part}\n1.png,y,twice\n"
        (tmp_path / f"{part}.csv").write_text(text)
    with pytest.raises(
        DataError, match=r"'twice' stands in 'a\.csv' row 1 and in 'b\.csv' row 1"
    ):
        rows(tmp_path, id_column="id")


def test_labels_that_may_be_sets_are_asked_about_over_all_shards(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text('image,label\n0.png,"cat,dog"\n')
    (tmp_path / "b.csv").write_text("image,label\n0.png,cat\n1.png,dog\n")
    with pytest.raises(DataError, match=r"look like sets of labels, such as 'cat,dog'"):
        rows(tmp_path)
    assert len(rows(tmp_path, label_separator="none")) == 3


def shards(folder: Path, count: int, size: int) -> Path:
    folder.mkdir()
    for shard in range(count):
        names = [f"images/{shard:03d}/{n:07d}.jpg" for n in range(size)]
        table = pa.table({"image": names, "label": ["ab"[n % 2] for n in range(size)]})
        pq.write_table(table, folder / f"train-{shard:05d}-of-{count:05d}.parquet")
    return folder


def peak(source: Source) -> tuple[int, int]:
    """Rows, and the most bytes that Python and Arrow held while they passed."""
    count, held, before = 0, 0, pa.total_allocated_bytes()
    tracemalloc.start()
    for _ in source.rows():
        count += 1
        if count % 1000 == 0:
            held = max(held, pa.total_allocated_bytes() - before)
    most = tracemalloc.get_traced_memory()[1] + held
    tracemalloc.stop()
    return count, most


@pytest.mark.slow
def test_a_million_rows_are_listed_in_little_memory(tmp_path: Path) -> None:
    source = open_source(DataSpec(shards(tmp_path / "many", 10, 100_000)))
    count, most = peak(source)
    # 12 bytes in a slot per row, twice while the table of them grows
    assert count == 1_000_000
    assert most < 100 * 2**20


def test_rows_pass_without_being_kept(tmp_path: Path) -> None:
    small = peak(open_source(DataSpec(shards(tmp_path / "s", 2, 5_000))))
    large = peak(open_source(DataSpec(shards(tmp_path / "l", 8, 5_000))))
    assert (small[0], large[0]) == (10_000, 40_000)
    # what is kept of a row are the 12 bytes by which it is known again, in a table that is at
    # least a third full
    assert large[1] - small[1] < 30_000 * 72


def test_one_huge_row_group_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forwards and backwards, with little of it in memory."""
    rng = np.random.default_rng(0)
    cells = [rng.bytes(4096) for _ in range(16_000)]
    folder = tmp_path / "one"
    folder.mkdir()
    table = pa.table({"image": cells, "label": ["a"] * len(cells)})
    pq.write_table(table, folder / "0.parquet", row_group_size=len(cells))
    monkeypatch.setattr("labelsieve.data.sources._groups.KEPT", 1 << 20)
    source = open_source(DataSpec(folder))
    uris = [row.uri for row in source.rows()]
    before, held = pa.total_allocated_bytes(), 0
    for number in (0, 1, 130, 131, 15_999, 128, 127, 0, 2500):
        assert source.read(uris[number]) == cells[number]
        held = max(held, pa.total_allocated_bytes() - before)
    assert held < 16 * 2**20


def test_numbers_of_texts_are_those_of_a_dictionary() -> None:
    rng = np.random.default_rng(0)
    numbers, slow = Numbers(), {}
    for value in range(1, 20_000):
        text = f"{rng.integers(0, 9_000)}é"
        assert numbers.get(text) == slow.get(text, 0)
        numbers.put(text, value)
        slow[text] = value
    assert all(numbers.get(text) == value for text, value in slow.items())


def test_uris_lead_back_to_names() -> None:
    keys = RowKeys(None)
    assert keys.take(None, "a%25b") == "a%25b"
    assert uri_to_path("a%25b") == "a%b"
