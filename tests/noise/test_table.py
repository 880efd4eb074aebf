"""Planted errors as a table: paths beside it, or bytes in it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import labelsieve as ls
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


TEXTS = [
    "a good film",
    'bad, "very" bad',
    "=SUM(A1)",
    "\u202e שלום\nline",
    "",
    "x" * 3_000,
]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_texts_stay_as_they_are_and_are_scanned_at_once(
    suffix: str, tmp_path: Path
) -> None:
    rows = {
        "id": [f"t{i}" for i in range(6)],
        "text": TEXTS,
        "label": ["pos", "neg"] * 3,
    }
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    out = tmp_path / f"noisy.{suffix}"
    plant(
        DataSpec(tmp_path / "t.parquet", text_column="text", id_column="id"),
        Plan("pair", 1.0),
        out,
    )
    read = list(
        open_source(
            DataSpec(out, text_column="text", truth_column="true_label", id_column="id")
        ).rows()
    )
    assert [row.image.decode() for row in read] == TEXTS
    assert [row.key for row in read] == rows["id"]
    assert [row.truth for row in read] == rows["label"]
    assert [row.label for row in read] == ["neg", "pos"] * 3


def test_instance_noise_of_texts_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": ["x", "y"]}), tmp_path / "t")
    (tmp_path / "t").rename(tmp_path / "t.parquet")
    data = DataSpec(tmp_path / "t.parquet", text_column="text")
    with pytest.raises(OptionError, match=r"looks at pictures; the data are texts"):
        plant(data, Plan("instance", 0.5), tmp_path / "n.csv")


SETS = [["cat", "dog"], ["dog"], ["cat", "bird", "dog"], [], None, ["bird"]] * 20


@pytest.fixture
def sets(tmp_path: Path) -> DataSpec:
    texts = [f"number {i}" for i in range(len(SETS))]
    rows = {"id": [str(i) for i in range(len(SETS))], "text": texts, "label": SETS}
    pq.write_table(pa.table(rows), tmp_path / "s.parquet")
    return DataSpec(tmp_path / "s.parquet", text_column="text")


def test_sets_are_lists_and_an_empty_one_is_no_missing_one(
    sets: DataSpec, tmp_path: Path
) -> None:
    out = tmp_path / "noisy.parquet"
    record = plant(sets, Plan("sets", 0.3, added=0.2), out)
    found = pq.read_table(out).to_pylist()
    assert [sorted(row["true_label"] or []) for row in found] == [
        sorted(one or []) for one in SETS
    ]
    assert [row["true_label"] is None for row in found] == [s is None for s in SETS]
    gone = new = 0
    for row in found:
        true, given = set(row["true_label"] or ()), set(row["given_label"] or ())
        gone, new = gone + len(true - given), new + len(given - true)
    assert (sum(record["dropped"]), sum(record["added"])) == (gone, new)
    assert gone > 20 and new > 10 and record["labelled"] == 100
    # and it opens as what it is
    read = open_source(ls.load(out, truth_column="true_label"))
    assert read.labels_are == "set"  # type: ignore[attr-defined]


def test_what_csv_cannot_say_of_sets_is_refused(sets: DataSpec, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"A row has no set.*Write -o FILE\.parquet"):
        plant(sets, Plan("sets", 0.3), tmp_path / "n.csv")
    assert not (tmp_path / "n.csv").exists()


def test_noise_of_the_other_kind_is_refused(sets: DataSpec, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"have a set of labels.*Take --kind sets"):
        plant(sets, Plan("symmetric", 0.3), tmp_path / "n.csv")


def test_sets_in_csv_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = {"text": ["a", "b", "c"], "label": [["cat", "dog"], [], ["dog"]]}
    pq.write_table(pa.table(rows), tmp_path / "s.parquet")
    data = DataSpec(tmp_path / "s.parquet", text_column="text")
    plant(data, Plan("sets", 0.0), tmp_path / "n.csv")
    named = {"text_column": "text", "label_separator": "|"}
    read = open_source(DataSpec(tmp_path / "n.csv", **named))  # type: ignore[arg-type]
    assert [row.label for row in read.rows()] == ['["cat", "dog"]', "[]", '["dog"]']
    rows["label"] = [["a|b"], [], ["dog"]]
    pq.write_table(pa.table(rows), tmp_path / "s.parquet")
    with pytest.raises(DataError, match=r"'a\|b' holds a \|"):
        plant(data, Plan("sets", 0.0), tmp_path / "m.csv")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("labels", [("a|b", "b"), ("a", "b")])
def test_the_next_command_reads_what_was_written(
    call: Callable[..., Any], tmp_path: Path, labels: tuple[str, str], suffix: str
) -> None:
    table, out = tmp_path / "t.csv", tmp_path / f"noisy table.{suffix}"
    rows = [f"what number {n} says,{labels[n % 2]}" for n in range(12)]
    table.write_text("\n".join(["text,label", *rows]))
    sets = "|" in labels[0]
    words = ["--label-separator", "|", "--kind", "sets"] if sets else []
    told = call("noise", str(table), "--rate", "0.2", "-o", str(out), *words).out
    command = shlex.split(told.partition("labelsieve scan ")[2])
    assert command[:3] == [str(out), "--truth-column", "true_label"]
    read = call("scan", *command, "--preflight", "--json").json()
    assert read["images"] == 12 and read["classes"].keys() == {"a", "b"}


def test_the_record_replaces_no_file_of_somebody_else(
    table: Path, tmp_path: Path
) -> None:
    beside = tmp_path / "n.parquet.json"
    beside.write_text('{"mine": 1}')
    with pytest.raises(OptionError, match="is no record of planted errors"):
        plant(spec(table), Plan("symmetric", 0.1), tmp_path / "n.parquet")
    assert beside.read_text() == '{"mine": 1}'
    assert not (tmp_path / "n.parquet").exists()
    beside.unlink()
    for _ in range(2):
        plant(spec(table), Plan("symmetric", 0.1), tmp_path / "n.parquet")
    # nor the data, where they have that name
    named = table.rename(tmp_path / "d.csv.json")
    with pytest.raises(OptionError, match="holds the data"):
        plant(spec(named), Plan("symmetric", 0.1), tmp_path / "d.csv")
