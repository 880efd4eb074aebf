from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.corrections.writers import find_rows
from labelsieve.data.images import content_hash
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def test_rows_are_found_by_place_label_and_image(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    images = [b"one", b"two", b"two"]
    pq.write_table(pa.table({"image": images, "label": ["cat", "cat", "dog"]}), path)
    source: Any = open_source(DataSpec(path))
    rows = list(source.rows())

    def row(number: int, **changed: Any) -> dict[str, Any]:
        about = {
            "uri": rows[number].uri,
            "path": "p",
            "old_label": rows[number].label,
            "new_label": "emu",
        }
        return {
            **about,
            "sample_id": f"k#{content_hash(images[number])[:12]}",
            **changed,
        }

    assert find_rows(source, [row(2), row(0)]) == {0: "emu", 2: "emu"}
    for wrong in (
        row(0, old_label="dog"),
        row(0, sample_id="k#" + "0" * 12),
        row(0, uri="row:9"),
    ):
        with pytest.raises(DataError, match="Were they changed"):
            find_rows(source, [wrong])


def test_the_same_path_twice_with_two_labels(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,label\na.png,cat\na.png,dog\n")
    source: Any = open_source(DataSpec(path))
    wanted = [
        {
            "uri": "a.png",
            "path": "a.png",
            "old_label": "dog",
            "new_label": "emu",
            "sample_id": "a.png@2#",
        }
    ]
    assert find_rows(source, wanted) == {1: "emu"}


def test_rows_are_known_by_their_id_not_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "id,image,label\n1,a.png,cat\n2,a.png,cat\n3,b.png,cat\n"
    )  # one image, two rows
    source: Any = open_source(DataSpec(tmp_path / "t.csv", id_column="id"))
    second = {
        "sample_id": "2#",
        "uri": "a.png",
        "path": "a.png",
        "old_label": "cat",
        "new_label": "dog",
    }
    assert find_rows(source, [second]) == {1: "dog"}
    plain: Any = open_source(
        DataSpec(tmp_path / "t.csv")
    )  # without ids, the place is what is left
    assert find_rows(plain, [second]) == {0: "dog"}
