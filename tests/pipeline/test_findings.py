"""The tables of findings: joined by id, written by a scan, read as queues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelsieve.data.load import load
from labelsieve.data.sources import open_source
from labelsieve.pipeline import findings
from labelsieve.pipeline.scan import scan
from labelsieve.runs.reasons import queues
from labelsieve.tables import DUPLICATES, QUALITY, read_parquet


def photos(folder: Path) -> None:
    """Two classes of parts of a photo; one part is in both, smaller, and one is dark."""
    from sklearn.datasets import load_sample_image

    photo = Image.fromarray(load_sample_image("china.jpg"))
    for k in range(12):
        (folder / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        left, top = k % 6 * 100, k // 6 * 130 + 150
        part = photo.crop((left, top, left + 100, top + 120))
        part.save(folder / "ab"[k % 2] / f"{k}.png")
    copy = Image.open(folder / "a" / "4.png").resize((60, 72))
    copy.save(folder / "b" / "copy.png")
    dark = Image.open(folder / "b" / "7.png").point(lambda v: v // 5)
    dark.save(folder / "b" / "7.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, own_cache: Path) -> Any:
    base = tmp_path_factory.mktemp("findings")
    photos(base / "data")
    return scan(base / "data", output=base / "run", method="knn", model="tiny")


def test_a_scan_writes_what_pictures_show(run: Any) -> None:
    quality = read_parquet(run.file("quality.parquet"), QUALITY)
    pairs = read_parquet(run.file("duplicates.parquet"), DUPLICATES)
    path = dict(
        zip(*(run.scores[c].to_pylist() for c in ("sample_id", "path")), strict=True)
    )
    assert sorted(quality["sample_id"].to_pylist()) == sorted(path)
    dark = [r for r in quality.to_pylist() if r["dark"]]
    assert [path[r["sample_id"]] for r in dark] == ["b/7.png"]
    assert all(
        (r["width"], r["height"]) in ((100, 120), (60, 72)) for r in quality.to_pylist()
    )
    assert {path[pairs[c][0].as_py()] for c in ("sample_id", "other_id")} == {
        "a/4.png",
        "b/copy.png",
    }
    assert pairs["kind"][0].as_py() == "copy" and pairs["other_label"][0].as_py()
    assert run.record["findings"]["dark"] == 1 and run.record["findings"]["rivals"] == 2


def test_queues_say_why_and_name_the_partner(run: Any) -> None:
    first, *others = queues(run)
    path = dict(
        zip(*(run.scores[c].to_pylist() for c in ("sample_id", "path")), strict=True)
    )
    assert first.name == "duplicates" and [path[i] for i in first.partners if i] == [
        path[i] for i in reversed(first.ids)
    ]
    where = first.ids.index(next(i for i in first.ids if path[i] == "b/copy.png"))
    assert first.why[where] == "the same picture as 'a/4.png', which is labelled 'a'"
    (dark,) = [queue for queue in others if queue.name == "dark"]
    assert path[dark.ids[0]] == "b/7.png" and "darker than" in dark.why[0]


def test_an_earlier_run_has_no_queues(scanned: Any, tmp_path: Path) -> None:
    import shutil

    from labelsieve.runs.run import Run

    shutil.copytree(scanned.folder, tmp_path / "run")
    (tmp_path / "run" / "quality.parquet").unlink()
    assert queues(Run(tmp_path / "run")) == []


def test_many_images_are_compared_with_a_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 8)) + 3
    features[17] = -features[17]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    exact = findings._neighbours(features.astype(np.float32))[1]
    monkeypatch.setattr(findings, "EXACT", 100)
    monkeypatch.setattr(findings, "can_approximate", lambda: False)
    monkeypatch.setattr(findings, "SAMPLE", 200)
    near, isolation = findings._neighbours(features.astype(np.float32))
    assert near.shape == (400, 0)
    assert isolation.argmax() == exact.argmax() == 17
    assert np.corrcoef(isolation, exact)[0, 1] > 0.9


def test_other_items_than_images_are_left_alone(tmp_path: Path) -> None:
    source = open_source(load((["a"], ["b"])))
    source.modality = "sounds"  # type: ignore[attr-defined]
    nothing: Any = None  # such items are not looked at
    assert findings.write(tmp_path, source, nothing, np.empty((0, 2))) == {}
    assert not list(tmp_path.iterdir())
