"""Each of several annotation files is corrected in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fixtures.annotated import cvat_tasks, downloaded

from labelsieve import tables
from labelsieve.corrections import write_back
from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec


def correction(source: Any, number: int, label: str | None) -> pa.Table:
    row = list(source.rows())[number]
    entry = dict.fromkeys(tables.CORRECTIONS.names)
    digest = content_hash(read_bytes(source.read(row.uri)))
    entry |= {
        "sample_id": f"{row.key}#{digest[:12]}",
        "uri": row.uri,
        "path": row.path,
        "old_label": row.label,
        "new_label": label,
        "action": "relabel",
    }
    return pa.Table.from_pylist([entry], schema=tables.CORRECTIONS)


@pytest.mark.parametrize("make", [downloaded, cvat_tasks])
def test_each_file_is_corrected_in_place_and_back(tmp_path: Path, make: Any) -> None:
    folder = make(tmp_path / "set")
    files = [f for f in sorted(folder.rglob("*")) if f.suffix in (".json", ".xml")]
    before = {file: file.read_bytes() for file in files}
    spec = DataSpec(str(folder))
    source: Any = open_source(spec)
    patch = correction(source, 7, "green")
    write_back.in_place(spec, patch, "scan")
    changed = [file for file in files if file.read_bytes() != before[file]]
    assert [f.relative_to(folder).as_posix() for f in changed] == [source.names[1]]
    again: Any = open_source(spec)
    assert [row.label for row in again.rows()][7] == "green"
    # the same scan with another decision: made from the originals
    other = correction(source, 0, "blue")
    write_back.in_place(spec, other, "scan")
    labels = [row.label for row in open_source(spec).rows()]
    assert labels[0] == "blue"
    assert labels[7] == "blue"
    write_back.reverse(spec, other, "scan")
    assert {file: file.read_bytes() for file in files} == before


def test_only_the_class_number_changes(tmp_path: Path) -> None:
    folder = downloaded(tmp_path / "set")
    spec = DataSpec(str(folder))
    file = folder / "annotations/instances_val.json"
    before = json.loads(file.read_text())
    write_back.in_place(spec, correction(open_source(spec), 7, "green"), "scan")
    after = json.loads(file.read_text())
    assert after["categories"] == before["categories"]
    assert after["annotations"][1]["category_id"] == 90


def test_runs_beside_the_data_stay_out_of_a_copy(tmp_path: Path) -> None:
    """By hard links it would share their decisions with them."""
    folder = downloaded(tmp_path / "set")
    (folder / "run" / "thumbnails").mkdir(parents=True)
    for name in ("run.json", "scores.parquet", "decisions.sqlite", "thumbnails/1.png"):
        (folder / "run" / name).write_bytes(b"x")
    spec = DataSpec(str(folder))
    patch = correction(open_source(spec), 7, "green")
    write_back.copy(spec, patch, tmp_path / "copy")
    copied = sorted((tmp_path / "copy").rglob("*"))
    assert not [file for file in copied if "run" in file.parts]
    assert (folder / "run" / "decisions.sqlite").stat().st_nlink == 1
