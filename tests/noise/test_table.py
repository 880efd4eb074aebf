"""Planted errors as a table: paths beside it, or bytes in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.csv as pacsv
import pytest

from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError
from labelsieve.noise.context import Plan
from labelsieve.noise.planting import plant


def spec(path: Path) -> DataSpec:
    return DataSpec(path, id_column="id")


def rows_of(path: Path) -> list[Any]:
    return list(
        open_source(DataSpec(path, truth_column="true_label", id_column="id")).rows()
    )


def test_a_folder_becomes_paths_beside_the_table(
    digit_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "else" / "noisy.csv"
    plant(digit_folder, Plan("pair", 0.5), out)
    content = pacsv.read_csv(out).to_pylist()
    assert len(content) == 40
    for row, read in zip(content, rows_of(out), strict=True):
        assert not Path(row["image"]).is_absolute()
        assert read.image.is_file() and read.image.parent.name == row["true_label"]
    assert {r["given_label"] != r["true_label"] for r in content} == {True, False}


def test_bytes_do_not_go_into_csv(table: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Write -o FILE\.parquet"):
        plant(spec(table), Plan("symmetric", 0.1), tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()
    with pytest.raises(OptionError, match=r"must end in \.parquet or \.csv"):
        plant(spec(table), Plan("symmetric", 0.1), tmp_path / "x.txt")


def test_the_data_are_not_written_over(table: Path) -> None:
    before = table.read_bytes()
    with pytest.raises(OptionError, match="holds the data"):
        plant(spec(table), Plan("symmetric", 0.1), table)
    assert table.read_bytes() == before
