from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelsieve.data.images import content_hash
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import RunError
from labelsieve.exports import export
from labelsieve.pipeline.scan import scan

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


@pytest.fixture
def declared(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    """A saved data set whose classes are declared in an order of their own, one of them empty."""
    images, truth = digits
    rows = np.flatnonzero(truth < 2)[:24]
    names = ["zebra", "unused", "ant"]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    )
    cells = {
        "image": [Image.fromarray(images[row]) for row in rows],
        "label": [2 * int(truth[row]) for row in rows],
    }
    datasets.Dataset.from_dict(cells, features).save_to_disk(tmp_path / "declared")
    return tmp_path / "declared"


def test_classes_keep_the_order_and_the_empty_ones_that_were_declared(
    declared: Path, tmp_path: Path
) -> None:
    run = scan(str(declared), output=tmp_path / "run", method="zero-shot")
    assert run.classes == ["ant", "zebra"]
    assert run.all_classes == ["zebra", "unused", "ant"]
    (folder,) = export(run, "hf", tmp_path / "out")
    written = datasets.load_from_disk(str(folder))
    assert written.features["label"].names == ["zebra", "unused", "ant"]
    before = datasets.load_from_disk(str(declared))
    assert sorted(written["given_label"]) == sorted(before["label"])
    export(run, "cleanlab", tmp_path / "cleanlab")
    probs = np.load(tmp_path / "cleanlab" / "pred_probs.npy")
    assert probs.shape == (24, 3) and not probs[:, 1].any()
    assert np.allclose(probs.sum(1), 1)


def test_classes_are_declared_as_in_the_data(decided: Any, tmp_path: Path) -> None:
    declared = ["unused", *reversed(decided.run.classes)]
    decided.run.record["classes"] = declared
    (folder,) = export(decided.run, "hf", tmp_path / "out")
    saved = datasets.load_from_disk(str(folder))
    for name in ("label", "given_label", "suggested_label"):
        assert saved.features[name].names == declared
    labels = {row["sample_id"]: row["given_label"] for row in saved}
    given = {i: declared.index(label) for i, label in decided.given.items()}
    assert labels == given


def test_errors_of_ours_stay_ours(decided: Any, tmp_path: Path) -> None:
    decided.data.rename(tmp_path / "moved")
    with pytest.raises(RunError, match="with --data"):
        export(decided.run, "hf", tmp_path / "out")
    assert export(decided.run, "hf", tmp_path / "out", data=tmp_path / "moved")
