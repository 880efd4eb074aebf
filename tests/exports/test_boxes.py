"""A scan of boxes is exported with boxes: every one in its place, with the class that holds now."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated

from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.exports import export
from labelsieve.pipeline.scan import scan
from labelsieve.runs.decisions import Decisions

FORMATS = ("coco", "cvat", "label-studio", "yolo")


def coco(folder: Path) -> Path:
    return annotated.write_json(folder / "a.json", annotated.coco(folder))


MAKERS = {"coco": coco, "yolo": annotated.yolo, "several": annotated.downloaded}


@pytest.fixture(scope="module", params=list(MAKERS))
def boxed(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Any:
    """A run of boxes with two decisions, and what is to come of it: crop and label -> times."""
    top = tmp_path_factory.mktemp("boxed")
    data = MAKERS[request.param](top / "data")
    run = scan(str(data), output=top / "run", method="zero-shot")
    rows = run.manifest.select(["sample_id", "given_label", "content_hash"]).to_pylist()
    labels = {row["sample_id"]: row["given_label"] for row in rows}
    first, second, *_ = labels
    decisions = Decisions(run.folder)
    labels[first] = "green" if labels[first] != "green" else "red"
    decisions.add(first, "other", labels[first])
    decisions.add(second, "none")
    decisions.close()
    del labels[second]
    hashes = {row["sample_id"]: row["content_hash"] for row in rows}
    wanted = Counter((hashes[i], label) for i, label in labels.items())
    source: Any = open_source(DataSpec(str(data)))
    parts = source.parts().values() if hasattr(source, "parts") else [source]
    pictures = Counter(
        content_hash(read_bytes(image)) for part in parts for image in part.images()
    )
    return run, wanted, pictures


@pytest.mark.parametrize("to", FORMATS)
def test_boxes_come_back_as_boxes(boxed: Any, tmp_path: Path, to: str) -> None:
    run, wanted, pictures = boxed
    file, *_ = export(run, to, tmp_path / "out")
    # the format's own reader; files of splits are one data set
    data = tmp_path / "out" if to in ("coco", "yolo") else file
    root = str(tmp_path / "out") if to == "label-studio" else None
    source: Any = open_source(DataSpec(str(data), root=root))
    found = Counter(
        (content_hash(read_bytes(row.image)), row.label) for row in source.rows()
    )
    assert found == wanted
    # also those without a box
    written = [f for f in (tmp_path / "out").rglob("*.png") if f.is_file()]
    assert Counter(content_hash(f.read_bytes()) for f in written) == pictures


def test_ids_of_classes_and_places_stay(boxed: Any, tmp_path: Path) -> None:
    run, _, _ = boxed
    files = export(run, "coco", tmp_path / "out")
    for file in files:
        content = json.loads(file.read_text())
        ids = {c["name"]: c["id"] for c in content["categories"]}
        known = open_source(DataSpec(run.record["command"]["data"]))
        assert ids == vars(type(known))["class_ids"].fget(known)
        for entry in content["annotations"]:
            # YOLO rounds shares to six digits
            assert entry["bbox"][2:] == pytest.approx([annotated.SIDE] * 2, abs=1e-4)
            assert entry["area"] == pytest.approx(annotated.SIDE**2, abs=1e-3)


def test_other_formats_say_that_boxes_are_crops(
    boxed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("labelsieve.exports.note", said.append)
    export(boxed[0], "imagefolder", tmp_path / "out")
    (line,) = said
    assert "a picture of its own. To keep boxes: --to coco" in line
    # tables hold no pictures
    export(boxed[0], "csv", tmp_path / "t.csv")
    assert said == [line]


def test_some_boxes_alone_bring_their_pictures(boxed: Any, tmp_path: Path) -> None:
    run, wanted, _ = boxed
    export(run, "coco", tmp_path / "out", only="clean")
    rows = list(open_source(DataSpec(str(tmp_path / "out"))).rows())
    assert 0 < len(rows) <= sum(wanted.values())
