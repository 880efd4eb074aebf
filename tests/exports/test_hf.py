from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from labelsieve.data.images import content_hash
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.exports import export

datasets = pytest.importorskip("datasets", reason="the extra 'hub' is not installed")


def test_it_is_loaded_with_images_and_labels(decided: Any, tmp_path: Path) -> None:
    (folder,) = export(decided.run, "hf", tmp_path / "out")
    made = datasets.load_from_disk(str(folder))
    assert (
        isinstance(made.features["image"], datasets.Image)
        and made.features["label"].names == decided.run.classes
    )
    names = made.features["label"].names
    labels = {
        r["sample_id"]: None if r["label"] is None else names[r["label"]]
        for r in made.remove_columns("image")
    }
    assert labels == decided.after
    raw = made.cast_column("image", datasets.Image(decode=False))
    assert {content_hash(r["image"]["bytes"])[:12] for r in raw} == {
        i.rpartition("#")[2][:12] for i in decided.given
    }
    assert Image.open(io.BytesIO(raw[0]["image"]["bytes"])).size == (8, 8)


def test_it_can_be_scanned_again(decided: Any, tmp_path: Path) -> None:
    (folder,) = export(decided.run, "hf", tmp_path / "out", only="clean")
    rows = list(
        open_source(
            DataSpec(str(folder), label_column="label", id_column="sample_id")
        ).rows()
    )
    assert {r.key: r.label for r in rows} == {
        r: decided.after[r] for r in (row.key for row in rows)
    } and len(rows) > 30
