from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.exports import export


def read_back(data: Path, **options: Any) -> dict[str, str | None]:
    """Content of each picture -> its label."""
    found = {}
    for row in open_source(DataSpec(str(data), **options)).rows():
        found[content_hash(read_bytes(row.image))[:12]] = row.label
    return found


def expected(decided: Any) -> dict[str, str | None]:
    return {i.rpartition("#")[2]: label for i, label in decided.after.items()}


def test_what_was_written_is_read_back(decided: Any, tmp_path: Path) -> None:
    (file,) = export(decided.run, "coco", tmp_path / "out")
    assert read_back(file) == expected(decided)
    source: Any = open_source(DataSpec(file))
    assert source.classes == decided.run.all_classes


def test_pycocotools_opens_it(decided: Any, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    (file,) = export(decided.run, "coco", tmp_path / "out")
    theirs = coco.COCO(str(file))
    names = {c["id"]: c["name"] for c in theirs.loadCats(theirs.getCatIds())}
    found = {}
    for entry in theirs.anns.values():
        sample_id = entry["attributes"]["sample_id"]
        found[sample_id] = names[entry["category_id"]]
        about = theirs.imgs[entry["image_id"]]
        assert about["width"] == about["height"] == 8
    assert found == {i: x for i, x in decided.after.items() if x is not None}
