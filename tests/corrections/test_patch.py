from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from labelsieve import tables
from labelsieve.corrections.patch import patch_id, read_patch, write_patch
from labelsieve.errors import DataError, RunError
from labelsieve.tables import CORRECTIONS


def rows(**changed: Any) -> pa.Table:
    row = {
        "sample_id": "a#1",
        "uri": "x/a",
        "path": "x/a",
        "action": "relabel",
        "old_label": "x",
        "new_label": "y",
        "reason": "",
        "new_uri": None,
    }
    return pa.Table.from_pylist([{**row, **changed}], schema=CORRECTIONS)


def test_a_patch_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_patch(rows(), tmp_path / "p.parquet", {"made_folders": ["é"]})
    table, facts = read_patch(tmp_path / "p.parquet")
    assert table.equals(rows()) and facts == {"made_folders": ["é"]}


def test_a_patch_is_known_by_what_it_does(tmp_path: Path) -> None:
    assert patch_id(rows()) == patch_id(rows(new_uri="y/a", reason="other"))
    assert (
        len(
            {
                patch_id(rows()),
                patch_id(rows(new_label="z")),
                patch_id(rows(sample_id="b#1")),
            }
        )
        == 3
    )
    both = pa.concat_tables([rows(), rows(sample_id="b#1")])
    assert patch_id(both) == patch_id(both.take([1, 0]))


def test_damaged_patches_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    for broken, error, words in [
        (rows(action="delete"), DataError, "neither a new label nor a drop"),
        (rows(new_label=None), DataError, "neither a new label nor a drop"),
        (pa.concat_tables([rows(), rows()]), DataError, "appears twice"),
        (rows().drop_columns(["uri"]), RunError, "is not a patch"),
    ]:
        tables.write_parquet(broken, path)
        with pytest.raises(error, match=words):
            read_patch(path)


def test_a_flipped_bit_anywhere_is_named_or_changes_nothing(tmp_path: Path) -> None:
    """Facts stand in the schema, of which Parquet keeps no checksum."""
    path = tmp_path / "p.parquet"
    write_patch(rows(), path, {"scan": "abcdefgh"})
    right = read_patch(path)
    assert right[1] == {"scan": "abcdefgh"}
    whole = path.read_bytes()
    named = 0
    for position in range(len(whole)):
        hurt = bytearray(whole)
        hurt[position] ^= 1 << position % 8
        path.write_bytes(hurt)
        try:
            table, facts = read_patch(path)
        except (DataError, RunError):
            named += 1
        else:
            assert (table.to_pylist(), facts) == (right[0].to_pylist(), right[1])
    assert named
