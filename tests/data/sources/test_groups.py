"""Cells of a Parquet table by row: each group is read once, where rows are asked for in order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.data.sources import _groups, open_source
from labelsieve.data.sources._groups import Cells, storage_order
from labelsieve.data.spec import DataSpec
from labelsieve.features import quality


def test_rows_come_table_by_table_in_the_order_of_their_numbers() -> None:
    uris = [f"row:{n}" for n in range(1000)]
    uris += [f"row:{n}:{part}.parquet" for part in "ab" for n in range(120)]
    # a file may have the name of a row, and more digits than a number
    odd = ["./row:7", "cat/a.png", "cat/b.png", "row:9" + "9" * 30]
    mixed = random.Random(0).sample(uris + odd, len(uris) + len(odd))
    order = storage_order(pa.chunked_array([mixed[:50], mixed[50:]]))
    assert order.dtype == np.int64
    found = [mixed[row] for row in order.tolist()]
    assert [uri for uri in found if uri not in odd] == uris
    assert sorted(order.tolist()) == list(range(len(mixed)))
    assert storage_order(pa.chunked_array([], pa.string())).tolist() == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Groups that were read, one after the other."""
    groups: list[int] = []
    real = pq.ParquetFile.read_row_group

    def read(self: Any, group: int, **words: Any) -> Any:
        groups.append(group)
        return real(self, group, **words)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read)
    return groups


def write(path: Path, cells: list[bytes], group: int) -> Path:
    labels = [f"{n % 2}" for n in range(len(cells))]
    pq.write_table(
        pa.table({"image": cells, "label": labels}), path, row_group_size=group
    )
    return path


def test_pictures_are_looked_at_group_by_group(
    tmp_path: Path, encode: Any, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a manifest are in the order of contents: a group was read for almost each of them."""
    shades = np.random.default_rng(0).integers(0, 256, (60, 6, 6), dtype=np.uint8)
    path = write(tmp_path / "t.parquet", [encode(shade) for shade in shades], 10)
    monkeypatch.setattr(quality, "PART", 16)
    source = open_source(DataSpec(path))
    rows = random.Random(0).sample(range(60), 60)
    uris = pa.chunked_array([[f"row:{row}" for row in rows]])
    hashes = pa.chunked_array([[f"looked-at-in-order-{row}" for row in rows]])
    numbers, thumbs = quality.measure(source, uris, hashes)
    # threads may be a group apart, and read one again
    assert sorted(set(asked)) == [0, 1, 2, 3, 4, 5] and len(asked) < 15
    # and each has what it shows itself
    for place in (0, 17, 59):
        alone = quality.look_at(source, [f"row:{rows[place]}"])[0]
        packed = alone[: quality.NUMBERS].view(np.float32)
        assert np.array_equal(numbers[place], packed)
        assert np.array_equal(
            thumbs[np.array([place])].reshape(-1), alone[quality.NUMBERS :]
        )


def test_rows_around_a_border_read_two_groups_once(
    tmp_path: Path, asked: list[int]
) -> None:
    """Threads ask for neighbours in any order."""
    cells = [bytes([n]) for n in range(30)]
    source = open_source(DataSpec(write(tmp_path / "t.parquet", cells, 10)))
    near = [10, 9, 11, 8, 12, 20, 19, 21, 18]
    assert [source.read(f"row:{row}") for row in near] == [cells[row] for row in near]
    assert asked == [1, 0, 2]


def test_one_step_back_does_not_begin_a_huge_group_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_groups, "KEPT", 0)
    values = [n.to_bytes(4, "big") for n in range(10 * _groups.AT_ONCE)]
    path = write(tmp_path / "t.parquet", values, len(values))
    begun = []
    real = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda *words, **more: begun.append(1) or real(*words, **more),
    )
    cells = Cells(path, "image")
    border = 5 * _groups.AT_ONCE
    for row in (0, border, border - 1, border + 1, len(values) - 1):
        assert cells.read(row) == values[row]
    assert len(begun) == 1
    with pytest.raises(IndexError):
        cells.read(len(values))


def test_a_table_that_is_written_anew_is_opened_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [b"a", b"b"], 1)
    source = open_source(DataSpec(path))
    assert source.read("row:1") == b"b"
    write(path, [b"c", b"d", b"e"], 2)
    assert [source.read(f"row:{n}") for n in range(3)] == [b"c", b"d", b"e"]


def test_of_many_tables_two_keep_pictures(tmp_path: Path) -> None:
    for part in range(5):
        write(tmp_path / f"{part}.parquet", [bytes([part, n]) for n in range(4)], 4)
    source: Any = open_source(DataSpec(tmp_path))
    uris = [row.uri for row in source.rows()]
    assert [source.read(uri) for uri in uris] == [
        bytes([part, n]) for part in range(5) for n in range(4)
    ]
    assert sum(table._cells is not None for table in source.tables) == 2
