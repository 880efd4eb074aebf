"""What noise models need, from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import OptionError
from labelsieve.noise.context import Plan, read_matrix
from labelsieve.noise.planting import plant


def spec(path: Path) -> DataSpec:
    return DataSpec(path, id_column="id")


def rows_of(path: Path) -> list[Any]:
    return list(
        open_source(DataSpec(path, truth_column="true_label", id_column="id")).rows()
    )


def test_matrix_files(table: Path, tmp_path: Path) -> None:
    classes = ["one", "three", "two", "zero"]
    (tmp_path / "m.json").write_text('{"one": {"two": 0.25, "zero": 0.5}}')
    result = read_matrix(tmp_path / "m.json", classes)
    assert result.tolist() == [
        [0.25, 0, 0.25, 0.5],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]
    np.savetxt(tmp_path / "m.csv", result, delimiter=",")
    assert np.array_equal(read_matrix(tmp_path / "m.csv", classes), result)
    record = plant(
        spec(table),
        Plan("class-conditional", matrix=tmp_path / "m.csv"),
        tmp_path / "x.parquet",
    )
    ones = sum(r.label == "one" for r in open_source(spec(table)).rows())
    assert record["nominal_rate"] == pytest.approx(0.75 * ones / 39)
    for name, text, message in (
        ("bad.json", '{"uno": {"two": 1}}', "'uno' is not in list"),
        ("bad.csv", "a,b", "cannot be read"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(OptionError, match=message):
            read_matrix(tmp_path / name, classes)
    with pytest.raises(OptionError, match="cannot be opened"):
        read_matrix(tmp_path / "none.csv", classes)


def test_maps_of_what_is_taken_for_what(table: Path, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("one,two\nzero,three\n")
    plant(
        spec(table),
        Plan("asymmetric", 1.0, map=tmp_path / "map.csv"),
        tmp_path / "a.parquet",
    )
    wanted = {"one": "two", "zero": "three", None: None}
    assert all(
        r.label == wanted.get(r.truth, r.truth) for r in rows_of(tmp_path / "a.parquet")
    )
    (tmp_path / "map.csv").write_text("one,tow\n")
    with pytest.raises(OptionError, match="Did you mean 'two'"):
        plant(
            spec(table),
            Plan("asymmetric", 1.0, map=tmp_path / "map.csv"),
            tmp_path / "a.parquet",
        )
    with pytest.raises(OptionError, match="needs --map FILE"):
        plant(spec(table), Plan("asymmetric", 1.0), tmp_path / "a.parquet")
