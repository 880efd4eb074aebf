from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelsieve.data.load import load
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import LabelsieveError, OptionError
from labelsieve.noise.context import Plan
from labelsieve.noise.planting import plant


def spec(path: Path) -> DataSpec:
    return DataSpec(path, id_column="id")


def rows_of(path: Path) -> list[Any]:
    return list(
        open_source(DataSpec(path, truth_column="true_label", id_column="id")).rows()
    )


def test_the_table_scans_as_it_is_and_holds_the_truth(
    table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "noisy.parquet"
    record = plant(spec(table), Plan("symmetric", 0.4, seed=3), out)
    before, after = list(open_source(spec(table)).rows()), rows_of(out)
    assert [r.key for r in after] == [f"d{i}" for i in range(40)]
    assert [r.image for r in after] == [r.image for r in before]
    assert [r.truth for r in after] == [r.label for r in before]
    wrong = [a.label != b.label for a, b in zip(after, before, strict=True)]
    assert not wrong[3] and after[3].label is None
    assert (
        record["realised_rate"] == sum(wrong) / 39 and record["wrong"] == sum(wrong) > 5
    )
    assert (
        record["nominal_rate"] == 0.4
        and record["seed"] == 3
        and record["labelled"] == 39
        and record["images"] == 40
    )
    assert (
        np.trace(record["counts"]) == 39 - record["wrong"]
        and np.sum(record["counts"]) == 39
    )
    kept = json.loads((tmp_path / "noisy.parquet.json").read_text())
    assert kept == {k: v for k, v in record.items() if k not in ("table", "next")}
    assert json.loads(pq.read_schema(out).metadata[b"labelsieve"]) == kept


def test_the_seed_decides_and_the_fingerprint_tells(
    table: Path, tmp_path: Path
) -> None:
    one, again, other = (
        plant(spec(table), Plan("symmetric", 0.4, seed=s), tmp_path / f"{n}.parquet")[
            "fingerprint"
        ]
        for n, s in enumerate((1, 1, 2))
    )
    assert one == again != other
    assert [r.label for r in rows_of(tmp_path / "0.parquet")] == [
        r.label for r in rows_of(tmp_path / "1.parquet")
    ]


def test_recorded_labels_against_the_true_ones(table: Path, tmp_path: Path) -> None:
    data = DataSpec(table, id_column="id", label_column="label")
    record = plant(data, Plan("recorded", recorded="person"), tmp_path / "r.parquet")
    read = rows_of(tmp_path / "r.parquet")
    source = pq.read_table(table).to_pylist()
    assert [r.label for r in read] == [s["person"] for s in source]
    assert [r.truth for r in read] == [s["label"] for s in source]
    wrong = sum(s["label"] is not None and s["label"] != s["person"] for s in source)
    assert record["wrong"] == wrong > 0 and record["nominal_rate"] is None
    with pytest.raises(OptionError, match="needs two columns"):
        plant(spec(table), Plan("recorded", recorded="person"), tmp_path / "r.parquet")


def test_instance_noise_reads_the_pictures_and_leaves_the_unreadable(
    table: Path, tmp_path: Path
) -> None:
    plant(spec(table), Plan("instance", 0.9), tmp_path / "i.parquet")
    read, before = (
        rows_of(tmp_path / "i.parquet"),
        list(open_source(spec(table)).rows()),
    )
    assert read[7].label == before[7].label
    assert sum(a.label != b.label for a, b in zip(read, before, strict=True)) > 25
    centred = plant(
        spec(table), Plan("instance", 0.9, centre=True), tmp_path / "c.parquet"
    )
    assert (
        centred["fingerprint"]
        != json.loads((tmp_path / "i.parquet.json").read_text())["fingerprint"]
    )


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan("symetric", 0.1), "Did you mean 'symmetric'"),
        (Plan("symmetric"), "needs --rate"),
        (Plan("symmetric", 1.5), "rate of 1.5 is impossible"),
        (Plan("class-conditional"), "needs 'matrix'"),
    ],
)
def test_mistakes_leave_nothing_behind(
    table: Path, tmp_path: Path, plan: Plan, message: str
) -> None:
    with pytest.raises(LabelsieveError, match=message):
        plant(spec(table), plan, tmp_path / "out.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_limit_takes_the_same_images_for_every_noise_and_part_of_a_larger_one(
    table: Path, tmp_path: Path
) -> None:
    keys = {}
    for name, plan in {
        "few": Plan("symmetric", 0.3, limit=10),
        "seed": Plan("symmetric", 0.3, seed=9, limit=10),
        "other": Plan("pair", 0.5, limit=10),
        "recorded": Plan("recorded", recorded="person", limit=10),
        "more": Plan("symmetric", 0.3, limit=25),
        "all": Plan("symmetric", 0.3, limit=99),
    }.items():
        record = plant(
            load(spec(table), label_column="label"), plan, tmp_path / f"{name}.parquet"
        )
        rows = rows_of(tmp_path / f"{name}.parquet")
        keys[name] = [r.key for r in rows]
        assert record["images"] == len(rows) and all(r.image for r in rows)
    assert (
        keys["few"] == keys["seed"] == keys["other"] == keys["recorded"]
        and len(keys["few"]) == 10
    )
    assert (
        set(keys["few"]) < set(keys["more"]) < set(keys["all"])
        and len(keys["all"]) == 40
    )
    assert keys["few"] != keys["all"][:10], "drawn, not the first ones"
