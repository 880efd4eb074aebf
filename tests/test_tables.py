from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelsieve import tables
from labelsieve.errors import DataError, RunError


@given(st.lists(st.sampled_from(["cat", "dog", "", "Cat", "é"]), max_size=60))
def test_counts_are_those_of_a_counter_most_frequent_first(values: list[str]) -> None:
    result = tables.counts(values)
    assert result == dict(Counter(values))
    assert list(result.values()) == sorted(result.values(), reverse=True)
    assert (
        tables.counts(pa.chunked_array([values[:3], values[3:]], pa.string())) == result
    )


def test_sample_id_is_key_and_content() -> None:
    assert (
        tables.make_sample_id("cat/1.png", "0123456789abcdef")
        == "cat/1.png#0123456789ab"
    )


def test_an_id_that_appears_twice_is_named() -> None:
    tables.check_unique(pa.table({"sample_id": ["a", "b"]}))
    with pytest.raises(
        DataError, match=r"^sample_id 'b' appears twice\. .*--id-column"
    ):
        tables.check_unique(pa.table({"sample_id": ["a", "b", "c", "b"]}))


@given(st.permutations(["a", "b", "c"]))
def test_the_same_ids_in_any_order_are_the_same(order: list[str]) -> None:
    tables.check_same_ids(
        pa.table({"sample_id": order}), pa.table({"sample_id": ["a", "b", "c"]})
    )


@pytest.mark.parametrize(
    "ids", [["a", "b"], ["a", "b", "b"], ["a", "b", "d"], ["a", "b", "c", "d"], []]
)
def test_a_lost_doubled_strange_or_added_id_is_found(ids: list[str]) -> None:
    with pytest.raises(AssertionError):
        tables.check_same_ids(
            pa.table({"sample_id": pa.array(ids, pa.string())}),
            pa.table({"sample_id": ["a", "b", "c"]}),
        )


def test_rows_where_there_should_be_none_are_found() -> None:
    nothing = pa.table({"sample_id": pa.array([], pa.string())})
    tables.check_same_ids(nothing, nothing)
    with pytest.raises(AssertionError):
        tables.check_same_ids(pa.table({"sample_id": ["a"]}), nothing)


def test_tables_come_back_and_leave_no_scratch_file(tmp_path: Path) -> None:
    table = pa.table(
        {
            "sample_id": ["a", "line\nbreak", 'quo"te,comma'],
            "true_label": ["x", None, "é"],
        },
        tables.TRUTH,
    )
    tables.write_parquet(table, tmp_path / "t.parquet")
    tables.write_csv(table, tmp_path / "t.csv")
    assert tables.read_parquet(tmp_path / "t.parquet", tables.TRUTH).equals(table)
    read = pacsv.read_csv(
        tmp_path / "t.csv",
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(strings_can_be_null=True),
    )
    assert read.to_pylist() == table.to_pylist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv", "t.parquet"]


def test_a_write_that_fails_leaves_the_old_table(tmp_path: Path) -> None:
    old = pa.table({"sample_id": ["a"]})
    tables.write_parquet(old, tmp_path / "t.parquet")
    kind = pa.month_day_nano_interval()  # Parquet has no such type
    with pytest.raises(pa.ArrowNotImplementedError):
        tables.write_parquet(
            pa.table({"sample_id": pa.array([None], kind)}), tmp_path / "t.parquet"
        )
    assert tables.read_parquet(tmp_path / "t.parquet").equals(old)


def test_a_missing_damaged_or_foreign_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"gone\.parquet' is missing\. Run labelsieve scan again"
    ):
        tables.read_parquet(tmp_path / "gone.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(RunError, match=r"cut\.parquet' is not readable as Parquet"):
        tables.read_parquet(tmp_path / "cut.parquet")
    tables.write_parquet(pa.table({"sample_id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(
        RunError, match=r"other\.parquet' lacks the column 'true_label'"
    ):
        tables.read_parquet(tmp_path / "other.parquet", tables.TRUTH)


def test_no_table_that_a_method_sees_can_hold_the_truth() -> None:
    assert "true_label" not in tables.MANIFEST.names
    assert "true_label" not in tables.SCORES.names


def test_a_flipped_bit_in_the_numbers_is_noticed(tmp_path: Path) -> None:
    """Every byte before the footer, which the run's own checksums cover."""
    path = tmp_path / "t.parquet"
    values = np.random.default_rng(0).random(40)
    table = pa.table({"sample_id": [f"{i}" for i in range(40)], "p_clean": values})
    tables.write_parquet(table, path)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for position in range(footer):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            assert tables.read_parquet(path).equals(table), position
        except RunError as error:
            assert "t.parquet' is not readable as Parquet" in str(error)


def test_columns_of_other_types_are_named(tmp_path: Path) -> None:
    schema = pa.schema([("sample_id", pa.string()), ("p_clean", pa.float64())])
    foreign = pa.table({"sample_id": ["a"], "p_clean": ["high"]})
    tables.write_parquet(foreign, tmp_path / "t.parquet")
    with pytest.raises(RunError, match=r"t\.parquet' has columns of other types"):
        tables.read_parquet(tmp_path / "t.parquet", schema)


def test_a_folder_with_an_equals_sign_is_no_column(tmp_path: Path) -> None:
    table = pa.table({"sample_id": ["a"]})
    tables.write_parquet(table, tmp_path / "year=2020" / "t.parquet")
    assert tables.read_parquet(tmp_path / "year=2020" / "t.parquet").equals(table)


def test_rows_are_found_by_id_without_a_dictionary() -> None:
    names = ["b", "a#1", "", "ä", "a", "\U0001f600", "z"]
    at = tables.RowsOf(pa.chunked_array([names[:3], names[3:]]))
    assert {name: at[name] for name in names} == {n: i for i, n in enumerate(names)}
    assert list(at) == names and len(at) == 7
    assert "a#" not in at and at.get("zz") is None and "zz" not in at
    for number in (0, 7):  # hashed at once, and one by one
        many = tables.RowsOf(pa.array([*names, *map(str, range(number * 1000))]))
        assert many.rows(["z", "no", "b"]).tolist() == [6, -1, 0]
    assert at.rows([]).tolist() == []


def test_few_ids_are_found_without_sorting_all_of_them() -> None:
    names = [f"{n}#é" for n in range(200)]
    rows, fresh = tables.RowsOf(pa.array(names)), tables.RowsOf(pa.array(names))
    for n in range(tables.UNSORTED):
        assert rows[names[n]] == n
    assert "_order" not in vars(rows)
    for looked_up in (fresh, rows):  # the second one sorts
        assert looked_up.get("none") is None and looked_up.get("\udc80") is None
        assert [looked_up[n] for n in names[::7]] == list(range(0, 200, 7))
        assert "_order" in vars(looked_up)
