from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest

from labelsieve.data.images import content_hash
from labelsieve.exports import collect, export, imagefolder


def test_class_folders_hold_the_images_of_the_labels(
    decided: Any, tmp_path: Path
) -> None:
    (folder,) = export(decided.run, "imagefolder", tmp_path / "out")
    expected: dict[str, set[str]] = {}
    for sample_id, label in decided.after.items():
        if label is not None:
            expected.setdefault(label, set()).add(sample_id.rpartition("#")[2][:12])
    found = {
        unquote(f.name): {content_hash(p.read_bytes())[:12] for p in f.iterdir()}
        for f in folder.iterdir()
    }
    assert found == expected


def test_it_can_be_scanned_again(decided: Any, tmp_path: Path) -> None:
    from labelsieve.data.sources import open_source
    from labelsieve.data.spec import DataSpec

    (folder,) = export(decided.run, "imagefolder", tmp_path / "out", only="clean")
    rows = list(open_source(DataSpec(folder)).rows())
    _a, _b, _, *others = decided.wrong
    assert len(rows) == len(decided.given) - 1 - len(others)


def test_a_class_without_an_image_is_named(
    decided: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(imagefolder, "note", said.append)
    rows = collect(decided.run)
    more = replace(rows, classes=["never", *rows.classes, "no\nmore"])
    assert set(imagefolder.folders(more)) == set(imagefolder.folders(rows))
    line = said[0]
    assert "'never' (and of 1 others)" in line


def test_labels_that_only_differ_in_case_stay_apart(
    decided: Any, tmp_path: Path
) -> None:
    labels = ["../x", "CON", "cat", "Cat", "end."]
    table = collect(decided.run).table
    column = [labels[k % 5] for k in range(len(table))]
    table = table.set_column(3, "label", pa.array(column, pa.string()))
    rows = replace(collect(decided.run), table=table)
    (tmp_path / "out").mkdir()
    imagefolder.write(rows, tmp_path / "out")
    folders = [folder.name for folder in (tmp_path / "out").iterdir()]
    assert sorted(map(unquote, folders)) == sorted(labels)
    assert len({name.casefold() for name in folders}) == 5
    assert [p.name for p in tmp_path.iterdir() if p.name != "planted"] == ["out"]
    assert sum(p.is_file() for p in (tmp_path / "out").rglob("*")) == len(table)
