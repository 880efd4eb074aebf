"""Several annotation files are one data set, and are corrected each in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated
from fixtures.annotated import cvat_tasks, downloaded

from labelsieve.data.images import read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


@pytest.mark.parametrize("inner", ["", "images"])
def test_a_downloaded_folder_is_one_set(tmp_path: Path, inner: str) -> None:
    folder = downloaded(tmp_path / "set", inner)
    source: Any = open_source(DataSpec(str(folder)))
    rows = list(source.rows())
    assert [row.split for row in rows] == ["train"] * 6 + ["val"] * 6
    assert len({row.key for row in rows}) == 12
    assert rows[0].key == "annotations/instances_train.json|100"
    assert all(
        annotated.colour_of(read_bytes(source.read(r.uri))) == r.label for r in rows
    )
    # the val pictures are those of val
    assert "val" in str(rows[6].image.member)
    assert source.classes == ["red", "blue", "green"]
    assert source.class_ids == {"red": 7, "blue": 3, "green": 90}
    assert any("captions_train.json" in note for note in source.notes)
    chosen = list(open_source(DataSpec(str(folder), split="val")).rows())
    assert [row.key for row in chosen] == [row.key for row in rows[6:]]
    with pytest.raises(DataError, match="--split 'x' is no split"):
        list(open_source(DataSpec(str(folder), split="x")).rows())


def test_a_pattern_names_several(tmp_path: Path) -> None:
    folder = downloaded(tmp_path / "set")
    spec = DataSpec(f"{folder}/annotations/instances_*.json")
    assert len(list(open_source(spec).rows())) == 12
    tasks = cvat_tasks(tmp_path / "tasks")
    assert len(list(open_source(DataSpec(f"{tasks}/*/*.xml")).rows())) == 12
