from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from labelsieve.corrections.writers.saved import resave
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

datasets = pytest.importorskip("datasets", reason="the extra 'hub' is not installed")


def png(k: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), k).save(buffer, "PNG")
    return buffer.getvalue()


def make(folder: Path, label: Any) -> Any:
    features = datasets.Features(
        {"x": datasets.Value("string"), "label": label, "image": datasets.Image()}
    )
    rows = {
        "x": list("abcd"),
        "label": ["cat", "dog", "cat", "dog"],
        "image": [{"bytes": png(k), "path": None} for k in range(4)],
    }
    made = datasets.Dataset.from_dict(rows, features=features)
    made.save_to_disk(str(folder))
    return made


@pytest.mark.parametrize("kind", ["classes", "text"])
def test_only_labels_change(tmp_path: Path, kind: str) -> None:
    label = (
        datasets.ClassLabel(names=["cat", "dog"])
        if kind == "classes"
        else datasets.Value("string")
    )
    made = make(tmp_path / "a", label)
    source: Any = open_source(DataSpec(tmp_path / "a", label_column="label"))
    resave(source, {0: "dog", 3: None}, tmp_path / "b")
    found = datasets.load_from_disk(str(tmp_path / "b"))
    assert found.features == made.features and found.column_names == made.column_names
    shown = (
        found.features["label"].int2str(found["label"])
        if kind == "classes"
        else list(found["label"])
    )
    assert shown == ["dog", "dog", "cat"] and list(found["x"]) == ["a", "b", "c"]
    assert [image.getpixel((0, 0)) for image in found["image"]] == [0, 1, 2]


def test_a_class_that_the_feature_does_not_have_is_named(tmp_path: Path) -> None:
    make(tmp_path / "a", datasets.ClassLabel(names=["cat", "dog"]))
    source: Any = open_source(DataSpec(tmp_path / "a"))
    with pytest.raises(DataError, match="'emu' is not among the class names"):
        resave(source, {0: "emu"}, tmp_path / "b")
