"""The columns of a run say what its table of scores says, row for row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="the extra 'review' is not installed")

from labelsieve.review.columns import SEARCHES, Columns


@pytest.fixture
def columns(planted: Any) -> Columns:
    return Columns(planted.run)


def test_every_row_is_that_of_the_scores(planted: Any, columns: Columns) -> None:
    rows = planted.run.scores.to_pylist()
    assert len(columns) == len(rows)
    for number, row in enumerate(rows):
        assert columns.sample_id(number) == row["sample_id"]
        assert columns.path(number) == row["path"]
        assert columns.name(columns.given[number]) == row["given_label"]
        assert columns.flagged[number] == row["is_label_issue"]
        assert columns.at[row["sample_id"]] == number


def test_labels_have_numbers_and_what_is_none_has_none(columns: Columns) -> None:
    for name in columns.classes:
        assert columns.name(columns.code(name)) == name
    assert columns.code("zebra") == -1 and columns.code(None) == -1
    assert columns.name(-1) is None


def test_texts_are_found_in_paths_whatever_their_case(columns: Columns) -> None:
    paths = [columns.path(row) for row in range(len(columns))]
    for text in ("ZERO/", "<b>", "00", "nowhere", "."):
        wanted = [text.casefold() in path.casefold() for path in paths]
        assert columns.with_text(text).tolist() == wanted
        assert columns.with_text(text).tolist() == wanted  # kept from before
    for number in range(2 * SEARCHES):
        columns.with_text(str(number))
    assert len(columns._searches) == SEARCHES


def test_what_is_written_in_items_is_searched_too(columns: Columns) -> None:
    count = len(columns)
    letters = [f"Note {row}: the Ärger is GREAT" for row in range(count)]
    letters[3] = ""
    columns.read_contents = lambda: pa.array(letters, pa.large_string())
    assert np.flatnonzero(columns.with_text("note 7:")).tolist() == [7]
    assert np.flatnonzero(~columns.with_text("ärger IS")).tolist() == [3]
    # a name is found as before
    path = columns.path(3)
    assert columns.with_text(path)[3]


def test_rows_are_sorted_by_path(columns: Columns) -> None:
    paths = [columns.path(row) for row in columns.by_name.tolist()]
    assert paths == sorted(paths)
    assert np.array_equal(np.sort(columns.by_name), np.arange(len(columns)))


def test_a_column_of_a_method_is_read_where_there_is_one(
    planted: Any, columns: Columns
) -> None:
    assert columns.number("no such column", 0) is None
    assert columns.number("margin", 0) == planted.run.scores["margin"][0].as_py()


def test_ids_that_are_not_there_are_left_out(columns: Columns) -> None:
    ids = [columns.sample_id(5), "x#y", columns.sample_id(2)]
    assert columns.rows_of(ids).tolist() == [5, 2]
