from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated
from fixtures.exported import expected, read_back

from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.exports import export
from labelsieve.pipeline.scan import scan


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


@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_ids_of_categories_are_those_of_the_data(tmp_path: Path, kind: str) -> None:
    if kind == "coco":
        content = annotated.coco(tmp_path / "data")
        data = annotated.write_json(tmp_path / "data" / "a.json", content)
        wanted = [(c["id"], c["name"]) for c in content["categories"]]
    else:
        data = annotated.yolo(tmp_path / "data")
        source: Any = open_source(DataSpec(str(data)))
        wanted = list(enumerate(source.classes))
    run = scan(str(data), output=tmp_path / "run", method="zero-shot")
    for file in export(run, "coco", tmp_path / "out"):
        written = json.loads(file.read_text())
        found = [(c["id"], c["name"]) for c in written["categories"]]
        assert found == wanted
        ids = dict(found)
        for entry in written["annotations"]:
            label = entry["attributes"]["given_label"]
            assert ids[entry["category_id"]] == label
